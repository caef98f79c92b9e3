"""Ask a model about images that another one answered for: ``make reclassify MODEL=NAME@VERSION``.

Goes through the completed images, newest first, and takes up again those whose answer is of
another model, as ``POST /images/{id}/retry?model=…`` does. It may be stopped and started again at
any time: what the model has answered for, or is being asked, is left alone.
"""

import argparse
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from chalicelib.container import Container
from chalicelib.errors import DarkroomError, ImageNotFound, NotRetryable
from chalicelib.images import Image, Status
from local.errors import StartFailed
from local.places import read_port
from operations.stage import UnknownStage, container_of

_PAGE = 100


def take_up(container: Container, reference: str) -> Iterator[str]:
    """Take up every image that the model has not answered for; their ids.

    Raises:
        ModelError: There is no such model.
        ServiceUnavailable: AWS does not answer as it should.
    """
    wanted = container.models.find(reference).description.reference
    place: str | None = None
    while True:
        page, place = container.images.page(status=Status.COMPLETED, limit=_PAGE, before=place)
        for image in page:
            if lacks(image, wanted):
                try:
                    container.images_api.retry(image.image_id, model=wanted)
                except (NotRetryable, ImageNotFound):
                    # Taken up by someone else, or deleted, since the page was read.
                    continue
                yield image.image_id
        if place is None:
            return


def lacks(image: Image, reference: str) -> bool:
    """Whether an image's answer is of another model. One that never wanted any lacks nothing."""
    said = image.prediction
    return said is not None and f"{said.model_name}@{said.model_version}" != reference


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="NAME@VERSION")
    parser.add_argument("--stage", default="local")
    parser.add_argument("--aws-port", default="")
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    count = 0
    try:
        port = read_port(arguments.aws_port, "AWS_PORT", 4566)
        container = container_of(arguments.stage, aws_port=port)
        columns = (SpinnerColumn(), TextColumn("Taken up {task.completed}"))
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=None)
            for _ in take_up(container, arguments.model):
                count += 1
                progress.update(task, completed=count)
    except KeyboardInterrupt:
        console.print(f"Stopped. {count} images were taken up; the same command goes on.")
        return 130
    except (UnknownStage, StartFailed, DarkroomError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"Error: {error}", markup=False)
        return 1
    console.print(f"{count} images were taken up again for {arguments.model}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
