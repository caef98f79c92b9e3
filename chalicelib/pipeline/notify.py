"""A parcel's status changed: queue an e-mail, if somebody wants one.

Reads the stream of the tracking table. Which record is a change is decided from the record alone,
not from its place in the stream, so a record may come twice, late or out of order; the queue's
reader sends one e-mail for each change, whatever is queued here.

A stream hands its records on in order, and Lambda repeats a batch that failed until it succeeds:
one record that always fails would hold up all parcels of its shard for a day, and `chalice deploy`
can set nothing against that. So no record fails here for long: what cannot be read is archived at
once, and what cannot be queued is archived once it is an hour old.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib import messages, telemetry
from chalicelib.aws.object_store import ObjectStore
from chalicelib.aws.queues import Queue
from chalicelib.aws.tracking_rows import parcel_in_stream
from chalicelib.batch import BatchFailed, fault_of
from chalicelib.clock import now_ms
from chalicelib.errors import ServiceUnavailable
from chalicelib.flags import Flags
from chalicelib.messages import NotificationMessage
from chalicelib.parcels import Parcel
from chalicelib.pipeline.archive import keep

STEP = "notify"

# A fault of SQS or of our settings may pass, and no e-mail is lost while it is waited for. Later
# than this the parcels behind it count for more.
_PATIENCE_MS = 3_600_000


@dataclass(frozen=True, kw_only=True)
class Notify:
    """Queues what is to be said.

    Args:
        queue: In front of `mail`.
        archive: Where records go that cannot be queued.
        flags: What is switched on.
        sends: Whether there is a sender; without one nothing is queued.
        now_ms: The time, in milliseconds since the Unix epoch.
    """

    queue: Queue
    archive: ObjectStore
    flags: Callable[[], Flags]
    sends: bool
    now_ms: Callable[[], int] = now_ms

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Queue a message for each change in a stream event.

        Raises:
            BatchFailed: AWS did not answer; the batch has to come again, as a whole.
        """
        if not self.sends or not self.flags().real_time_notifications:
            return
        failed = [
            str(record.get("eventID"))
            for record in event.get("Records", [])
            if not self._done_with(record)
        ]
        if failed:
            raise BatchFailed(f"{STEP}: to be tried again: {', '.join(failed)}")

    def _done_with(self, record: Mapping[str, Any]) -> bool:
        log = telemetry.logger()
        try:
            parcel = changed_parcel(record)
            if parcel is None or parcel.notify_email is None:
                return True
            log.append_keys(tracking_id=parcel.tracking_id)
            _queue(self.queue, parcel, parcel.notify_email, self.now_ms())
        except ServiceUnavailable as error:
            if self.now_ms() - _written_at_ms(record) < _PATIENCE_MS:
                log.warning("notify: not queued yet: %s", error)
                telemetry.count(STEP, ProcessingErrors=1)
                return False
            return self._archived(record, error)
        # Whatever a record does must reach neither the other records nor the shard.
        except Exception as error:
            log.exception("notify: a record cannot be read")
            return self._archived(record, error)
        else:
            log.info("notify: queued, change %s", parcel.change_seq)
            return True
        finally:
            log.remove_keys(["tracking_id"])

    def _archived(self, record: Mapping[str, Any], error: Exception) -> bool:
        try:
            keep(
                self.archive,
                step=STEP,
                letter_id=str(record.get("eventID", "without-id")),
                body=record,
                reason=fault_of(error),
                tracking_id=_parcel_of(record),
            )
        except ServiceUnavailable as unavailable:
            telemetry.logger().warning("notify: not archived yet: %s", unavailable)
            return False
        telemetry.count(STEP, DeadLetters=1)
        return True


def queue_change(queue: Queue, record: Mapping[str, Any], now_ms: int) -> None:
    """Queue what a stream record has to say, if anything; `mail` decides whether it is sent.

    Raises:
        KeyError, ValueError, TypeError: It is no record of the tracking table.
        ServiceUnavailable: SQS does not answer as it should.
    """
    parcel = changed_parcel(record)
    if parcel is not None and parcel.notify_email is not None:
        _queue(queue, parcel, parcel.notify_email, now_ms)


def changed_parcel(record: Mapping[str, Any]) -> Parcel | None:
    """The parcel of a stream record, if the record is a change of its current status.

    Raises:
        KeyError, ValueError, TypeError: It is no record of the tracking table.
    """
    images = record["dynamodb"]
    parcel = parcel_in_stream(images.get("NewImage"))
    if parcel is None:
        return None
    before = parcel_in_stream(images.get("OldImage"))
    if before is not None and before.change_seq >= parcel.change_seq:
        return None
    return parcel


def _queue(queue: Queue, parcel: Parcel, email: str, now: int) -> None:
    queue.send(messages.encode(_message_about(parcel, email, now)))


def _message_about(parcel: Parcel, email: str, now: int) -> NotificationMessage:
    return NotificationMessage(
        tracking_id=parcel.tracking_id,
        change_seq=parcel.change_seq,
        status=parcel.status,
        location=parcel.location,
        occurred_at=parcel.occurred_at,
        email=email,
        image_id=parcel.image_id,
        queued_at_ms=now,
    )


def _parcel_of(record: Mapping[str, Any]) -> str | None:
    """Which parcel a record is about, as far as it can be read."""
    try:
        return str(record["dynamodb"]["NewImage"]["tracking_id"]["S"])
    except (LookupError, TypeError):
        return None


def _written_at_ms(record: Mapping[str, Any]) -> int:
    # Seconds since the Unix epoch; one that does not say counts as old.
    return int(float(record["dynamodb"].get("ApproximateCreationDateTime", 0)) * 1000)
