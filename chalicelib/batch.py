"""The records of one SQS event, one stage call each.

Partial failure works without ``ReportBatchItemFailures``, which ``chalice
deploy`` cannot set and without which a returned list of failures would delete
the failed messages: messages that succeeded are deleted here, and then the
handler raises, so that Lambda leaves the others in the queue.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from chalicelib import messages, telemetry
from chalicelib.errors import DarkroomError, ServiceUnavailable, Superseded
from chalicelib.images import Failure
from chalicelib.messages import ImageMessage

# SQS allows no longer invisibility.
_MAX_VISIBILITY_SECONDS = 12 * 3600


class Stage(Protocol):
    """A step of the pipeline."""

    @property
    def name(self) -> str:
        """Of the step, in logs and metrics."""

    def __call__(self, message: ImageMessage) -> None:
        """Do the work of one message."""

    def note_fault(self, message: ImageMessage, fault: Failure) -> None:
        """Keep the reason of a failed try."""


class MessageQueue(Protocol):
    """What a batch needs of its queue."""

    def delete(self, receipt_handles: list[str]) -> None:
        """Remove messages."""

    def postpone(self, receipt_handle: str, seconds: int) -> None:
        """Show a message again after this many seconds."""


class BatchFailed(Exception):
    """Some messages of a batch failed; they stay in the queue, the others are deleted."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Feeds the records of SQS events to a stage.

    Args:
        queue: Where the records come from.
        retry_base_seconds: Wait before the second try; it doubles with each further one.
    """

    queue: MessageQueue
    retry_base_seconds: int

    def run(self, event: Mapping[str, Any], stage: Stage) -> None:
        """Work on every record, whatever happens to the others.

        Raises:
            BatchFailed: At least one message has to come again.
        """
        done: list[str] = []
        failed: list[str] = []
        for record in event.get("Records", []):
            if self._work(record, stage):
                done.append(record["receiptHandle"])
            else:
                failed.append(record["messageId"])
        if failed:
            if done:
                self.queue.delete(done)
            raise BatchFailed(f"{stage.name}: to be tried again: {', '.join(failed)}")

    def _work(self, record: Mapping[str, Any], stage: Stage) -> bool:
        """Whether the message is done with."""
        log = telemetry.logger()
        message: ImageMessage | None = None
        try:
            message = messages.decode(record["body"])
            log.append_keys(image_id=message.image_id)
            stage(message)
        except Superseded as superseded:
            log.info("%s: dropped: %s", stage.name, superseded)
        # Whatever a stage raises must reach neither the other records nor the poller.
        except Exception as error:
            receives = int(record.get("attributes", {}).get("ApproximateReceiveCount", "1"))
            log.exception("%s: try %s failed", stage.name, receives)
            telemetry.count(stage.name, ProcessingErrors=1)
            self._prepare_next_try(record, receives)
            if message is not None:
                _note_fault(stage, message, error)
            return False
        finally:
            log.remove_keys(["image_id"])
        return True

    def _prepare_next_try(self, record: Mapping[str, Any], receives: int) -> None:
        """Shorten the wait: the queue's own visibility timeout is 6 times the function's."""
        try:
            self.queue.postpone(
                record["receiptHandle"], backoff_seconds(self.retry_base_seconds, receives)
            )
        except ServiceUnavailable:
            telemetry.logger().warning("the message waits for its full visibility timeout")


def backoff_seconds(
    base_seconds: int, receives: int, *, draw: Callable[[], float] = random.random
) -> int:
    """The wait before the next try: doubling, with up to half of it as jitter."""
    # Exponents beyond this are over SQS's limit anyway.
    wait = base_seconds * 2 ** min(receives - 1, 16)
    return int(min(wait * (1 + draw() / 2), _MAX_VISIBILITY_SECONDS))


def _note_fault(stage: Stage, message: ImageMessage, error: Exception) -> None:
    try:
        stage.note_fault(message, fault_of(error))
    except (Superseded, ServiceUnavailable):
        telemetry.logger().warning("%s: the reason could not be kept", stage.name)


def fault_of(error: Exception) -> Failure:
    """The reason of a failed try, in words that may be shown to people."""
    if isinstance(error, DarkroomError):
        return Failure(code=error.code, message=error.public_message)
    return Failure(code="internal_error", message="Something went wrong on our side.")
