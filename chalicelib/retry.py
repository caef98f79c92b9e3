"""Take up an image that failed: the one way back, for the API and for dead letters."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from chalicelib import messages
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.queues import Queue
from chalicelib.clock import now_ms
from chalicelib.errors import NotRetryable
from chalicelib.images import Image, Status
from chalicelib.messages import message_about

# The copies' worker waits for the row (docs/adr/0010), and would be there before it nearly always.
_HEAD_START_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Opens a new attempt of an image.

    The message goes out before the row changes. Whichever comes first, the worker or the row,
    opens the attempt, so that a crash in between loses nothing (docs/adr/0002).

    Args:
        images: The rows.
        queue_of: The queue whose worker takes up an image that stands at a status.
        conversion_queue: In front of `optimise`.
    """

    images: ImageTable
    queue_of: Callable[[Status], Queue]
    conversion_queue: Queue

    def __call__(self, image: Image, *, model: str | None = None) -> Image:
        """Take up whatever failed; the image as it is then.

        Args:
            image: As it was read. Somebody who is quicker wins, and the attempt is opened once.
            model: Which model is to answer; with one, a completed image is taken up too.

        Raises:
            NotRetryable: Nothing failed, or the image is still on its way.
            ImageNotFound: It was deleted.
            ServiceUnavailable: AWS does not answer as it should; it may be asked again.
        """
        self.check(image, model=model)
        again = model is not None and image.status is Status.COMPLETED
        status = Status.PREPROCESSED if again else image.retry_from
        about = message_about(image, now_ms=now_ms(), attempt=image.attempt + 1)
        message = messages.encode(replace(about, model=model))
        alone = status is Status.COMPLETED
        if image.retries_conversion:
            self.conversion_queue.send(message, delay_seconds=0 if alone else _HEAD_START_SECONDS)
        if not alone:
            self.queue_of(status).send(message)
        return self.images.retry(image, status, now_ms=now_ms(), completed=again, model=model)

    def check(self, image: Image, *, model: str | None = None) -> None:
        """Raise `NotRetryable` where there is nothing to take up, or not yet."""
        again = model is not None and image.status is Status.COMPLETED
        if not (image.retryable or again) or image.generation is None:
            raise NotRetryable(image.status)
