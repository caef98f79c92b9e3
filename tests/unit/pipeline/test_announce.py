"""Each end of an image is published once, and no record holds up the others."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.batch import BatchFailed
from chalicelib.container import Container
from chalicelib.errors import ServiceUnavailable
from chalicelib.images import ConversionStatus, Status, new_image_id
from chalicelib.pipeline.announce import Announce
from tests.crashes.enumeration import boundaries
from tests.fakes import Crash, Phase, crash, unavailable
from tests.image_event_schema import problems_of
from tests.unit.pipeline.world import PHOTO, World, photo, record_of
from tests.unit.test_image_events import COMPLETED, CONVERTED, FAILED, INFERENCING
from tests.unit.test_settings import REQUIRED

HOUR_MS = 3_600_000
COMPLETES = record_of(INFERENCING, COMPLETED, event_id="completes")
FAILS = record_of(INFERENCING, FAILED, event_id="fails")
CONVERTS = record_of(INFERENCING, CONVERTED, event_id="converts")


@pytest.fixture
def world() -> World:
    return World()


def said(world: World) -> list[tuple[str, int]]:
    """The type and the attempt of each event that was published, in order."""
    return [(event["type"].rpartition(".")[2], event["data"]["attempt"]) for event in world.events]


def archived(world: World) -> list[Any]:
    objects = world.uploads.objects
    return [json.loads(objects[key]) for key in objects if key.startswith("dead-letters/")]


# --- The life of an image -----------------------------------------------------------------------


def test_an_image_is_completed_and_its_copies_end_and_nothing_else_is_said(world: World) -> None:
    image_id = world.completed()
    world.stream()
    assert sorted(said(world)) == [("completed", 1), ("conversion_ended", 1)]
    assert all(problems_of(event) == [] for event in world.events)
    completed = next(event for event in world.events if event["type"].endswith(".completed"))
    assert completed["subject"] == image_id
    assert completed["data"]["results"]["classes"] == ["ship", "truck"]
    assert [attributes["type"] for _, attributes in world.topic.published] == [
        event["type"] for event in world.events
    ]


def test_a_retry_is_announced_as_the_attempt_that_it_is(world: World) -> None:
    image_id = world.create()
    world.classifier.fault = RuntimeError("the graph does not like it")
    world.run(world.upload(image_id))
    world.classifier.fault = None
    world.api.retry(image_id)
    world.work()
    world.stream()
    assert [entry for entry in said(world) if entry[0] != "conversion_ended"] == [
        *(("failed", 1), ("completed", 2))
    ]
    assert len({event["id"] for event in world.events}) == len(world.events) == 3


def test_another_model_completes_an_image_once_more(world: World) -> None:
    image_id = world.completed()
    world.publish("other@2", side=12, says="truck")
    world.api.retry(image_id, model="other@2")
    world.work()
    world.stream()
    completed = [event for event in world.events if event["type"].endswith(".completed")]
    assert [(event["data"]["attempt"], event["data"]["model"]["name"]) for event in completed] == [
        *((1, "test"), (2, "other"))
    ]
    assert [entry for entry in said(world) if entry[0] == "conversion_ended"] == [
        ("conversion_ended", 1)
    ]


def test_a_file_that_is_no_image_fails_and_its_copies_with_it(world: World) -> None:
    world.run(world.upload(world.create(), b"hello"))
    world.stream()
    (event,) = world.events
    assert event["type"] == "darkroom.image.failed"
    assert event["data"]["error"]["code"] == "unsupported_media_type"
    assert event["data"]["conversion_status"] == "failed"


def test_an_image_that_was_deleted_on_its_way_is_never_announced(world: World) -> None:
    image_id = world.create()
    world.deliver_event(world.upload(image_id).event())
    world.api.delete(image_id)
    world.work()
    world.stream()
    assert world.events == []


def test_an_image_that_was_deleted_after_its_end_ended_all_the_same(world: World) -> None:
    """Whether the deletion or the announcement is quicker makes no difference."""
    image_id = world.completed()
    world.api.delete(image_id)
    world.stream()
    assert sorted(said(world)) == [("completed", 1), ("conversion_ended", 1)]


def test_a_link_that_nobody_used_is_no_failure(world: World) -> None:
    image_id = world.create()
    world.images.expire(world.row(image_id), now_ms=5)
    world.stream()
    assert world.events == []


def test_what_dynamodb_removes_when_its_time_is_over_is_not_announced(world: World) -> None:
    expiry = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    for row in (COMPLETED, INFERENCING, replace(COMPLETED, status=Status.EXPIRED)):
        world.announce({"Records": [{**record_of(row, None), "userIdentity": expiry}]})
    assert (world.events, archived(world)) == ([], [])


def test_what_the_check_writes_beside_the_images_is_no_image(world: World) -> None:
    heartbeat = {"image_id": {"S": "check"}, "at_ms": {"N": "1"}, "heartbeat": {"S": "{}"}}
    record = {"eventID": "1", "eventName": "MODIFY", "dynamodb": {"NewImage": heartbeat}}
    world.announce({"Records": [record]})
    assert (world.events, archived(world)) == ([], [])


# --- Once -----------------------------------------------------------------------------------------


def test_what_comes_again_is_published_once(world: World) -> None:
    world.announce({"Records": [COMPLETES, CONVERTS, COMPLETES]})
    world.announce({"Records": [CONVERTS, COMPLETES]})
    assert len(world.events) == 2


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("fault", [crash, unavailable])
def test_a_fault_at_any_call_loses_nothing_and_doubles_under_one_name_in_the_window_alone(
    phase: Phase, fault: Callable[[], None]
) -> None:
    """The window is from the topic's taking the event to the mark (docs/adr/0016)."""
    doubled = []
    for number in range(20):
        world = World()
        world.images.changes.append((INFERENCING, COMPLETED))
        world.trail.at(number, phase, fault)
        world.stream()
        world.stream()
        if not world.trail.fired:
            break
        (name,) = {event["id"] for event in world.events}
        if len(world.events) == 2:
            assert world.topic.published[0] == world.topic.published[1]
            doubled.append(world.trail.calls[number])
        assert len(world.events) <= 2
        assert world.announcements.rows[name].published
    assert number == 4, "claim, publish, settle; and the claim of the second time"
    window = {
        ("before", crash): ["announcements.settle"],
        ("before", unavailable): ["announcements.settle"],
        ("after", crash): ["topic.publish"],
        ("after", unavailable): ["topic.publish"],
    }
    assert doubled == window[phase, fault]


