"""An image ended: publish it, once.

Reads the stream of the images table. Which record is an end is decided from the record alone
(`chalicelib.image_events`), so a record may come twice, late or out of order.

    row of the event: claimed ─► topic ─► row of the event: published

Published before it is marked, so that whoever dies in between has said it, and the next one says it
again, under the same id: of the two things that can be had, this is "never lost" (docs/adr/0016).
A claim alone is no mark: it runs out.

As in `notify`, no record fails here for long, for it would hold up all images of its shard: what
cannot be read is archived at once, and what cannot be published is archived once it is an hour old.
Nor does a topic that hangs use up the function's time: who is killed midway archives nothing.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib import image_events, telemetry
from chalicelib.aws.announcement_table import AnnouncementTable
from chalicelib.aws.event_topic import EventTopic
from chalicelib.aws.image_rows import image_in_stream
from chalicelib.aws.object_store import ObjectStore
from chalicelib.batch import BatchFailed, fault_of
from chalicelib.clock import now_ms
from chalicelib.errors import AnnouncementInProgress, ServiceUnavailable
from chalicelib.image_events import ImageEvent
from chalicelib.pipeline.archive import keep

STEP = "announce"

# A fault of SNS or of our settings may pass, and nothing is lost while it is waited for. Later than
# this the images behind it count for more.
_PATIENCE_MS = 3_600_000
# Of the 60 seconds that the function has: one call to a topic that hangs takes up to 17.
_BUDGET_MS = 30_000
_TOLD_BY = ("status", "conversion_status")


@dataclass(frozen=True, kw_only=True)
class Announce:
    """Publishes how images ended.

    Args:
        topic: Where to; None where there is no topic, and nothing is published.
        announcements: What was published.
        archive: Where records go that cannot be published.
        stage: Whose images they are.
        now_ms: The time, in milliseconds since the Unix epoch.
    """

    topic: EventTopic | None
    announcements: AnnouncementTable
    archive: ObjectStore
    stage: str
    now_ms: Callable[[], int] = now_ms

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Publish what a stream event tells of.

        Raises:
            BatchFailed: AWS did not answer; the batch has to come again, as a whole.
        """
        if self.topic is None:
            return
        batch = _Batch(topic=self.topic, until_ms=self.now_ms() + _BUDGET_MS)
        failed = [
            str(record.get("eventID"))
            for record in event.get("Records", [])
            if not self._done_with(record, batch)
        ]
        if failed:
            raise BatchFailed(f"{STEP}: to be tried again: {', '.join(failed)}")

    def again(self, record: Mapping[str, Any]) -> None:
        """Publish what one record tells of that was archived, unless that was done since.

        Raises:
            ServiceUnavailable: AWS did not answer, or somebody is at it; it may be asked again.
            KeyError, ValueError, TypeError, AttributeError: It is no record of the images table.
        """
        topic = self.topic
        if topic is None:
            raise ServiceUnavailable("there is no topic to announce images on")
        try:
            for event in events_in(record):
                self._publish(event, topic)
        except AnnouncementInProgress as busy:
            raise ServiceUnavailable(str(busy)) from None

    def _done_with(self, record: Mapping[str, Any], batch: "_Batch") -> bool:
        log = telemetry.logger()
        try:
            for event in events_in(record):
                log.append_keys(image_id=event.image.image_id)
                self._in_time(batch)
                self._publish(event, batch.topic)
        except _NoTimeLeft as error:
            # Where all goes well, only slowly, the next try comes further than this one.
            return batch.faulty and not self._is_young(record) and self._archived(record, error)
        except (ServiceUnavailable, AnnouncementInProgress) as error:
            batch.faulty = True
            if self._is_young(record):
                log.warning("announce: not published yet: %s", error)
                telemetry.count(STEP, ProcessingErrors=1)
                return False
            return self._archived(record, error)
        # Whatever a record does must reach neither the other records nor the shard.
        except Exception as error:
            log.exception("announce: a record cannot be read")
            return self._archived(record, error)
        else:
            return True
        finally:
            log.remove_keys(["image_id"])

    def _in_time(self, batch: "_Batch") -> None:
        if self.now_ms() >= batch.until_ms:
            raise _NoTimeLeft

    def _publish(self, event: ImageEvent, topic: EventTopic) -> None:
        event_id, owner = event.event_id, uuid.uuid4().hex
        body = image_events.encode(event.envelope(self.stage))
        if not self.announcements.claim(
            event_id, image_id=event.image.image_id, owner=owner, now_ms=self.now_ms()
        ):
            return
        try:
            topic.publish(body, event.attributes)
        except ServiceUnavailable:
            self.announcements.release(event_id, owner=owner)
            raise
        self.announcements.settle(event_id, now_ms=self.now_ms())
        telemetry.count(STEP, EventsPublished=1)
        telemetry.logger().info(
            "announce: %s, attempt %s", event.kind.value, event.image.attempt, event_id=event_id
        )

    def _is_young(self, record: Mapping[str, Any]) -> bool:
        return self.now_ms() - _written_at_ms(record) < _PATIENCE_MS

    def _archived(self, record: Mapping[str, Any], error: Exception) -> bool:
        try:
            keep(
                self.archive,
                step=STEP,
                letter_id=str(record.get("eventID", "without-id")),
                body=record,
                reason=fault_of(error),
                image_id=_image_of(record),
            )
        except ServiceUnavailable as unavailable:
            telemetry.logger().warning("announce: not archived yet: %s", unavailable)
            return False
        telemetry.count(STEP, DeadLetters=1)
        return True


class _NoTimeLeft(ServiceUnavailable):
    """The records before this one took too long."""

    def __init__(self) -> None:
        super().__init__("the records before this one took too long")


@dataclass(kw_only=True)
class _Batch:
    """One call of the function.

    Attributes:
        topic: Where its events go.
        until_ms: When no other event is begun.
        faulty: Whether one of its records could not be published.
    """

    topic: EventTopic
    until_ms: int
    faulty: bool = False


def events_in(record: Mapping[str, Any]) -> list[ImageEvent]:
    """What a stream record has to be announced for.

    Raises:
        KeyError, ValueError, TypeError, AttributeError: It is no record of the images table.
    """
    images = record["dynamodb"]
    before, after = images.get("OldImage") or {}, images.get("NewImage") or {}
    if all(before.get(name) == after.get(name) for name in _TOLD_BY):
        # Most writes: reading both rows takes longer than all that is looked at here.
        return []
    return image_events.events_of(image_in_stream(before), image_in_stream(after))


def _image_of(record: Mapping[str, Any]) -> str | None:
    """Which image a record is about, as far as it can be read."""
    try:
        return str(record["dynamodb"]["NewImage"]["image_id"]["S"])
    except (LookupError, TypeError):
        return None


def _written_at_ms(record: Mapping[str, Any]) -> int:
    # Seconds since the Unix epoch; one that does not say counts as old.
    return int(float(record["dynamodb"].get("ApproximateCreationDateTime", 0)) * 1000)
