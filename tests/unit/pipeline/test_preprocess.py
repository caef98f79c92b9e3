"""An original becomes what the model sees, or ends at once where it is at fault itself."""

import hashlib
import io
from dataclasses import replace

import pytest
from PIL import Image as Pillow

from chalicelib import messages
from chalicelib.errors import ServiceUnavailable, Superseded
from chalicelib.images import ConversionStatus, Image, Output, Status, model_input_key
from chalicelib.messages import ImageMessage
from chalicelib.pipeline.bury import WORKER_LOST
from tests import images
from tests.fakes import Tombstone, unavailable
from tests.unit.pipeline.world import DEPLOYED, PHOTO, RENDITIONS, World, first_message, photo


def queued(
    world: World, body: bytes = PHOTO, *, outputs: tuple[Output, ...] = tuple(Output)
) -> Image:
    image_id = world.create(outputs=outputs)
    world.ingest(world.upload(image_id, body).event())
    return world.row(image_id)


def test_a_photo_becomes_a_model_input_and_a_message(world: World) -> None:
    """Defect 26: what was handed on was the untouched original."""
    image = queued(world)
    message = first_message(image)
    world.preprocess(message)
    row = world.row(image.image_id)
    recipe = DEPLOYED.description.input_shape().fingerprint
    key = model_input_key(image.image_id, image.generation or "", recipe)
    assert row.status is Status.PREPROCESSED
    assert row.model_input_key == key
    assert world.uploads.objects[key].startswith(b"P6\n8 8\n255\n")
    assert (row.original.width, row.original.height) == (40, 30)
    assert row.original.content_type == "image/jpeg"
    assert row.original.sha256 == hashlib.sha256(PHOTO).hexdigest()
    assert set(row.timings_ms) == {"queued", "preprocessing"}
    [body] = world.inference_queue.sent
    sent = messages.decode(body)
    assert sent == replace(message, queued_at_ms=sent.queued_at_ms)


@pytest.mark.parametrize(
    "outputs", [tuple(Output), (Output.FORMATS,), (Output.RENDITIONS,), (Output.PREDICTIONS,)]
)
def test_what_an_image_looks_like_depends_on_its_file_alone(
    world: World, outputs: tuple[Output, ...]
) -> None:
    body = images.encoded(images.marker(100, 90), "PNG")
    for wanted in (outputs, tuple(Output)):
        world.preprocess(first_message(queued(world, body, outputs=wanted)))
    some, everything = (row.info for row in world.images.rows.values() if isinstance(row, Image))
    assert some is not None
    assert some == everything
    assert some.perceptual_hash is not None


def test_what_an_image_looks_like_is_known_before_it_is_completed(world: World) -> None:
    image = queued(world)
    world.trail.at_next("inference.send", "before", unavailable)
    with pytest.raises(ServiceUnavailable):
        world.preprocess(first_message(image))
    info = world.row(image.image_id).info
    assert info is not None
    assert bytes.fromhex(info.dominant_color[1:])[0] <= 4
    assert info.perceptual_hash is None