def test_two_at_once_publish_one(world: World) -> None:
    """The second finds the first at it, and comes again."""

    def meanwhile() -> None:
        with pytest.raises(BatchFailed, match="completes"):
            world.announce({"Records": [COMPLETES]})

    world.trail.at_next("topic.publish", "before", meanwhile)
    world.announce({"Records": [COMPLETES]})
    world.announce({"Records": [COMPLETES]})
    assert len(world.events) == 1


def test_whoever_died_holds_nobody_up_for_longer_than_his_lease(world: World) -> None:
    world.trail.at_next("topic.publish", "before", crash)
    with pytest.raises(Crash):
        world.announce({"Records": [COMPLETES]})
    world.stream_now += 70_000
    with pytest.raises(BatchFailed):
        world.announce({"Records": [COMPLETES]})
    world.stream_now += 1
    world.announce({"Records": [COMPLETES]})
    assert len(world.events) == 1


def test_where_the_topic_says_no_the_next_try_need_not_wait(world: World) -> None:
    world.trail.at_next("topic.publish", "before", unavailable)
    with pytest.raises(BatchFailed):
        world.announce({"Records": [COMPLETES]})
    world.announce({"Records": [COMPLETES]})
    assert len(world.events) == 1


def test_the_events_of_an_image_whose_every_call_breaks_are_those_of_one_that_went_well() -> None:
    def prepare(world: World, number: int) -> None:
        world.images_of = [world.create(), world.create()]  # type: ignore[attr-defined]
        world.trail.at(number, "after", crash)

    def run(world: World) -> None:
        first, second = world.images_of  # type: ignore[attr-defined]
        world.run(world.upload(first, PHOTO))
        world.run(world.upload(second, photo("olive", kind="PNG")[:40]))
        world.stream()

    for world in boundaries(prepare, run):
        assert {entry for entry in said(world) if entry[0] != "conversion_ended"} == {
            *(("completed", 1), ("failed", 1))
        }


