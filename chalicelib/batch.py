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

from chalicelib import telemetry
from chalicelib.clock import now_ms
from chalicelib.errors import DarkroomError, ServiceUnavailable, Superseded
from chalicelib.images import Failure

# SQS allows no longer invisibility.
_MAX_VISIBILITY_SECONDS = 12 * 3600


class Message(Protocol):
    """What stands in a queue."""

    @property
    def about(self) -> Mapping[str, str]:
        """What log lines about it carry."""


class FaultRecord[M](Protocol):
    """Where the reason of a failed try is kept, for the case that it was the last.

    The branch to the predictions keeps it beside the one to the copies at full size.
    """

    def note_fault(self, message: M, fault: Failure, *, now_ms: int) -> None:
        """Keep it."""


class MessageQueue(Protocol):
    """What a batch needs of its queue."""

    def delete(self, receipt_handles: list[str]) -> None:
        """Remove messages."""

    def postpone(self, receipt_handle: str, seconds: int) -> None:
        """Show a message again after this many seconds."""


class BatchFailed(Exception):
    """Some messages of a batch failed; they stay in the queue, the others are deleted."""


type Stage[M] = Callable[[M], None]


@dataclass(frozen=True, kw_only=True)
class Batch[M: Message]:
    """Feeds the records of SQS events to a stage.

    Args:
        name: Of the step, in logs and metrics.
        decode: Reads the body of a record; raises `MessageRejected` where it cannot.
        queue: Where the records come from.
        faults: Where the reason of a failed try is kept.
        retry_base_seconds: Wait before the second try; it doubles with each further one.
    """

    name: str
    decode: Callable[[str], M]
    queue: MessageQueue
    faults: FaultRecord[M]
    retry_base_seconds: int

    def run(self, event: Mapping[str, Any], stage: Callable[[], Stage[M]]) -> None:
        """Work on every record, whatever happens to the others.

        Args:
            event: The event as Lambda delivers it.
            stage: Builds the stage, or gives the one that was built. A stage that cannot be
                built, for want of its model for instance, fails every record like any other
                fault, with its reason.

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
            raise BatchFailed(f"{self.name}: to be tried again: {', '.join(failed)}")

    def _work(self, record: Mapping[str, Any], stage: Callable[[], Stage[M]]) -> bool:
        """Whether the message is done with."""
        log = telemetry.logger()
        message: M | None = None
        try:
            message = self.decode(record["body"])
            log.append_keys(**message.about)
            stage()(message)
        except Superseded as superseded:
            log.info("%s: dropped: %s", self.name, superseded)
        # Whatever a stage raises must reach neither the other records nor the poller.
        except Exception as error:
            receives = int(record.get("attributes", {}).get("ApproximateReceiveCount", "1"))
            log.exception("%s: try %s failed", self.name, receives)
            telemetry.count(self.name, ProcessingErrors=1)
            self._prepare_next_try(record, receives)
            if message is not None:
                self._note_fault(message, error)
            return False
        finally:
            log.remove_keys(list(message.about) if message is not None else [])
        return True

    def _note_fault(self, message: M, error: Exception) -> None:
        try:
            self.faults.note_fault(message, fault_of(error), now_ms=now_ms())
        except (Superseded, ServiceUnavailable):
            telemetry.logger().warning("%s: the reason could not be kept", self.name)

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


def fault_of(error: Exception) -> Failure:
    """The reason of a failed try, in words that may be shown to people."""
    if isinstance(error, DarkroomError):
        return Failure(code=error.code, message=error.public_message)
    return Failure(code="internal_error", message="Something went wrong on our side.")
