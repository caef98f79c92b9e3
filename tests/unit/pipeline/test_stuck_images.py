"""Images that stand still, uploads that nobody was told of, links that nobody used."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from chalicelib import messages
from chalicelib.errors import Superseded
from chalicelib.images import ConversionStatus, Failure, Image, Status, new_image_id
from chalicelib.pipeline.check import CheckFailed
from tests.fakes import Crash, Phase, Tombstone, crash, unavailable
from tests.unit.pipeline.world import ON_THEIR_WAY, World, first_message

HOUR = 3_600_000


@pytest.fixture
def world() -> World:
    return World()


def accepted(world: World) -> str:
    """An image that was accepted and queued."""
    image_id = world.create()
    world.deliver_event(world.upload(image_id).event())
    return image_id


def lose(world: World) -> None:
    """Every message in every queue is lost."""
    for queue in (world.preprocessing_queue, world.inference_queue, world.conversion_queue):
        queue.held.clear()


def stuck(world: World, status: Status) -> str:
    """An image whose message was lost while it stood at this status."""
    image_id = accepted(world)
    if status in {Status.PREPROCESSED, Status.INFERENCING}:
        world.poll(world.preprocessing_queue, world.preprocess)
    if status in {Status.PREPROCESSING, Status.INFERENCING}:
        world.images.start(first_message(world.row(image_id)), status, now_ms=world.now)
    lose(world)
    assert world.row(image_id).status is status
    return image_id


@pytest.mark.parametrize("status", ON_THEIR_WAY)
def test_an_image_whose_message_was_lost_is_sent_again_and_completes(
    world: World, status: Status
) -> None:
    image_id = stuck(world, status)
    world.now += HOUR - 60_000
    world.check()
    world.work()
    assert world.row(image_id).status is status, "its time is not over"
    world.now += 2 * 60_000
    world.check()
    assert world.row(image_id).requeues == 1
    world.work()
    row = world.row(image_id)
    assert (row.status, row.attempt) == (Status.COMPLETED, 1)
    world.assert_statuses_never_went_back()
    assert world.check_log.known is not None
    assert world.check_log.known.found[f"requeued_{status}"] == 1


@pytest.mark.parametrize("status", ON_THEIR_WAY)
def test_it_is_sent_again_twice_each_time_later_and_then_fails_and_a_retry_heals_it(
    world: World, status: Status
) -> None:
    image_id = stuck(world, status)
    hours: list[int] = []
    for hour in range(1, 13):
        before = world.row(image_id)
        world.now += HOUR + 1000
        world.check()
        lose(world)
        if world.row(image_id) != before:
            hours.append(hour)
        if world.row(image_id).status.final:
            break
    row = world.row(image_id)
    assert hours == [1, 3, 7], "after one hour, two more, four more"
    assert row.status.failed
    assert row.error is not None
    assert row.error.code == "processing_stuck"
    world.api.retry(image_id)
    assert (world.row(image_id).attempt, world.row(image_id).requeues) == (2, 0)
    world.work()
    assert world.row(image_id).status is Status.COMPLETED
    world.assert_statuses_never_went_back()


def test_a_reason_that_is_known_is_the_reason(world: World) -> None:
    image_id = stuck(world, Status.QUEUED)
    fault = Failure(code="service_unavailable", message="AWS did not answer.")
    world.images.rows[image_id] = replace(world.row(image_id), requeues=2, last_error=fault)
    world.now += 5 * HOUR
    world.check()
    assert world.row(image_id).error == fault


def test_the_model_that_a_retry_asked_for_is_asked_still(world: World) -> None:
    image_id = world.completed()
    world.publish("other@2", says="truck")
    world.api.retry(image_id, model="other@2")
    lose(world)
    world.now += HOUR * 2
    world.check()
    world.work()
    prediction = world.row(image_id).prediction
    assert prediction is not None
    assert prediction.model_name == "other"


def test_copies_whose_message_was_lost_are_sent_again_then_given_up_alone(world: World) -> None:
    image_id = accepted(world)
    world.poll(world.preprocessing_queue, world.preprocess)
    world.poll(world.inference_queue, world.infer)
    lose(world)
    world.now += HOUR * 2
    world.check()
    assert len(world.conversion_queue.held) == 1
    lose(world)
    for _ in range(8):
        world.now += HOUR
        world.check()
        lose(world)
    row = world.row(image_id)
    assert (row.status, row.conversion_status) == (Status.COMPLETED, ConversionStatus.FAILED)
    assert row.conversion_error is not None
    assert row.conversion_error.code == "processing_stuck"
    world.api.retry(image_id)
    world.work()
    assert world.row(image_id).conversion_status is ConversionStatus.COMPLETED


def test_copies_are_left_alone_while_the_image_is_on_its_way(world: World) -> None:
    stuck(world, Status.QUEUED)
    world.now += HOUR * 2
    world.check()
    assert world.conversion_queue.sent == []


def test_a_worker_that_was_heard_of_after_the_check_looked_is_not_given_up(world: World) -> None:
    image_id = stuck(world, Status.INFERENCING)
    world.images.rows[image_id] = replace(world.row(image_id), requeues=2)
    message = first_message(world.row(image_id))
    world.now += 9 * HOUR

    def wakes() -> None:
        world.images.start(message, Status.INFERENCING, now_ms=world.now)

    world.trail.at_next("images.fail", "before", wakes)
    world.check()
    assert world.row(image_id).status is Status.INFERENCING
    world.infer(message)
    assert world.row(image_id).status is Status.COMPLETED


@pytest.mark.parametrize("moment", ["images.count_requeue", "preprocessing.send"])
def test_two_checks_at_once_count_one_requeue(world: World, moment: str) -> None:
    image_id = stuck(world, Status.QUEUED)
    world.now += 2 * HOUR
    world.trail.at_next(moment, "before", world.check)
    world.check()
    assert world.row(image_id).requeues == 1
    world.work()
    assert world.row(image_id).status is Status.COMPLETED
    assert len(world.results) == 1
    world.assert_statuses_never_went_back()


def test_an_image_that_is_deleted_while_the_check_looks_stays_deleted(world: World) -> None:
    image_id = stuck(world, Status.QUEUED)
    world.now += 2 * HOUR
    world.trail.at_next("preprocessing.send", "before", lambda: delete(world, image_id))
    world.check()
    world.work()
    assert isinstance(world.images.rows[image_id], Tombstone)


def delete(world: World, image_id: str) -> None:
    world.api.delete(image_id)


def test_an_upload_whose_event_was_lost_is_taken_in_in_its_first_version(world: World) -> None:
    image_id = world.create()
    first = world.upload(image_id)
    world.upload(image_id, b"a second one")
    world.check()
    row = world.row(image_id)
    assert (row.status, row.generation) == (Status.QUEUED, first.version_id)
    world.deliver_event(first.event())
    world.work()
    assert world.row(image_id).status is Status.COMPLETED
    assert len(world.results) == 1


def test_an_upload_that_is_a_moment_old_is_left_to_its_event(world: World) -> None:
    image_id = world.create()
    world.images.rows[image_id] = replace(world.row(image_id), created_at_ms=world.now - 1000)
    world.upload(image_id)
    world.check()
    assert world.row(image_id).status is Status.PENDING_UPLOAD


def test_a_link_that_nobody_used_expires_and_a_late_upload_is_accepted(world: World) -> None:
    image_id = world.create()
    until = world.now // 1000 + 900
    world.images.rows[image_id] = replace(world.row(image_id), link_expires_at=until)
    world.check()
    assert world.row(image_id).status is Status.PENDING_UPLOAD
    world.now += HOUR
    world.check()
    assert world.row(image_id).status is Status.EXPIRED
    world.run(world.upload(image_id))
    assert world.row(image_id).status is Status.COMPLETED


def test_an_upload_that_comes_as_the_check_expires_its_link_is_not_lost(world: World) -> None:
    image_id = world.create()
    world.now += HOUR
    upload = world.upload  # The object arrives after the check has looked.
    world.trail.at_next(
        "images.expire", "before", lambda: world.deliver_event(upload(image_id).event())
    )
    world.check()
    world.work()
    assert world.row(image_id).status is Status.COMPLETED


# Scenes that a check has something to do in; each gives the image.
def lost_upload(world: World) -> str:
    image_id = world.create()
    world.upload(image_id)
    return image_id


def lost_message(world: World) -> str:
    image_id = stuck(world, Status.QUEUED)
    world.now += 2 * HOUR
    return image_id


def lost_inference(world: World) -> str:
    image_id = stuck(world, Status.INFERENCING)
    world.now += 2 * HOUR
    return image_id


def lost_copies(world: World) -> str:
    image_id = accepted(world)
    world.poll(world.preprocessing_queue, world.preprocess)
    world.poll(world.inference_queue, world.infer)
    lose(world)
    world.now += 2 * HOUR
    return image_id


SCENES = (lost_upload, lost_message, lost_inference, lost_copies)
# More than the calls of any of them.
MOST_CALLS = 40


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("action", [crash, unavailable])
def test_a_check_that_dies_at_any_call_is_made_good_by_the_next(
    scene: Callable[[World], str], phase: Phase, action: Callable[[], None]
) -> None:
    """Enumerated: at every call, before it is made and after."""
    fired = 0
    for number in range(MOST_CALLS):
        world = World()
        image_id = scene(world)
        calls = len(world.trail.calls)
        world.trail.at(calls + number, phase, action)
        with suppress(Crash, CheckFailed, Exception):
            world.check()
        if not world.trail.fired:
            break
        fired += 1
        # The times that the row took on must not have put the image off for long.
        for _ in range(2):
            # The second time for its copies, whose message was lost as well.
            world.now += 2 * HOUR
            world.check()
            world.work()
        row = world.row(image_id)
        assert row.status is Status.COMPLETED, (number, row)
        assert row.conversion_status is ConversionStatus.COMPLETED
        assert len(world.results) == 1
        world.assert_statuses_never_went_back()
    else:
        raise AssertionError("the calls never ended")
    assert fired > 5


def test_ten_thousand_stuck_images_are_all_found(world: World) -> None:
    template = world.row(stuck(world, Status.QUEUED))
    world.images.rows.clear()
    world.images.page_size = 1000
    for number in range(10_000):
        row = replace(template, image_id=new_image_id(), created_at_ms=number)
        world.images.rows[row.image_id] = row
    world.preprocessing_queue.sent.clear()
    world.now += 2 * HOUR
    world.check()
    sent = {messages.decode(body).image_id for body in world.preprocessing_queue.sent}
    assert sent == set(world.images.rows)
    assert len(world.preprocessing_queue.sent) == 10_000


def test_counting_a_requeue_of_an_image_that_went_on_is_refused(world: World) -> None:
    image_id = world.completed()
    image: Image = world.row(image_id)
    with pytest.raises(Superseded):
        world.images.count_requeue(image, now_ms=1)