# --- Poison, and faults that do not pass ----------------------------------------------------------

POISON: list[Any] = [
    {"eventID": "poison"},
    {"eventID": "poison", "dynamodb": None},
    {"eventID": "poison", "dynamodb": {"NewImage": {"status": {"S": "unheard-of"}}}},
    {"eventID": "poison", "dynamodb": {"NewImage": {"status": {"S": "completed"}}}},
    {"eventID": "poison", "dynamodb": {"NewImage": {"status": {"Q": "?"}, "x": {"Q": "?"}}}},
]


@pytest.mark.parametrize("poison", POISON)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_record_that_cannot_be_read_is_archived_and_the_others_are_published(
    world: World, poison: Any, position: int
) -> None:
    """A stream repeats a batch until it succeeds, and `chalice deploy` can set nothing against it."""
    records = [COMPLETES, CONVERTS]
    records.insert(position, poison)
    world.announce({"Records": records})
    assert len(world.events) == 2
    (letter,) = archived(world)
    assert (letter["body"], letter["step"], letter["image_id"]) == (poison, "announce", None)
    assert letter["reason"]["code"] == "internal_error"
    assert list(world.uploads.objects) == ["dead-letters/announce/poison.json"]


@pytest.mark.parametrize("number", range(9))
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_fault_brings_the_batch_back_and_the_others_go_on(
    world: World, number: int, phase: Phase
) -> None:
    other = record_of(INFERENCING, replace(FAILED, attempt=2), event_id="other")
    world.trail.at(number, phase, unavailable)
    records = [COMPLETES, CONVERTS, other]
    with pytest.raises(BatchFailed, match=r": \w+$"):
        world.announce({"Records": records})
    named = {event["id"] for event in world.events}
    assert len(named) >= 2
    world.stream_now += 100_000
    world.announce({"Records": records})
    assert len({event["id"] for event in world.events}) == 3
    assert archived(world) == []


def test_a_record_that_cannot_be_published_for_an_hour_is_archived(world: World) -> None:
    world.trail.at_next("topic.publish", "before", unavailable)
    world.stream_now += HOUR_MS
    world.announce({"Records": [COMPLETES]})
    (letter,) = archived(world)
    assert letter["reason"]["code"] == "service_unavailable"
    assert letter["body"] == COMPLETES
    assert letter["image_id"] == COMPLETES["dynamodb"]["NewImage"]["image_id"]["S"]


def hangs(world: World) -> None:
    """The topic does not answer, and takes its time for it."""

    def publish(*_: Any) -> None:
        world.stream_now += 16_000
        world.trail.calls.append("topic.publish")
        raise ServiceUnavailable("timed out")

    world.topic.publish = publish  # type: ignore[method-assign, assignment]


def many(number: int) -> list[Any]:
    return [
        record_of(INFERENCING, replace(COMPLETED, image_id=new_image_id()), event_id=str(one))
        for one in range(number)
    ]


def test_a_topic_that_hangs_leaves_time_to_archive_what_is_old(world: World) -> None:
    """A function that is killed in the middle archives nothing, and the shard stands still."""
    hangs(world)
    world.stream_now += HOUR_MS
    began = world.stream_now
    world.announce({"Records": many(100)})
    assert len(archived(world)) == 100
    assert world.stream_now - began < 50_000, "the function has 60 seconds"
    assert world.trail.calls.count("topic.publish") == 2


