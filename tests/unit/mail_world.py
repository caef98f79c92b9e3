"""Notifications on fakes: stream records go in, e-mails come out."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from boto3.dynamodb.types import TypeSerializer

from chalicelib import messages
from chalicelib.aws.tracking_rows import item_of_parcel
from chalicelib.batch import Batch, BatchFailed
from chalicelib.flags import Flags
from chalicelib.messages import NotificationMessage
from chalicelib.parcels import Location, Parcel, ParcelStatus
from chalicelib.pipeline.bury_notification import BuryNotification
from chalicelib.pipeline.letter import LetterWriter
from chalicelib.pipeline.mail import Mail
from chalicelib.pipeline.notify import Notify
from chalicelib.unsubscribe_links import UnsubscribeLinks
from tests.fakes import (
    Crash,
    FakeImageTable,
    FakeMailer,
    FakeNotificationTable,
    FakeObjectStore,
    FakeQueue,
    FakeSecret,
    FakeSuppressionTable,
    Trail,
)

NOW = 1_795_000_000_000
ADDRESS = "someone@recipient.example"
SENDER = "Darkroom <parcels@darkroom.example>"
PARCEL = Parcel(
    tracking_id="PX-1",
    status=ParcelStatus.DELIVERED,
    location=Location(lat=Decimal("40.7128"), lng=Decimal("-74.0060")),
    occurred_at=NOW - 60_000,
    update_timestamp=NOW - 59_000,
    status_changed_at=NOW - 60_000,
    change_seq=3,
    version=5,
    last_update_at=NOW - 59_000,
    notify_email=ADDRESS,
    notify_email_at=NOW - 90_000,
)
MESSAGE = NotificationMessage(
    tracking_id=PARCEL.tracking_id,
    change_seq=PARCEL.change_seq,
    status=PARCEL.status,
    location=PARCEL.location,
    occurred_at=PARCEL.occurred_at,
    email=ADDRESS,
    queued_at_ms=NOW,
)
LINKS = UnsubscribeLinks(secret=FakeSecret().value)
WRITER = LetterWriter(
    sender=SENDER,
    public_url="https://api.example/api",
    history_url="https://shop.example/parcels/",
    links=LINKS,
)
MAX_RECEIVES = 5
# Longer than a lease: whoever comes again finds it over.
_BETWEEN_TRIES_MS = 100_000
_PATIENCE = 60


class MailWorld:
    """Everything between the stream and SES over fakes that share one trail."""

    def __init__(self, trail: Trail | None = None) -> None:
        self.now = NOW
        self.flags = Flags(real_time_notifications=True)
        self.trail = Trail() if trail is None else trail
        self.notifications = FakeNotificationTable(self.trail)
        self.suppressions = FakeSuppressionTable(self.trail)
        self.images = FakeImageTable(self.trail)
        self.renditions = FakeObjectStore(self.trail, versioned=False, label="renditions")
        self.archive = FakeObjectStore(self.trail, label="archive")
        self.queue = FakeQueue(self.trail, label="notification")
        self.mailer = FakeMailer(self.trail)
        self.notify = Notify(
            queue=self.queue,
            archive=self.archive,
            flags=lambda: self.flags,
            sends=True,
            now_ms=lambda: self.now,
        )
        self.mail = Mail(
            notifications=self.notifications,
            suppressions=self.suppressions,
            images=self.images,
            renditions=self.renditions,
            queue=self.queue,
            writer=WRITER,
            mailer=self.mailer,
            flags=lambda: self.flags,
            sends=True,
            now_ms=lambda: self.now,
        )
        self.bury = BuryNotification(
            notifications=self.notifications, archive=self.archive, now_ms=lambda: self.now
        )

    def deliver(self, *records: Any) -> None:
        """A batch of the stream as Lambda delivers it: again, until it is taken in."""
        for _ in range(_PATIENCE):
            with suppress(BatchFailed, Crash):
                self.notify({"Records": list(records)})
                return
        raise AssertionError("the batch was never taken in")

    def work(self) -> None:
        """Deliver all messages until the queue is empty; what fails too often is buried."""
        for _ in range(_PATIENCE):
            self.now += _BETWEEN_TRIES_MS
            self.queue.reappear()
            records = self.queue.receive(1)
            if not records:
                return
            handles = [record["receiptHandle"] for record in records]
            event = {"Records": records}
            with suppress(Exception, Crash):
                if int(records[0]["attributes"]["ApproximateReceiveCount"]) > MAX_RECEIVES:
                    self.bury(event)
                else:
                    self.batch.run(event, lambda: self.mail)
                self.queue.removed(handles)
        raise AssertionError("the queue never got empty")

    @property
    def batch(self) -> Batch[NotificationMessage]:
        """Feeds `mail`."""
        return Batch(
            name="mail",
            decode=messages.decode_notification,
            queue=self.queue,
            faults=self.notifications,
            retry_base_seconds=1,
        )

    @property
    def mails(self) -> list[EmailMessage]:
        """What was sent, as a recipient reads it."""
        return [read(sent.raw) for sent in self.mailer.taken]

    @property
    def states(self) -> dict[str, tuple[str, str | None]]:
        """Each notification's state and reason."""
        rows = self.notifications.rows
        return {name: (row.state.value, row.reason) for name, row in rows.items()}


def read(raw: bytes) -> EmailMessage:
    """An e-mail as a mail client parses it."""
    return message_from_bytes(raw, policy=default)


def record_of(
    parcel: Parcel, before: Parcel | None = None, *, event_id: str = "1", at_ms: int = NOW
) -> dict[str, Any]:
    """The stream record of a write that made a parcel what it is."""
    images = {"NewImage": _image(parcel)}
    if before is not None:
        images["OldImage"] = _image(before)
    return {
        "eventID": event_id,
        "eventName": "INSERT" if before is None else "MODIFY",
        "dynamodb": {**images, "ApproximateCreationDateTime": at_ms / 1000},
    }


def changes_of(tracking_id: str, statuses: Sequence[ParcelStatus]) -> list[dict[str, Any]]:
    """The records of a parcel that goes through these statuses, each another than the one before."""
    records: list[dict[str, Any]] = []
    before: Parcel | None = None
    for number, status in enumerate(statuses, start=1):
        parcel = replace(
            PARCEL, tracking_id=tracking_id, status=status, change_seq=number, version=number
        )
        records.append(record_of(parcel, before, event_id=f"{tracking_id}-{number}"))
        before = parcel
    return records


def _image(parcel: Parcel) -> dict[str, Any]:
    serialize = TypeSerializer().serialize
    return {name: serialize(value) for name, value in item_of_parcel(parcel, shards=4).items()}
