"""From an upload to its predictions, with a fault at every single call to AWS.

The boundaries are enumerated, not sampled: the n-th call fails, or its process
dies, before or after the call took effect; then everything is delivered again.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from chalicelib.errors import DarkroomError
from chalicelib.images import Status, results_key
from tests.fakes import Phase, Tombstone, crash, unavailable
from tests.unit.pipeline.world import PHOTO, PREDICTION, Stored, World

FAULTS = pytest.mark.parametrize("fault", [unavailable, crash], ids=["unavailable", "crash"])
PHASES = pytest.mark.parametrize("phase", ["before", "after"])


def boundaries(
    prepare: Callable[[World, int], None], run: Callable[[World], None]
) -> Iterator[World]:
    """A world for each call of the run, with the call's number to prepare it by.

    Ends with the first number that the run has no call for.
    """
    for number in range(100):
        world = World()
        prepare(world, number)
        run(world)
        if not world.trail.fired:
            assert number >= 10, "a run has more calls than that"
            return
        yield world
    raise AssertionError("the run never ends")


def upload_to_link(world: World) -> Stored:
    return world.upload(world.create())


def upload_direct(world: World) -> Stored:
    return world.store("uploads/my photo.jpg")


def assert_completed_once(world: World) -> None:
    row = world.only_row
    assert row.status is Status.COMPLETED
    assert (row.attempt, row.error, row.last_error) == (1, None, None)
    assert row.prediction == PREDICTION
    assert (row.original.width, row.original.content_type) == (40, "image/jpeg")
    assert row.original.sha256 == hashlib.sha256(PHOTO).hexdigest()
    assert list(world.results) == [results_key(row.image_id, row.generation or "", "test@1")]
    assert world.preprocessing_queue.held == world.inference_queue.held == {}
    world.assert_statuses_never_went_back()


@FAULTS
@PHASES
@pytest.mark.parametrize("upload", [upload_to_link, upload_direct])
def test_a_fault_at_any_call_is_made_good_by_the_next_delivery(
    fault: Callable[[], None], phase: Phase, upload: Callable[[World], Stored]
) -> None:
    worlds = boundaries(
        lambda world, number: world.trail.at(number, phase, fault),
        lambda world: world.run(upload(world)),
    )
    for world in worlds:
        assert_completed_once(world)


@PHASES
def test_every_message_twice_and_a_crash_at_any_call_still_make_one_result(phase: Phase) -> None:
    def run(world: World) -> None:
        upload = upload_direct(world)
        world.deliver_event(upload.event())
        world.deliver_event(upload.event())
        world.preprocessing_queue.duplicate()
        while world.poll(world.preprocessing_queue, world.preprocess):
            pass
        world.inference_queue.duplicate()
        world.work()

    def prepare(world: World, number: int) -> None:
        world.trail.at(number, phase, crash)

    for world in boundaries(prepare, run):
        assert_completed_once(world)


@PHASES
@pytest.mark.parametrize("upload", [upload_to_link, upload_direct])
def test_an_image_deleted_at_any_call_leaves_nothing_behind(
    phase: Phase, upload: Callable[[World], Stored]
) -> None:
    def prepare(world: World, number: int) -> None:
        world.trail.at(number, phase, lambda: delete_all(world))

    for world in boundaries(prepare, lambda world: world.run(upload(world))):
        if upload is upload_direct and phase == "before" and world.trail.fired == [0]:
            # A direct upload has no row yet that could have been deleted.
            assert_completed_once(world)
        else:
            assert_nothing_left(world)


def test_an_image_deleted_at_any_call_leaves_nothing_behind_even_if_the_worker_dies_then() -> None:
    for later in range(6):

        def prepare(world: World, number: int, later: int = later) -> None:
            def remove_then_die() -> None:
                delete_all(world)
                world.trail.at(len(world.trail.calls) + later, "before", crash)

            world.trail.at(number, "before", remove_then_die)

        for world in boundaries(prepare, lambda world: world.run(upload_to_link(world))):
            assert_nothing_left(world)


@FAULTS
@PHASES
def test_a_deletion_that_is_broken_off_at_any_call_is_finished_by_the_next(
    fault: Callable[[], None], phase: Phase
) -> None:
    for number in range(50):
        world = World()
        image_id = world.completed()
        world.trail.at(len(world.trail.calls) + number, phase, fault)
        with suppress(DarkroomError, *([] if fault is unavailable else [BaseException])):
            world.api.delete(image_id)
        if not world.trail.fired:
            assert number >= 10
            return
        with suppress(DarkroomError):
            world.api.delete(image_id)
        assert_nothing_left(world)
    raise AssertionError("the deletion never ends")


@FAULTS
@PHASES
def test_a_retry_that_is_broken_off_at_any_call_completes_once_it_is_asked_for_again(
    fault: Callable[[], None], phase: Phase
) -> None:
    for number in range(3):
        world = World()
        image_id = world.create()
        upload = world.upload(image_id)
        stored = world.uploads.versions.pop(upload.key)
        world.run(upload)
        assert world.row(image_id).status is Status.PREPROCESSING_FAILED
        world.uploads.versions[upload.key] = stored
        world.trail.at(len(world.trail.calls) + number, phase, fault)
        with suppress(DarkroomError, *([] if fault is unavailable else [BaseException])):
            world.api.retry(image_id)
        assert world.trail.fired
        with suppress(DarkroomError):
            world.api.retry(image_id)
        world.work()
        row = world.row(image_id)
        assert (row.status, row.attempt, row.error) == (Status.COMPLETED, 2, None)
        assert len(world.results) == 1
        world.assert_statuses_never_went_back()


def delete_all(world: World) -> None:
    for image_id in list(world.images.rows):
        with suppress(DarkroomError):
            world.api.delete(image_id)


def assert_nothing_left(world: World) -> None:
    [row] = world.images.rows.values()
    assert row == Tombstone(source=None, removing=False)
    assert world.renditions.objects == {}
    assert not any(
        version.stored for versions in world.uploads.versions.values() for version in versions
    )
    assert world.preprocessing_queue.held == world.inference_queue.held == {}
