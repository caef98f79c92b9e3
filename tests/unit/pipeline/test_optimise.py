"""The copies at full size: made beside the predictions, stored for ever, told in the record."""

import hashlib
import io
from dataclasses import replace

import pytest
from PIL import Image as Pillow

from chalicelib import messages
from chalicelib.errors import ImageRejected, ServiceUnavailable, Superseded
from chalicelib.images import ConversionStatus, Failure, Image, Output, Status
from chalicelib.imaging.formats import CopyFormat
from chalicelib.messages import dead_letter_key
from chalicelib.pipeline.bury import WORKER_LOST
from tests import images
from tests.fakes import Tombstone, unavailable
from tests.unit.pipeline.world import PHOTO, RECIPE, World, first_message, photo

BUSY = Failure(code="service_unavailable", message="Busy.")


def preprocessed(
    world: World, body: bytes = PHOTO, *, outputs: tuple[Output, ...] = tuple(Output)
) -> Image:
    """An image whose copies are next."""
    image_id = world.create(outputs=outputs)
    world.ingest(world.upload(image_id, body).event())
    world.preprocess(first_message(world.row(image_id)))
    return world.row(image_id)


def convert(world: World, image: Image, *, attempt: int | None = None) -> Image:
    world.optimise(first_message(image, attempt=attempt))
    return world.row(image.image_id)


def bury(world: World, image: Image) -> None:
    letter = {"messageId": "m", "body": messages.encode(first_message(image)), "attributes": {}}
    world.bury({"Records": [letter]}, step="optimise", failed_status=ConversionStatus.FAILED)


def test_a_photo_gets_its_copies_with_all_that_the_record_tells_of_them(world: World) -> None:
    row = convert(world, preprocessed(world))
    assert row.conversion_status is ConversionStatus.COMPLETED
    assert row.original.kind == "photo"
    assert row.original.sha256 == hashlib.sha256(PHOTO).hexdigest()
    assert row.timings_ms["conversion"] >= 0
    assert list(row.formats) == ["webp", "jpeg"]
    for name, copy in row.formats.items():
        body = world.renditions.objects[copy.key]
        assert copy.key == RECIPE.key(row.image_id, row.generation or "", CopyFormat(name))
        assert copy.content_type == f"image/{name}"
        assert (copy.bytes, copy.bytes_saved) == (len(body), len(PHOTO) - len(body))
        assert (copy.width, copy.height, copy.frames) == (40, 30, None)
        assert copy.quality == 85
        assert copy.encoder is not None
        assert copy.encoding_ms is not None
        with Pillow.open(io.BytesIO(body)) as opened:
            assert (opened.format, opened.size) == (name.upper(), (40, 30))
    assert len(world.copies) == 2


def test_a_drawing_gets_the_formats_of_drawings(world: World) -> None:
    row = convert(world, preprocessed(world, photo(kind="PNG")))
    assert row.original.kind == "graphic"
    assert list(row.formats) == ["png"]
    assert row.formats["png"].quality is None


def test_the_content_type_is_that_of_the_bytes_whatever_the_upload_was_called(
    world: World,
) -> None:
    """Defects 65 and 70: every copy was a JPEG by another name, and names decided on formats."""
    upload = world.store("uploads/holiday.gif", photo(kind="BMP"))
    world.run(upload)
    row = world.only_row
    assert row.original.content_type == "image/bmp"
    ((key, body),) = world.copies.items()
    assert key.endswith(".png")
    assert row.formats["png"].content_type == "image/png"
    assert body.startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["A.JPG", "b.Png", "c.gif", "d.tiff", "no-suffix", "../up.jpg"])
def test_no_name_keeps_an_upload_from_being_converted(world: World, name: str) -> None:
    """Defects 35, 36 and 69: suffixes in capitals were skipped, and two names made one key."""
    world.run(world.store(f"uploads/{name}"))
    row = world.only_row
    assert row.conversion_status is ConversionStatus.COMPLETED
    assert all(key.startswith(f"formats/{row.image_id}/") for key in world.copies)


def test_the_same_name_twice_makes_copies_of_both(world: World) -> None:
    """Defect 69: ``uploads/a.jpg`` and ``a.jpg`` gave the same output key."""
    world.run(world.store("uploads/a.jpg"))
    world.run(world.store("uploads/x/a.jpg", photo("red")))
    assert len(world.images.rows) == 2
    assert len(world.copies) == 4


def test_every_record_of_an_event_is_converted(world: World) -> None:
    """Defect 34: only the first was."""
    uploads = [world.store(f"uploads/{name}", photo(name)) for name in ("red", "blue", "lime")]
    world.deliver_event({"Records": [upload.record() for upload in uploads]})
    world.work()
    statuses = {world.row(image_id).conversion_status for image_id in world.images.rows}
    assert (len(world.images.rows), statuses) == (3, {ConversionStatus.COMPLETED})


