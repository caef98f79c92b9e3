"""From an upload to its predictions, with a fault at every single call to AWS.

The boundaries are enumerated, not sampled: the n-th call fails, or its process
dies, before or after the call took effect; then everything is delivered again.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress

import pytest

from chalicelib import messages
from chalicelib.batch import Stage
from chalicelib.errors import DarkroomError
from chalicelib.images import ConversionStatus, Failure, Image, Status, results_key
from chalicelib.imaging.formats import CopyFormat
from chalicelib.messages import ImageMessage
from tests.crashes.enumeration import boundaries
from tests.fakes import FakeQueue, Phase, Tombstone, crash, unavailable
from tests.unit.pipeline.world import PHOTO, PREDICTION, RECIPE, Stored, World, first_message

FAULTS = pytest.mark.parametrize("fault", [unavailable, crash], ids=["unavailable", "crash"])
PHASES = pytest.mark.parametrize("phase", ["before", "after"])


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
    assert_converted(world, row)
    assert_queues_empty(world)
    world.assert_statuses_never_went_back()


def assert_converted(world: World, row: Image) -> None:
    """Each copy once, where its key says, and in the record."""
    assert row.conversion_status is ConversionStatus.COMPLETED
    assert (row.conversion_error, row.conversion_last_error) == (None, None)
    keys = {
        RECIPE.key(row.image_id, row.generation or "", chosen)
        for chosen in (CopyFormat.WEBP, CopyFormat.JPEG)
    }
    assert set(world.copies) == {copy.key for copy in row.formats.values()} == keys
    assert all(len(world.copies[copy.key]) == copy.bytes for copy in row.formats.values())
    assert row.original.kind == "photo"


def assert_queues_empty(world: World) -> None:
    for queue in (world.preprocessing_queue, world.inference_queue, world.conversion_queue):
        assert queue.held == {}


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
        world.conversion_queue.duplicate()
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
    assert_queues_empty(world)


# --- The copies at full size, beside the predictions ---------------------------------------------

BUSY = Failure(code="service_unavailable", message="Busy.")


@PHASES
@pytest.mark.parametrize("order", ["inference first", "conversion first", "conversion at once"])
def test_in_whatever_order_the_branches_run_and_crash_both_end(phase: Phase, order: str) -> None:
    def run(world: World) -> None:
        upload = upload_to_link(world)
        world.deliver_event(upload.event())
        inference: tuple[FakeQueue, Stage[ImageMessage]] = (world.inference_queue, world.infer)
        conversion: tuple[FakeQueue, Stage[ImageMessage]] = (world.conversion_queue, world.convert)
        branches = (
            [inference, conversion] if order == "inference first" else [conversion, inference]
        )
        if order == "conversion at once":
            # It is quicker than the last write of the step that sent it.
            convert_at_once(world)
        drain(world, world.preprocessing_queue, world.preprocess)
        for queue, stage in branches:
            drain(world, queue, stage)
        world.work()

    for world in boundaries(lambda world, number: world.trail.at(number, phase, crash), run):
        assert_completed_once(world)


def convert_at_once(world: World) -> None:
    send = world.conversion_queue.send

    def send_and_convert(body: str, *, delay_seconds: int = 0) -> None:
        send(body, delay_seconds=delay_seconds)
        world.poll(world.conversion_queue, world.convert)

    world.conversion_queue.send = send_and_convert  # type: ignore[method-assign]


def drain(world: World, queue: FakeQueue, stage: Stage[ImageMessage]) -> None:
    while world.poll(queue, stage):
        pass


@FAULTS
@PHASES
def test_a_conversion_that_is_always_poison_fails_alone_whatever_else_breaks(
    fault: Callable[[], None], phase: Phase
) -> None:
    def run(world: World) -> None:
        world.run(upload_to_link(world))
        # What SQS does with a message that was received too often.
        row = world.only_row
        letter = {"messageId": "m", "body": messages.encode(first_message(row)), "attributes": {}}
        for _ in range(3):
            with suppress(DarkroomError, *([] if fault is unavailable else [BaseException])):
                world.bury(
                    {"Records": [letter]}, step="optimise", failed_status=ConversionStatus.FAILED
                )
        assert world.only_row.conversion_status is ConversionStatus.FAILED

    def prepare(world: World, number: int) -> None:
        world.trail.at(number, phase, fault)
        poison(world)

    for world in boundaries(prepare, run):
        row = world.only_row
        assert (row.status, row.error) == (Status.COMPLETED, None)
        assert row.conversion_error is not None
        # The last is what is said of a try that died before it could say anything.
        codes = {"internal_error", "service_unavailable", "worker_lost"}
        assert row.conversion_error.code in codes
        assert row.conversion_last_error is None
        world.assert_statuses_never_went_back()


def poison(world: World) -> None:
    """Each try to convert fails; after three the message is taken out of the queue."""
    convert = world.optimise
    tries = 0

    def fail(message: ImageMessage) -> None:
        nonlocal tries
        tries += 1
        if tries > 3:
            return
        convert.conversions.start(message, now_ms=1)
        raise RuntimeError("the encoder does not like it")

    world.convert = fail  # type: ignore[method-assign]


@FAULTS
@PHASES
@pytest.mark.parametrize("between", [False, True], ids=["idle", "workers between"])
@pytest.mark.parametrize(
    ("status", "conversion"),
    [
        (Status.INFERENCE_FAILED, "pending"),
        (Status.INFERENCE_FAILED, "failed"),
        (Status.INFERENCE_FAILED, "completed"),
        (Status.COMPLETED, "failed"),
    ],
)
def test_a_retry_that_is_broken_off_at_any_call_ends_both_branches_once_it_is_asked_for_again(
    fault: Callable[[], None], phase: Phase, conversion: str, status: Status, *, between: bool
) -> None:
    """The workers may find the messages before the client asks again, or only then."""
    for number in range(6):
        world = World()
        image_id = ended(world, status, conversion)
        world.trail.at(len(world.trail.calls) + number, phase, fault)
        with suppress(DarkroomError, *([] if fault is unavailable else [BaseException])):
            world.api.retry(image_id)
        if not world.trail.fired:
            assert number >= 3
            return
        if between:
            deliver_everything_a_few_times(world)
        with suppress(DarkroomError):
            world.api.retry(image_id)
        world.work()
        row = world.row(image_id)
        assert (row.status, row.error) == (Status.COMPLETED, None)
        assert row.attempt == 2
        assert len(world.results) == 1
        assert_converted(world, row)
        assert_queues_empty(world)
        world.assert_statuses_never_went_back()
    raise AssertionError("the retry never ends")


def ended(world: World, status: Status, conversion: str) -> str:
    """An image that ended so, its copies too but where they are pending."""
    image_id = world.create()
    world.deliver_event(world.upload(image_id).event())
    drain(world, world.preprocessing_queue, world.preprocess)
    message = first_message(world.row(image_id))
    match conversion:
        case "completed":
            drain(world, world.conversion_queue, world.convert)
        case "failed":
            world.conversion_queue.held.clear()
            world.conversions.fail(message, BUSY, now_ms=5)
    if status is Status.COMPLETED:
        drain(world, world.inference_queue, world.infer)
    else:
        world.inference_queue.held.clear()
        world.images.fail(message, status, BUSY, now_ms=6)
    return image_id


def deliver_everything_a_few_times(world: World) -> None:
    """As SQS does, until what nobody takes is moved to the dead letters."""
    for _ in range(5):
        world.poll(world.preprocessing_queue, world.preprocess)
        world.poll(world.inference_queue, world.infer)
        world.poll(world.conversion_queue, world.convert)
    for queue in (world.preprocessing_queue, world.inference_queue, world.conversion_queue):
        queue.held.clear()