@pytest.mark.parametrize("body", [PHOTO, photo(kind="PNG"), photo(size=(1, 1))])
def test_an_image_that_nothing_here_is_made_of_is_checked_all_the_same(
    world: World, body: bytes
) -> None:
    image = queued(world, body, outputs=(Output.FORMATS,))
    world.preprocess(first_message(image))
    row = world.row(image.image_id)
    assert (row.status, row.model_input_key, row.prediction) == (Status.COMPLETED, None, None)
    assert world.inference_queue.sent == []
    spoilt = queued(world, body[: len(body) // 2], outputs=(Output.FORMATS,))
    world.preprocess(first_message(spoilt))
    assert world.row(spoilt.image_id).status is Status.PREPROCESSING_FAILED


def test_the_object_comes_first_then_the_message_then_the_row(world: World) -> None:
    image = queued(world)
    world.trail.calls.clear()
    world.preprocess(first_message(image))
    assert world.trail.calls == [
        "images.start",
        "uploads.get",
        "renditions.put",
        "uploads.put",
        "conversion.send",
        "images.describe",
        "inference.send",
        "images.finish",
    ]


def test_an_image_without_predictions_is_complete_after_this_step(world: World) -> None:
    image = queued(world, outputs=(Output.RENDITIONS, Output.FORMATS))
    world.preprocess(first_message(image))
    row = world.row(image.image_id)
    assert row.status is Status.COMPLETED
    assert row.model_input_key is None
    assert row.original.width == 40
    assert world.inference_queue.sent == []
    assert not [key for key in world.uploads.objects if key.startswith("processed/")]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "image_empty"),
        (b"<svg onload='alert(1)'/>", "unsupported_media_type"),
        (b"<!doctype html>", "unsupported_media_type"),
        (PHOTO[: len(PHOTO) // 2], "image_truncated"),
        (b"\xff\xd8\xff" + b"\x00" * 100, "image_corrupt"),
        (photo(size=(1001, 1)), "image_dimensions_too_large"),
        (photo(size=(101, 100)), "image_dimensions_too_large"),
        (PHOTO + b"\x00" * 1_000_000, "image_too_large"),
    ],
)
def test_an_image_at_fault_ends_at_once_with_its_code(world: World, body: bytes, code: str) -> None:
    image = queued(world, body)
    world.work()
    row = world.row(image.image_id)
    assert row.status is Status.PREPROCESSING_FAILED
    assert row.conversion_status is ConversionStatus.FAILED
    assert row.error is not None
    assert row.error.code == code
    assert row.error.message.endswith(".")
    assert world.preprocessing_queue.held == {}
    assert world.preprocessing_queue.postponed == {}
    assert world.inference_queue.sent == []
    assert world.trail.calls.count("images.start") == 1


def test_what_is_too_large_is_not_even_fetched(world: World) -> None:
    image = queued(world, PHOTO + b"\x00" * 1_000_000)
    world.work()
    assert world.row(image.image_id).status is Status.PREPROCESSING_FAILED
    assert "uploads.get" not in world.trail.calls


def test_what_is_known_of_a_rejected_file_is_shown(world: World) -> None:
    body = photo(kind="PNG")[:-30]
    image = queued(world, body)
    world.work()
    original = world.row(image.image_id).original
    assert original.sha256 == hashlib.sha256(body).hexdigest()
    assert (original.content_type, original.width, original.height) == ("image/png", 40, 30)
    assert original.filename == "cat.jpg"


def test_an_original_that_was_removed_meanwhile_is_missing(world: World) -> None:
    image = queued(world)
    world.uploads.versions.clear()
    world.work()
    row = world.row(image.image_id)
    assert row.status is Status.PREPROCESSING_FAILED
    assert row.error is not None
    assert row.error.code == "object_missing"


def test_the_accepted_version_is_read_even_where_a_newer_one_lies_over_it(world: World) -> None:
    image = queued(world)
    world.upload(image.image_id, b"no image at all")
    world.work()
    assert world.row(image.image_id).status is Status.COMPLETED
    assert world.row(image.image_id).original.sha256 == hashlib.sha256(PHOTO).hexdigest()


def test_a_fault_leaves_the_message_and_its_reason_and_the_next_try_heals_both(
    world: World,
) -> None:
    image = queued(world)
    world.trail.at_next("uploads.get", "before", unavailable)
    world.poll(world.preprocessing_queue, world.preprocess)
    row = world.row(image.image_id)
    assert row.status is Status.PREPROCESSING
    assert row.error is None
    assert row.last_error is not None
    assert row.last_error.code == "service_unavailable"
    assert len(world.preprocessing_queue.held) == 1
    world.work()
    row = world.row(image.image_id)
    assert row.status is Status.COMPLETED
    assert row.last_error is None


@pytest.mark.parametrize("times", [2, 5])
def test_a_message_that_comes_again_after_the_step_changes_and_sends_nothing(
    world: World, times: int
) -> None:
    image = queued(world)
    message = first_message(image)
    world.preprocess(message)
    row, sent = world.row(image.image_id), world.sent
    for _ in range(times):
        with pytest.raises(Superseded):
            world.preprocess(message)
    assert world.row(image.image_id) == row
    assert world.sent == sent


def test_two_workers_on_one_message_make_the_same_object_and_keep_one_status(
    world: World,
) -> None:
    image = queued(world)
    message = first_message(image)
    world.trail.at_next("uploads.put", "before", lambda: world.preprocess(message))
    world.preprocess(message)
    assert world.row(image.image_id).status is Status.PREPROCESSED
    inputs = [v for k, v in world.uploads.versions.items() if k.startswith("processed/")]
    assert len(inputs) == 1
    assert len({version.stored for version in inputs[0]}) == 1
    world.work()
    world.assert_statuses_never_went_back()
    assert len(world.results) == 1


def test_an_inference_that_is_quicker_than_this_steps_own_write_is_not_taken_back(
    world: World,
) -> None:
    image = queued(world)
    message = first_message(image)
    world.trail.at_next("inference.send", "after", lambda: world.infer(message))
    world.preprocess(message)
    row = world.row(image.image_id)
    assert row.status is Status.COMPLETED
    assert row.original.width == 40
    assert set(row.timings_ms) == {"queued", "preprocessing", "inferencing"}
    world.assert_statuses_never_went_back()


def test_a_zombie_of_an_earlier_attempt_commits_nothing(world: World) -> None:
    image = queued(world)
    message = first_message(image)
    later: list[Image] = []

    def meanwhile() -> None:
        # The zombie was given up, the image retried, and the retry is through.
        letter = {"messageId": "m", "body": messages.encode(message)}
        world.bury(
            {"Records": [letter]}, step="preprocess", failed_status=Status.PREPROCESSING_FAILED
        )
        world.api.retry(image.image_id)
        world.work()
        later.append(world.row(image.image_id))

    world.trail.at_next("uploads.get", "after", meanwhile)
    with pytest.raises(Superseded):
        world.preprocess(message)
    assert later[0].status is Status.COMPLETED
    assert later[0].attempt == 2
    assert world.row(image.image_id) == later[0]


def test_a_zombie_cannot_fail_the_attempt_that_followed(world: World) -> None:
    image = queued(world, b"no image")
    message = first_message(image)
    retried: list[Image] = []

    def meanwhile() -> None:
        world.images.fail(message, Status.PREPROCESSING_FAILED, WORKER_LOST, now_ms=5)
        world.api.retry(image.image_id)
        retried.append(world.row(image.image_id))

    world.trail.at_next("uploads.get", "after", meanwhile)
    with pytest.raises(Superseded):
        world.preprocess(message)
    assert world.row(image.image_id) == retried[0]


@pytest.mark.parametrize("call", ["uploads.get", "uploads.put", "inference.send"])
def test_an_image_that_is_deleted_during_the_step_leaves_nothing_behind(
    world: World, call: str
) -> None:
    image = queued(world)
    world.trail.at_next(call, "after", lambda: deleted(world, image))
    with pytest.raises(Superseded):
        world.preprocess(first_message(image))
    assert isinstance(world.images.rows[image.image_id], Tombstone)
    assert world.uploads.objects == {}
    world.work()
    assert world.uploads.objects == {}
    assert world.renditions.objects == {}


def test_a_worker_that_dies_after_a_deletion_is_cleaned_up_after_by_the_next_one(
    world: World,
) -> None:
    image = queued(world)
    world.trail.at_next("uploads.put", "before", lambda: deleted(world, image))
    world.trail.at_next("images.describe", "before", unavailable)
    with pytest.raises(ServiceUnavailable):
        world.preprocess(first_message(image))
    assert world.uploads.objects != {}
    world.work()
    assert world.uploads.objects == {}


def test_a_message_about_an_image_that_was_never_there_is_dropped(world: World) -> None:
    """Defect 24: such a message made a ghost row."""
    message = ImageMessage(image_id="x", generation="v", attempt=1, queued_at_ms=1)
    with pytest.raises(Superseded):
        world.preprocess(message)
    assert world.images.rows == {}


def deleted(world: World, image: Image) -> None:
    world.api.delete(image.image_id)


def test_renditions_are_stored_for_ever_and_told_in_the_record(world: World) -> None:
    image = queued(world)
    world.preprocess(first_message(image))
    (rendition,) = RENDITIONS
    copy = world.row(image.image_id).renditions["small"]
    assert copy.key == rendition.key(image.image_id, image.generation or "")
    body = world.renditions.objects[copy.key]
    assert (copy.bytes, copy.content_type) == (len(body), "image/png")
    with Pillow.open(io.BytesIO(body)) as opened:
        assert opened.size == (copy.width, copy.height) == (4, 3)


def test_renditions_that_nobody_asked_for_are_not_made(world: World) -> None:
    image = queued(world, outputs=(Output.PREDICTIONS,))
    world.preprocess(first_message(image))
    assert world.row(image.image_id).renditions == {}
    assert world.renditions.objects == {}
