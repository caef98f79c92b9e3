"""Which records of the stream become e-mails, and that no record holds up the others."""

import json
from dataclasses import replace
from typing import Any

import pytest

from chalicelib import messages
from chalicelib.batch import BatchFailed
from chalicelib.container import Container
from chalicelib.flags import Flags
from chalicelib.parcels import Parcel, ParcelStatus, change_id
from chalicelib.pipeline.notify import Notify
from tests.fakes import Phase, unavailable
from tests.unit.mail_world import MESSAGE, NOW, PARCEL, MailWorld, record_of
from tests.unit.test_settings import REQUIRED

HOUR_MS = 3_600_000


@pytest.fixture
def world() -> MailWorld:
    return MailWorld()


def archived(world: MailWorld) -> list[Any]:
    return [json.loads(body) for body in world.archive.objects.values()]


@pytest.mark.parametrize(
    ("before", "queued"),
    [
        (None, True),
        (replace(PARCEL, change_seq=2, status=ParcelStatus.IN_TRANSIT), True),
        (PARCEL, False),
        (replace(PARCEL, version=4), False),
        (replace(PARCEL, change_seq=4), False),
    ],
    ids=["first", "changed", "same", "another update", "older"],
)
def test_a_record_is_a_change_if_it_raises_the_number_of_changes(
    world: MailWorld, before: Parcel | None, *, queued: bool
) -> None:
    world.deliver(record_of(PARCEL, before))
    assert [messages.decode_notification(body) for body in world.queue.sent] == [MESSAGE] * queued


def test_the_message_is_named_as_the_change_is() -> None:
    assert MESSAGE.notification_id == change_id(PARCEL)


@pytest.mark.parametrize(
    "record",
    [
        {
            "eventID": "1",
            "dynamodb": {"Keys": {}, "OldImage": record_of(PARCEL)["dynamodb"]["NewImage"]},
        },
        {"eventID": "1", "dynamodb": {"NewImage": {"timestamp": {"N": str(NOW)}}}},
        record_of(replace(PARCEL, notify_email=None)),
    ],
    ids=["removed", "an update", "nobody to tell"],
)
def test_other_records_are_done_with(world: MailWorld, record: Any) -> None:
    world.deliver(record)
    assert (world.queue.sent, world.archive.objects) == ([], {})


@pytest.mark.parametrize("switch", ["flag", "sender"])
def test_nothing_is_queued_without_the_flag_or_without_a_sender(
    world: MailWorld, switch: str
) -> None:
    if switch == "flag":
        world.flags = Flags(real_time_notifications=False)
        world.deliver(record_of(PARCEL))
    else:
        notify = Notify(
            queue=world.queue, archive=world.archive, flags=lambda: world.flags, sends=False
        )
        notify({"Records": [record_of(PARCEL)]})
    assert world.trail.calls == []


POISON: list[Any] = [
    {"eventID": "poison"},
    {"eventID": "poison", "dynamodb": None},
    {"eventID": "poison", "dynamodb": {"NewImage": {"timestamp": {"N": "0"}}}},
    {"eventID": "poison", "dynamodb": {"NewImage": {"timestamp": {"S": "0"}}}},
    {"eventID": "poison", "dynamodb": {"NewImage": {"timestamp": {"N": "0"}, "x": {"Q": "?"}}}},
]


@pytest.mark.parametrize("poison", POISON)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_record_that_cannot_be_read_is_archived_and_the_others_are_queued(
    world: MailWorld, poison: Any, position: int
) -> None:
    """A stream repeats a batch until it succeeds, and nothing can be set against it."""
    records = [record_of(PARCEL), record_of(replace(PARCEL, tracking_id="PX-2"))]
    records.insert(position, poison)
    world.notify({"Records": records})
    assert len(world.queue.sent) == 2
    (letter,) = archived(world)
    assert letter["body"] == poison
    assert (letter["step"], letter["tracking_id"]) == ("notify", None)
    assert letter["reason"]["code"] == "internal_error"
    assert list(world.archive.objects) == ["dead-letters/notify/poison.json"]


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_fault_of_the_queue_brings_the_batch_back_and_the_others_go_on(
    world: MailWorld, phase: Phase
) -> None:
    records = [record_of(replace(PARCEL, tracking_id=f"PX-{n}"), event_id=str(n)) for n in range(3)]
    world.trail.at(1, phase, unavailable)
    with pytest.raises(BatchFailed, match=r": 1$"):
        world.notify({"Records": records})
    world.notify({"Records": records})
    named = {messages.decode_notification(body).tracking_id for body in world.queue.sent}
    assert named == {"PX-0", "PX-1", "PX-2"}
    assert world.archive.objects == {}


def test_a_record_that_cannot_be_queued_for_an_hour_is_archived(world: MailWorld) -> None:
    world.trail.at_next("notification.send", "before", unavailable)
    world.now += HOUR_MS
    world.notify({"Records": [record_of(PARCEL)]})
    (letter,) = archived(world)
    assert letter["reason"]["code"] == "service_unavailable"
    assert letter["body"] == record_of(PARCEL)
    assert letter["tracking_id"] == PARCEL.tracking_id


def test_where_nothing_can_be_archived_either_the_batch_comes_again(world: MailWorld) -> None:
    world.trail.at_next("archive.put", "before", unavailable)
    with pytest.raises(BatchFailed, match="poison"):
        world.notify({"Records": [POISON[0]]})
    world.notify({"Records": [POISON[0]]})
    assert len(archived(world)) == 1


def test_the_message_is_ascii_for_sqs_refuses_some_characters(world: MailWorld) -> None:
    parcel = replace(PARCEL, tracking_id="PX \uffff Käfer 🪲")
    world.deliver(record_of(parcel))
    (body,) = world.queue.sent
    assert body.isascii()
    assert messages.decode_notification(body).tracking_id == parcel.tracking_id


def test_an_empty_event_is_done_with(world: MailWorld) -> None:
    world.notify({})
    world.notify({"Records": []})
    assert world.trail.calls == []


def test_a_process_without_a_sender_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    container = Container(environ={**REQUIRED, "STAGE": "local", "MAIL_FROM": ""})
    for _ in range(2):
        container.notify({"Records": [record_of(PARCEL)]})
    assert caplog.text.count("MAIL_FROM is not set") == 1
