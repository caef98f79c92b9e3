"""The records of one SQS event, one stage call each, or one for all of them.

Partial failure works without ``ReportBatchItemFailures``, which ``chalice
deploy`` cannot set and without which a returned list of failures would delete
the failed messages: messages that succeeded are deleted here, and then the
handler raises, so that Lambda leaves the others in the queue.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chalicelib import telemetry
from chalicelib.clock import now_ms
from chalicelib.errors import DarkroomError, MessageRejected, ServiceUnavailable, Superseded
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
type Record = Mapping[str, Any]
# What became of each message, in their order: None, or what its work raised.
type StageOfMany[M] = Callable[[Sequence[M]], Sequence[Exception | None]]


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
        self._conclude(
            {
                record["messageId"]: (record, self._work(record, stage))
                for record in event.get("Records", [])
            }
        )

    def run_together(self, event: Mapping[str, Any], stage: Callable[[], StageOfMany[M]]) -> None:
        """Work on all records at once, in a stage that tells what became of each.

        Args:
            event: The event as Lambda delivers it.
            stage: Builds the stage, or gives the one that was built. A stage that cannot be
                built, or that raises, fails every record with its reason.

        Raises:
            BatchFailed: At least one message has to come again.
        """
        outcomes: dict[str, tuple[Record, bool]] = {}
        readable: list[tuple[Record, M]] = []
        for record in event.get("Records", []):
            try:
                readable.append((record, self.decode(record["body"])))
            except MessageRejected as error:
                self._failed(record, None, error)
                outcomes[record["messageId"]] = (record, False)
        raised = self._tried([message for _, message in readable], stage)
        for (record, message), reason in zip(readable, raised, strict=True):
            outcomes[record["messageId"]] = (record, self._settled(record, message, reason))
        self._conclude(outcomes)

    def _tried(
        self, batch: Sequence[M], stage: Callable[[], StageOfMany[M]]
    ) -> Sequence[Exception | None]:
        if not batch:
            return []
        try:
            return stage()(batch)
        # Whatever a stage raises is every message's own fault, and has a reason to be kept.
        except Exception as error:  # noqa: BLE001
            return [error] * len(batch)

    def _conclude(self, outcomes: Mapping[str, tuple[Record, bool]]) -> None:
        """Leave to Lambda what it deletes by itself: all, or after an exception nothing."""
        failed = [message_id for message_id, (_, done) in outcomes.items() if not done]
        if not failed:
            return
        handles = [record["receiptHandle"] for record, done in outcomes.values() if done]
        if handles:
            self.queue.delete(handles)
        raise BatchFailed(f"{self.name}: to be tried again: {', '.join(failed)}")

    def _work(self, record: Record, stage: Callable[[], Stage[M]]) -> bool:
        """Whether the message is done with."""
        log = telemetry.logger()
        message: M | None = None
        try:
            message = self.decode(record["body"])
            log.append_keys(**message.about)
            stage()(message)
        # Whatever a stage raises must reach neither the other records nor the poller.
        except Exception as error:  # noqa: BLE001
            return self._settled(record, message, error)
        finally:
            log.remove_keys(list(message.about) if message is not None else [])
        return True

    def _settled(self, record: Record, message: M | None, error: Exception | None) -> bool:
        """Whether a message is done with, after what became of it."""
        if error is None:
            return True
        if isinstance(error, Superseded):
            telemetry.logger().info("%s: dropped: %s", self.name, error, extra=_about(message))
            return True
        self._failed(record, message, error)
        return False

    def _failed(self, record: Record, message: M | None, error: Exception) -> None:
        receives = int(record.get("attributes", {}).get("ApproximateReceiveCount", "1"))
        telemetry.logger().error(
            "%s: try %s failed",
            self.name,
            receives,
            exc_info=error,
            extra=_about(message),
        )
        telemetry.count(self.name, ProcessingErrors=1)
        self._prepare_next_try(record, receives)
        if message is not None:
            self._note_fault(message, error)

    def _note_fault(self, message: M, error: Exception) -> None:
        try:
            self.faults.note_fault(message, fault_of(error), now_ms=now_ms())
        except (Superseded, ServiceUnavailable):
            telemetry.logger().warning("%s: the reason could not be kept", self.name)

    def _prepare_next_try(self, record: Record, receives: int) -> None:
        """Shorten the wait: the queue's own visibility timeout is 6 times the function's."""
        try:
            self.queue.postpone(
                record["receiptHandle"], backoff_seconds(self.retry_base_seconds, receives)
            )
        except ServiceUnavailable:
            telemetry.logger().warning("the message waits for its full visibility timeout")


def _about(message: Message | None) -> dict[str, str]:
    return {} if message is None else dict(message.about)


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