def test_objects_come_first_then_the_row(world: World) -> None:
    image = preprocessed(world)
    world.trail.calls.clear()
    convert(world, image)
    assert world.trail.calls == [
        "conversions.start",
        "uploads.get",
        "renditions.put",
        "renditions.put",
        "conversions.finish",
    ]


def test_the_original_is_fetched_and_read_once_for_all_copies(world: World) -> None:
    """Defect 71: it was decoded once for each size."""
    image = preprocessed(world)
    world.trail.calls.clear()
    convert(world, image)
    assert world.trail.calls.count("uploads.get") == 1


def test_predictions_do_not_wait_for_copies_nor_copies_for_predictions(world: World) -> None:
    image = preprocessed(world)
    world.poll(world.inference_queue, world.infer)
    row = world.row(image.image_id)
    assert (row.status, row.conversion_status) == (Status.COMPLETED, ConversionStatus.PENDING)
    other = preprocessed(world)
    row = convert(world, other)
    assert (row.status, row.conversion_status) == (Status.PREPROCESSED, ConversionStatus.COMPLETED)
    world.work()
    assert world.row(other.image_id).status is Status.COMPLETED


def test_copies_that_nobody_asked_for_are_not_made(world: World) -> None:
    api_row = world.create(outputs=(Output.PREDICTIONS,))
    world.images.rows[api_row] = replace(
        world.row(api_row), conversion_status=ConversionStatus.SKIPPED
    )
    world.run(world.upload(api_row))
    assert world.row(api_row).conversion_status is ConversionStatus.SKIPPED
    assert world.conversion_queue.sent == []
    assert world.copies == {}


def test_without_a_wanted_format_the_copies_are_skipped(world: World) -> None:
    world.optimise = replace(world.optimise, recipe=replace(RECIPE, of_photos=()))
    row = convert(world, preprocessed(world))
    assert row.conversion_status is ConversionStatus.SKIPPED
    assert row.formats == {}
    assert row.original.kind == "photo"


def test_an_animation_tells_how_many_frames_its_copy_has(world: World) -> None:
    world.optimise = replace(
        world.optimise, recipe=replace(RECIPE, of_graphics=(CopyFormat.WEBP, CopyFormat.PNG))
    )
    row = convert(world, preprocessed(world, images.animation("GIF")))
    assert row.original.frames == 2
    assert (row.formats["webp"].frames, row.formats["png"].frames) == (2, None)
    world.optimise = replace(world.optimise, limits=replace(world.optimise.limits, max_frames=1))
    still = convert(world, preprocessed(world, images.animation("GIF")))
    assert still.formats["webp"].frames is None
    keys = {copy.key.rpartition("/")[2] for copy in (row.formats["webp"], still.formats["webp"])}
    assert len(keys) == 2


# --- What is at fault itself ----------------------------------------------------------------------


