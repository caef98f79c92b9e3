"""Make a rendition of images that are older than it: ``make backfill RENDITION=name``.

Goes through all images, newest first, and queues those that lack the rendition,
or have it by another line of the table. `optimise`'s function makes them, behind
the copies of new images, so that no prediction waits. It may be stopped and
started again at any time: what was made is not made again.
"""

import argparse
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from chalicelib import messages
from chalicelib.clock import now_ms
from chalicelib.container import Container
from chalicelib.errors import DarkroomError
from chalicelib.images import Image
from chalicelib.imaging import renditions
from chalicelib.imaging.renditions import Rendition
from chalicelib.messages import ImageMessage
from chalicelib.pipeline.backfill import lacks
from local.errors import StartFailed
from local.places import read_port
from operations.stage import UnknownStage, container_of

_PAGE = 100


class UnknownRendition(Exception):
    """The table has no line of that name; the text says which it has."""


def queue_missing(
    container: Container, rendition: Rendition, *, after: str | None
) -> Iterator[str]:
    """Queue every image that lacks the rendition; the place in the list, after each page.

    Args:
        container: The stage's parts.
        rendition: What is to be made.
        after: A place that an earlier run came to, None to begin with the newest image.

    Raises:
        ServiceUnavailable: AWS does not answer as it should.
    """
    place = after
    while True:
        page, place = container.images.page(status=None, limit=_PAGE, before=place)
        for image in page:
            if lacks(image, rendition):
                container.conversion_queue.send(messages.encode(_message(image, rendition)))
                yield ""
        if place is None:
            return
        yield place


def _message(image: Image, rendition: Rendition) -> ImageMessage:
    return ImageMessage(
        image_id=image.image_id,
        generation=image.generation or "",
        attempt=image.attempt,
        queued_at_ms=now_ms(),
        renditions=(rendition.name,),
    )


def named(name: str) -> Rendition:
    """The rendition of this name.

    Raises:
        UnknownRendition: There is none.
    """
    table = renditions.installed()
    for rendition in table:
        if rendition.name == name:
            return rendition
    known = ", ".join(rendition.name for rendition in table)
    raise UnknownRendition(
        f"chalicelib/renditions.txt has no rendition {name!r}; it has {known}. Say RENDITION=name."
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rendition")
    parser.add_argument("--stage", default="local")
    parser.add_argument("--aws-port", default="")
    parser.add_argument("--after", default=None, help="where an earlier run was stopped")
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    queued, place = 0, arguments.after or None
    try:
        rendition = named(arguments.rendition)
        port = read_port(arguments.aws_port, "AWS_PORT", 4566)
        container = container_of(arguments.stage, aws_port=port)
        columns = (SpinnerColumn(), TextColumn("Queued {task.completed}"))
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=None)
            for reached in queue_missing(container, rendition, after=place):
                place = reached or place
                queued += not reached
                progress.update(task, completed=queued)
    except KeyboardInterrupt:
        rest = f" --after {place}" if place else ""
        console.print(f"Stopped. {queued} queued; go on with ARGS='{rest.strip()}'.")
        return 130
    except (UnknownRendition, UnknownStage, StartFailed, DarkroomError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"Error: {error}", markup=False)
        return 1
    console.print(f"{queued} images are queued to get {rendition.name!r}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
