"""Images that stand still: their message was lost, or whoever worked on them was."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from chalicelib import messages, telemetry
from chalicelib.aws.conversion_rows import ConversionRows
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.queues import Queue
from chalicelib.errors import Superseded
from chalicelib.images import ConversionStatus, Failure, Image, Status
from chalicelib.messages import message_about
from chalicelib.pipeline.check import NAME, Round

STUCK = Failure(
    code="processing_stuck",
    message="Processing stood still, every time it was started again; retry later.",
)
# Where an image waits before its queue's worker begins.
_WAITING = {Status.QUEUED: "preprocessing", Status.PREPROCESSED: "inference"}
_BEGUN_BY_INFER = frozenset({Status.PREPROCESSED, Status.INFERENCING})
_ENDED = frozenset({Status.COMPLETED, Status.INFERENCE_FAILED})


@dataclass(frozen=True, kw_only=True)
class StuckImages:
    """Sends images on their way again that stood in a step for too long, and then gives them up.

    What it sends is a copy of the message that was lost, for the same attempt: were that not lost
    after all, this would be one that came twice. The message goes out before it is counted on the
    row; of two checks at once one is counted, and an image is given up only if nobody was heard of
    since it was read (docs/adr/0015).

    Args:
        images: The rows.
        queue_of: The queue whose worker takes up an image that stands at a status.
        limits_seconds: How long an image may stand at each status; doubles with each requeue.
        requeues: How often an attempt is sent on its way again before it is given up.
    """

    images: ImageTable
    queue_of: Callable[[Status], Queue]
    limits_seconds: Mapping[Status, int]
    requeues: int

    def __call__(self, this: Round) -> None:
        """Go through all images that are on their way.

        Raises:
            ServiceUnavailable: AWS did not answer; what is left is looked at next time.
        """
        for status in self.limits_seconds:
            longest_ms = 0
            for page in this.pages(status, partial(self._page, status)):
                for image in page:
                    waited_ms = this.now_ms() - image.updated_at_ms
                    longest_ms = max(longest_ms, waited_ms)
                    if is_over(self.limits_seconds[status], waited_ms, image.requeues):
                        self._take_up(image, this)
            if status in _WAITING:
                telemetry.count(_WAITING[status], OldestMessageAge=longest_ms / 1000)

    def _page(self, status: Status, after: str | None) -> tuple[list[Image], str | None]:
        return self.images.oldest(status, after=after)

    def _take_up(self, image: Image, this: Round) -> None:
        message = message_about(image, now_ms=this.now_ms())
        by_infer = image.status in _BEGUN_BY_INFER
        try:
            if image.requeues < self.requeues:
                queue = self.queue_of(Status.PREPROCESSED if by_infer else Status.QUEUED)
                queue.send(messages.encode(message))
                self.images.count_requeue(image, now_ms=this.now_ms())
                report(this, image, "requeued", image.status)
            else:
                self.images.fail(
                    message,
                    Status.INFERENCE_FAILED if by_infer else Status.PREPROCESSING_FAILED,
                    image.last_error or STUCK,
                    now_ms=this.now_ms(),
                    unchanged_since_ms=image.updated_at_ms,
                )
                report(this, image, "given_up", image.status)
        except Superseded as superseded:
            telemetry.logger().info("check: not stuck any more: %s", superseded)


@dataclass(frozen=True, kw_only=True)
class StuckCopies:
    """The same for the copies at full size of images that have ended but for those.

    Before that, whatever gets the image on gets them on too: `preprocess` sends their message.

    Args:
        images: The rows.
        conversions: What they tell of copies.
        queue: In front of `optimise`.
        limit_seconds: How long they may take; doubles with each requeue.
        requeues: How often they are sent on their way again before they are given up.
    """

    images: ImageTable
    conversions: ConversionRows
    queue: Queue
    limit_seconds: int
    requeues: int

    def __call__(self, this: Round) -> None:
        """Go through all images that wait for copies.

        Raises:
            ServiceUnavailable: AWS did not answer; what is left is looked at next time.
        """
        longest_ms = 0
        pending = ConversionStatus.PENDING
        for page in this.pages("copies", lambda after: self.images.oldest(pending, after=after)):
            for image in page:
                if image.status not in _ENDED:
                    continue
                waited_ms = this.now_ms() - image.updated_at_ms
                longest_ms = max(longest_ms, waited_ms)
                if is_over(self.limit_seconds, waited_ms, image.conversion_requeues):
                    self._take_up(image, this)
        telemetry.count("conversion", OldestMessageAge=longest_ms / 1000)

    def _take_up(self, image: Image, this: Round) -> None:
        message = message_about(image, now_ms=this.now_ms())
        try:
            if image.conversion_requeues < self.requeues:
                self.queue.send(messages.encode(message))
                self.conversions.count_requeue(image, now_ms=this.now_ms())
                report(this, image, "requeued", "copies")
            else:
                self.conversions.fail(
                    message,
                    image.conversion_last_error or STUCK,
                    now_ms=this.now_ms(),
                    unchanged_since_ms=image.updated_at_ms,
                )
                report(this, image, "given_up", "copies")
        except Superseded as superseded:
            telemetry.logger().info("check: not stuck any more: %s", superseded)


def is_over(limit_seconds: int, waited_ms: int, requeues: int) -> bool:
    """Whether an image stood still for too long.

    Each time twice as long: where a queue is only full, copies must not fill it more and more.
    """
    return waited_ms > limit_seconds * 1000 << requeues


def report(this: Round, image: Image, what: str, where: str) -> None:
    """Tell of an image that was stuck."""
    this.count(f"{what}_{where}")
    if what == "requeued":
        telemetry.count(NAME, ImagesRequeued=1)
    else:
        telemetry.count(NAME, ImagesGivenUp=1)
    telemetry.logger().warning(
        "check: an image was stuck in %s, and is %s", where, what, image_id=image.image_id
    )