def test_a_broken_file_is_told_in_the_row_and_leaves_no_copy(world: World) -> None:
    """Defects 37, 41 and 64: a first copy was left behind, no row was written, errors vanished."""
    image_id = world.create()
    world.run(world.upload(image_id, PHOTO[: len(PHOTO) // 2]))
    row = world.row(image_id)
    assert row.status is Status.PREPROCESSING_FAILED
    assert row.conversion_status is ConversionStatus.FAILED
    assert row.error is not None
    assert row.error.code == "image_truncated"
    assert world.copies == {}
    assert world.conversion_queue.sent == []


def test_an_original_that_was_removed_before_its_copies_were_made_fails_them_alone(
    world: World,
) -> None:
    image = preprocessed(world)
    del world.uploads.versions[image.source.key if image.source else ""]
    world.work()
    row = world.row(image.image_id)
    assert row.status is Status.COMPLETED
    assert row.error is None
    assert row.conversion_status is ConversionStatus.FAILED
    assert row.conversion_error is not None
    assert row.conversion_error.code == "object_missing"
    assert world.conversion_queue.held == {}


def test_what_only_the_whole_picture_shows_to_be_at_fault_fails_the_copies(world: World) -> None:
    image = preprocessed(world)
    limits = replace(world.optimise.limits, max_pixels=10)
    world.optimise = replace(world.optimise, limits=limits)
    row = convert(world, image)
    assert row.conversion_status is ConversionStatus.FAILED
    assert row.conversion_error is not None
    assert row.conversion_error.code == "image_dimensions_too_large"
    assert row.conversion_error.message.endswith(".")
    assert world.copies == {}


# --- Again, late, and out of order ----------------------------------------------------------------


def test_a_message_that_comes_again_makes_nothing_and_changes_nothing(world: World) -> None:
    """Defects 33, 42 and 43: another copy under a random name, and another row over the first."""
    image = preprocessed(world)
    row = convert(world, image)
    copies = world.copies
    world.trail.calls.clear()
    for _ in range(3):
        with pytest.raises(Superseded):
            convert(world, image)
    assert world.row(image.image_id) == row
    assert world.copies == copies
    assert set(world.trail.calls) == {"conversions.start"}


def test_two_workers_on_one_message_make_the_same_objects_and_one_record(world: World) -> None:
    """Defect 33."""
    image = preprocessed(world)
    message = first_message(image)
    world.trail.at_next("renditions.put", "before", lambda: world.optimise(message))
    with pytest.raises(Superseded):
        world.optimise(message)
    row = world.row(image.image_id)
    assert {copy.key for copy in row.formats.values()} == set(world.copies)
    assert all(
        row.formats[name].bytes == len(world.copies[row.formats[name].key]) for name in row.formats
    )
    world.assert_statuses_never_went_back()


def test_a_fault_leaves_the_message_and_its_reason_and_the_next_try_heals_both(
    world: World,
) -> None:
    image = preprocessed(world)
    world.trail.at_next("renditions.put", "before", unavailable)
    world.poll(world.conversion_queue, world.convert)
    row = world.row(image.image_id)
    assert row.conversion_status is ConversionStatus.PENDING
    assert row.conversion_error is None
    assert row.conversion_last_error is not None
    assert row.conversion_last_error.code == "service_unavailable"
    assert (row.last_error, row.error) == (None, None)
    assert len(world.conversion_queue.held) == 1
    world.work()
    row = world.row(image.image_id)
    assert row.conversion_status is ConversionStatus.COMPLETED
    assert row.conversion_last_error is None


def test_a_message_of_an_earlier_attempt_and_one_of_another_upload_are_dropped(
    world: World,
) -> None:
    image = preprocessed(world)
    for message in (
        first_message(image, attempt=image.attempt + 1),
        first_message(image, attempt=image.attempt - 1),
        replace(first_message(image), generation="another"),
        replace(first_message(image), image_id="unknown"),
    ):
        with pytest.raises(Superseded):
            world.optimise(message)
    assert world.row(image.image_id) == image
    assert world.copies == {}


@pytest.mark.parametrize("call", ["uploads.get", "renditions.put"])
def test_an_image_that_is_deleted_during_the_step_leaves_nothing_behind(
    world: World, call: str
) -> None:
    image = preprocessed(world)
    world.trail.at_next(call, "after", lambda: deleted(world, image))
    with pytest.raises(Superseded):
        convert(world, image)
    assert isinstance(world.images.rows[image.image_id], Tombstone)
    assert world.renditions.objects == {}


def test_a_worker_that_dies_after_a_deletion_is_cleaned_up_after_by_the_next_one(
    world: World,
) -> None:
    image = preprocessed(world)
    world.trail.at_next("renditions.put", "before", lambda: deleted(world, image))
    world.trail.at_next("conversions.finish", "before", unavailable)
    with pytest.raises(ServiceUnavailable):
        convert(world, image)
    assert world.renditions.objects != {}
    world.work()
    assert world.renditions.objects == {}


def deleted(world: World, image: Image) -> None:
    world.api.delete(image.image_id)


# --- Poison ---------------------------------------------------------------------------------------


def test_a_buried_conversion_has_the_reason_of_its_last_try_and_predictions_go_on(
    world: World,
) -> None:
    """Defect 41: neither a row nor a dead letter told of it."""
    image = preprocessed(world)
    world.conversions.note_fault(first_message(image), BUSY, now_ms=6)
    world.conversion_queue.held.clear()
    bury(world, image)
    row = world.row(image.image_id)
    assert (row.conversion_status, row.conversion_error) == (ConversionStatus.FAILED, BUSY)
    assert row.conversion_last_error is None
    world.work()
    row = world.row(image.image_id)
    assert (row.status, row.error) == (Status.COMPLETED, None)
    assert dead_letter_key("optimise", "m") in world.uploads.objects


def test_a_conversion_whose_worker_died_without_a_word_says_so(world: World) -> None:
    image = preprocessed(world)
    bury(world, image)
    assert world.row(image.image_id).conversion_error == WORKER_LOST
    bury(world, image)
    assert world.row(image.image_id).conversion_error == WORKER_LOST


@pytest.mark.parametrize("call", ["images.get", "uploads.put", "conversions.fail"])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_fault_while_burying_is_raised_and_the_next_delivery_makes_it_good(
    world: World, call: str, phase: str
) -> None:
    image = preprocessed(world)
    world.conversions.note_fault(first_message(image), BUSY, now_ms=6)
    world.trail.at_next(call, "before" if phase == "before" else "after", unavailable)
    with pytest.raises(ServiceUnavailable):
        bury(world, image)
    bury(world, image)
    assert world.row(image.image_id).conversion_error == BUSY


@pytest.mark.parametrize("late", ["completed", "retried", "deleted"])
def test_the_letter_of_a_conversion_that_moved_on_changes_nothing(world: World, late: str) -> None:
    image = preprocessed(world)
    if late == "retried":
        world.conversions.fail(first_message(image), BUSY, now_ms=5)
        world.poll(world.inference_queue, world.infer)
        world.api.retry(image.image_id)
    elif late == "deleted":
        world.api.delete(image.image_id)
    else:
        convert(world, image)
    before = world.images.rows[image.image_id]
    bury(world, image)
    assert world.images.rows[image.image_id] == before


def test_a_preprocess_that_is_buried_after_it_handed_on_leaves_a_completed_conversion_alone(
    world: World,
) -> None:
    image_id = world.create()
    world.ingest(world.upload(image_id).event())
    image = world.row(image_id)
    # Its last write fails, again and again.
    world.trail.at_next("images.finish", "before", unavailable)
    with pytest.raises(ServiceUnavailable):
        world.preprocess(first_message(image))
    converted = convert(world, image)
    letter = {"messageId": "p", "body": messages.encode(first_message(image)), "attributes": {}}
    world.bury({"Records": [letter]}, step="preprocess", failed_status=Status.PREPROCESSING_FAILED)
    row = world.row(image.image_id)
    assert row.status is Status.PREPROCESSING_FAILED
    assert row.conversion_status is ConversionStatus.COMPLETED
    assert row.formats == converted.formats
    world.assert_statuses_never_went_back()


# --- Retries --------------------------------------------------------------------------------------


def failed_conversion(world: World) -> Image:
    image = preprocessed(world)
    world.conversion_queue.held.clear()
    bury(world, image)
    return world.row(image.image_id)


def test_a_failed_conversion_of_a_completed_image_is_retried_alone(world: World) -> None:
    image = failed_conversion(world)
    world.work()
    completed = world.row(image.image_id)
    world.trail.calls.clear()
    answer = world.api.retry(image.image_id)
    assert answer.body is not None
    assert (answer.status, answer.body["conversion_status"]) == (202, "pending")
    assert answer.body["status"] == "completed"
    assert "preprocessing.send" not in world.trail.calls
    assert "inference.send" not in world.trail.calls
    world.work()
    row = world.row(image.image_id)
    assert (row.status, row.attempt) == (Status.COMPLETED, 2)
    assert row.conversion_status is ConversionStatus.COMPLETED
    assert row.conversion_error is None
    assert row.prediction == completed.prediction
    assert len(world.results) == 1


@pytest.mark.parametrize("conversion", ["pending", "failed", "completed", "skipped"])
def test_a_failed_inference_is_retried_whatever_became_of_the_copies(
    world: World, conversion: str
) -> None:
    image = preprocessed(world)
    message = first_message(image)
    match conversion:
        case "failed":
            world.conversion_queue.held.clear()
            bury(world, image)
        case "completed":
            world.poll(world.conversion_queue, world.convert)
        case "skipped":
            world.conversion_queue.held.clear()
            world.optimise = replace(world.optimise, recipe=replace(RECIPE, of_photos=()))
            convert(world, image)
    world.inference_queue.held.clear()
    world.images.fail(message, Status.INFERENCE_FAILED, BUSY, now_ms=7)
    made = dict(world.copies)
    world.api.retry(image.image_id)
    world.work()
    row = world.row(image.image_id)
    assert (row.status, row.attempt, row.error) == (Status.COMPLETED, 2, None)
    expected = ConversionStatus.SKIPPED if conversion == "skipped" else ConversionStatus.COMPLETED
    assert (row.conversion_status, row.conversion_error) == (expected, None)
    assert world.trail.calls.count("preprocessing.send") == 1
    if conversion == "completed":
        assert world.copies == made
    assert world.conversion_queue.held == world.inference_queue.held == {}


def test_a_conversion_that_fails_while_predictions_are_under_way_is_retried_once_they_ended(
    world: World,
) -> None:
    image = failed_conversion(world)
    with pytest.raises(Exception, match="Only an image that ended with a failure"):
        world.api.retry(image.image_id)
    world.work()
    world.api.retry(image.image_id)
    world.work()
    assert world.row(image.image_id).conversion_status is ConversionStatus.COMPLETED


def test_a_rejection_while_copies_are_made_is_no_fault_of_ours(world: World) -> None:
    """Whatever a decoder says of a file is the file's: it is not tried again."""
    image = preprocessed(world)
    with pytest.raises(ImageRejected):
        world.optimise.limits.check_size(10**6, 10**6)
    world.optimise = replace(world.optimise, limits=replace(world.optimise.limits, max_side=5))
    world.work()
    assert world.row(image.image_id).conversion_status is ConversionStatus.FAILED
    assert world.conversion_queue.postponed == {}