def test_a_topic_that_hangs_keeps_what_is_young_in_the_stream(world: World) -> None:
    hangs(world)
    old = record_of(INFERENCING, FAILED, event_id="old", at_ms=world.stream_now - HOUR_MS)
    with pytest.raises(BatchFailed):
        world.announce({"Records": [*many(5), old]})
    assert [letter["body"]["eventID"] for letter in archived(world)] == ["old"]


def test_a_batch_that_is_only_slow_is_finished_by_the_next_tries(world: World) -> None:
    """However old its records are: nothing is wrong with any of them."""
    take = world.topic.publish

    def publish(body: str, attributes: Any) -> None:
        world.stream_now += 10_000
        take(body, attributes)

    world.topic.publish = publish  # type: ignore[method-assign]
    records = many(7)
    world.stream_now += 2 * HOUR_MS
    for published in (3, 6):
        with pytest.raises(BatchFailed):
            world.announce({"Records": records})
        assert len(world.events) == published
    world.announce({"Records": records})
    assert len({event["id"] for event in world.events}) == len(world.events) == 7
    assert archived(world) == []


def test_where_nothing_can_be_archived_either_the_batch_comes_again(world: World) -> None:
    world.trail.at_next("uploads.put", "before", unavailable)
    with pytest.raises(BatchFailed, match="poison"):
        world.announce({"Records": [POISON[0]]})
    world.announce({"Records": [POISON[0]]})
    assert len(archived(world)) == 1


def test_what_is_sent_back_from_the_archive_is_published_unless_it_was(world: World) -> None:
    """However old it is: whoever sends it back is told, and the letter stays."""
    world.stream_now += 24 * HOUR_MS
    world.trail.at_next("topic.publish", "before", unavailable)
    with pytest.raises(ServiceUnavailable):
        world.announce.again(COMPLETES)
    assert archived(world) == []
    world.announce.again(COMPLETES)
    world.announce.again(COMPLETES)
    assert len(world.events) == 1


def test_what_is_sent_back_while_somebody_is_at_it_may_be_sent_back_later(world: World) -> None:
    def meanwhile() -> None:
        with pytest.raises(ServiceUnavailable):
            world.announce.again(COMPLETES)

    world.trail.at_next("topic.publish", "before", meanwhile)
    world.announce({"Records": [COMPLETES]})
    assert len(world.events) == 1


# --- Settings ---------------------------------------------------------------------------------------


def test_without_a_topic_nothing_is_announced_and_nothing_fails(world: World) -> None:
    announce = replace(world.announce, topic=None)
    announce({"Records": [COMPLETES, POISON[0]]})
    assert world.trail.calls == []
    with pytest.raises(ServiceUnavailable):
        announce.again(COMPLETES)


@pytest.mark.parametrize(
    "arn", ["", "arn:aws:sns:us-east-1:000000000000:darkroom-dev-image-events"]
)
def test_the_container_takes_the_topic_from_the_environment(arn: str) -> None:
    environ = {**REQUIRED, "STAGE": "local", "IMAGE_EVENTS_TOPIC": arn}
    announce: Announce = Container(environ).announce
    assert (announce.topic.arn if announce.topic else "") == arn
    assert announce.stage == "local"


def test_copies_that_are_not_wanted_end_too(world: World) -> None:
    skipped = replace(INFERENCING, conversion_status=ConversionStatus.SKIPPED)
    world.announce({"Records": [record_of(INFERENCING, skipped)]})
    (event,) = world.events
    assert event["data"]["conversion_status"] == "skipped"


def test_an_empty_event_is_done_with(world: World) -> None:
    world.announce({"Records": []})
    world.announce({})
    assert world.trail.calls == []
