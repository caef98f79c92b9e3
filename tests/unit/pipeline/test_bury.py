"""A dead letter is kept, and its image says why."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib import messages
from chalicelib.errors import ServiceUnavailable
from chalicelib.images import ConversionStatus, Failure, Image, Status
from chalicelib.messages import ImageMessage, dead_letter_key
from chalicelib.pipeline.bury import WORKER_LOST
from tests.fakes import Tombstone, unavailable
from tests.unit.pipeline.world import World, first_message

FAULT = Failure(code="service_unavailable", message="Busy.")


def letter(body: str, message_id: str = "id-1") -> Any:
    return {
        "messageId": message_id,
        "body": body,
        "attributes": {"SentTimestamp": "1795000000000"},
    }


def letter_about(message: ImageMessage) -> Any:
    return letter(messages.encode(message))


def running(world: World) -> Image:
    image_id = world.create()
    world.ingest(world.upload(image_id).event())
    return world.images.start(first_message(world.row(image_id)), Status.PREPROCESSING, now_ms=5)


def bury(world: World, *records: Any, step: str = "preprocess") -> None:
    status = Status.PREPROCESSING_FAILED if step == "preprocess" else Status.INFERENCE_FAILED
    world.bury({"Records": list(records)}, step=step, failed_status=status)


def archived(world: World, step: str = "preprocess", message_id: str = "id-1") -> Any:
    return json.loads(world.uploads.objects[dead_letter_key(step, message_id)])


def test_the_image_fails_with_the_reason_of_its_last_try(world: World) -> None:
    """Defect 22: nobody reads the dead letters, and the image is never marked."""
    image = running(world)
    message = first_message(image)
    world.images.note_fault(message, FAULT, now_ms=6)
    bury(world, letter_about(message))
    row = world.row(image.image_id)
    assert row.status is Status.PREPROCESSING_FAILED
    assert row.conversion_status is ConversionStatus.FAILED
    assert row.error == FAULT
    document = archived(world)
    assert document["reason"] == {"code": "service_unavailable", "message": "Busy."}
    assert document["image_id"] == image.image_id
    assert messages.decode(document["body"]) == message
    assert document["sent_at_ms"] == "1795000000000"


def test_a_worker_that_died_without_a_word_is_the_reason(world: World) -> None:
    image = running(world)
    bury(world, letter_about(first_message(image)), step="infer")
    row = world.row(image.image_id)
    assert row.status is Status.INFERENCE_FAILED
    assert row.error == WORKER_LOST


def test_a_letter_is_archived_before_its_image_is_marked(world: World) -> None:
    image = running(world)
    world.trail.calls.clear()
    bury(world, letter_about(first_message(image)))
    calls = [call for call in world.trail.calls if call in {"uploads.put", "images.fail"}]
    assert calls == ["uploads.put", "images.fail"]


@pytest.mark.parametrize("body", ["", "no JSON", "[]", '{"version": 99}', "\u0000"])
def test_an_unreadable_letter_is_kept_as_it_is(world: World, body: str) -> None:
    bury(world, letter(body))
    document = archived(world)
    assert document["body"] == body
    assert document["image_id"] is None
    assert document["reason"]["code"] == "message_unreadable"


def test_a_letter_that_is_about_no_image_is_kept(world: World) -> None:
    world.bury({"Records": [letter('{"Records": []}')]}, step="ingest", failed_status=None)
    assert archived(world, "ingest")["body"] == '{"Records": []}'
    assert "images.get" not in world.trail.calls


def test_an_unreadable_letter_does_not_keep_the_next_one_from_its_image(world: World) -> None:
    image = running(world)
    bury(world, letter("no JSON", "id-0"), letter_about(first_message(image)))
    assert world.row(image.image_id).status is Status.PREPROCESSING_FAILED
    assert len(world.uploads.objects) == 3


def test_a_letter_that_comes_twice_keeps_its_reason_in_both_places(world: World) -> None:
    image = running(world)
    message = first_message(image)
    world.images.note_fault(message, FAULT, now_ms=6)
    bury(world, letter_about(message))
    row, document = world.row(image.image_id), archived(world)
    bury(world, letter_about(message))
    assert world.row(image.image_id) == row
    again = archived(world)
    assert again | {"buried_at_ms": 0} == document | {"buried_at_ms": 0}
    assert len([key for key in world.uploads.objects if key.startswith("dead-letters/")]) == 1


@pytest.mark.parametrize("call", ["images.get", "uploads.put", "images.fail"])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_fault_while_burying_is_raised_and_the_next_delivery_makes_it_good(
    world: World, call: str, phase: Any
) -> None:
    image = running(world)
    message = first_message(image)
    world.images.note_fault(message, FAULT, now_ms=6)
    world.trail.at_next(call, phase, unavailable)
    with pytest.raises(ServiceUnavailable):
        bury(world, letter_about(message))
    bury(world, letter_about(message))
    assert world.row(image.image_id).error == FAULT
    assert archived(world)["reason"]["code"] == FAULT.code


def test_a_completed_image_is_left_alone(world: World) -> None:
    image_id = world.completed()
    row = world.row(image_id)
    for step in ("preprocess", "infer"):
        bury(world, letter_about(first_message(row)), step=step)
        assert archived(world, step)["reason"] is None
    assert world.row(image_id) == row


def test_the_letter_of_an_earlier_attempt_leaves_the_running_one_alone(world: World) -> None:
    image = running(world)
    message = first_message(image)
    world.images.fail(message, Status.PREPROCESSING_FAILED, FAULT, now_ms=6)
    world.api.retry(image.image_id)
    row = world.row(image.image_id)
    bury(world, letter_about(message))
    assert world.row(image.image_id) == row
    assert archived(world)["reason"] is None


@pytest.mark.parametrize(
    "prepare",
    [
        lambda world, image: world.images.rows.pop(image.image_id),
        lambda world, image: world.api.delete(image.image_id),
    ],
    ids=["unknown", "deleted"],
)
def test_the_letter_about_an_image_that_is_not_there_is_kept_and_makes_no_row(
    world: World, prepare: Callable[[World, Image], Any]
) -> None:
    image = running(world)
    prepare(world, image)
    bury(world, letter_about(first_message(image)))
    assert archived(world)["image_id"] == image.image_id
    assert isinstance(world.images.rows.get(image.image_id), Tombstone | None)


def test_a_letter_lies_where_its_id_says_and_nowhere_else() -> None:
    assert dead_letter_key("infer", "a1-B2") == "dead-letters/infer/a1-B2.json"
    assert dead_letter_key("infer", "../../x") == "dead-letters/infer/______x.json"


def test_an_event_without_letters_is_done_with(world: World) -> None:
    bury(world)
    assert world.trail.calls == []


def test_a_buried_image_can_be_retried_and_completes(world: World) -> None:
    image = running(world)
    bury(world, letter_about(first_message(image)))
    world.preprocessing_queue.held.clear()
    world.api.retry(image.image_id)
    world.work()
    row = world.row(image.image_id)
    assert (row.status, row.attempt, row.error) == (Status.COMPLETED, 2, None)
    assert row.conversion_status is ConversionStatus.COMPLETED
