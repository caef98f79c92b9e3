"""A prepared image gets its predictions, once."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest

from chalicelib import messages
from chalicelib.errors import ServiceUnavailable, Superseded
from chalicelib.images import INPUT_UNUSABLE, ConversionStatus, Image, Status, results_key
from chalicelib.models import ModelChoice
from chalicelib.pipeline.models import Models
from tests.fakes import FakeWatchedParameter, Tombstone, unavailable
from tests.unit.pipeline.world import PREDICTION, World, first_message


def prepared(world: World) -> Image:
    image_id = world.create()
    world.ingest(world.upload(image_id).event())
    world.poll(world.preprocessing_queue, world.preprocess)
    image = world.row(image_id)
    assert image.status is Status.PREPROCESSED
    return image


def test_the_predictions_stand_in_the_row_and_in_a_document(world: World) -> None:
    image = prepared(world)
    world.infer(first_message(image))
    row = world.row(image.image_id)
    key = results_key(image.image_id, image.generation or "", "test@1")
    assert row.status is Status.COMPLETED
    assert row.prediction == PREDICTION
    assert row.results_key == key
    assert "inferencing" in row.timings_ms
    assert json.loads(world.renditions.objects[key]) == {
        "image_id": image.image_id,
        "model": {"name": "test", "version": "1", "sha256": "0" * 64},
        "classes": ["ship", "truck"],
        "probabilities": [0.7, 0.2],
        "confidence": 0.7,
    }


def test_the_document_is_there_before_the_row_says_so(world: World) -> None:
    image = prepared(world)
    world.trail.calls.clear()
    world.infer(first_message(image))
    assert world.trail.calls == ["images.start", "uploads.get", "renditions.put", "images.finish"]


def test_a_message_that_comes_again_changes_nothing(world: World) -> None:
    """Defect 12: a replay takes completed back."""
    image = prepared(world)
    world.work()
    row, objects = world.row(image.image_id), world.renditions.objects
    with pytest.raises(Superseded):
        world.infer(first_message(image))
    assert world.row(image.image_id) == row
    assert world.renditions.objects == objects
    assert len(world.classifier.seen) == 1


def test_of_two_workers_on_one_message_one_commits(world: World) -> None:
    image = prepared(world)
    message = first_message(image)
    committed: list[Image] = []

    def meanwhile() -> None:
        world.infer(message)
        committed.append(world.row(image.image_id))

    world.trail.at_next("renditions.put", "after", meanwhile)
    with pytest.raises(Superseded):
        world.infer(message)
    assert world.row(image.image_id) == committed[0]
    assert len(world.results) == 1


def spoil(world: World, image: Image, how: str) -> None:
    if how == "missing":
        world.uploads.delete_prefix("processed/")
    else:
        key = image.model_input_key or ""
        world.uploads.put(key, b"P6\n9 9\n255\n" + b"\0" * 243, content_type="x")


@pytest.mark.parametrize("cause", ["missing", "of another size"])
def test_a_model_input_that_cannot_be_used_is_made_anew_and_nobody_notices(
    world: World, cause: str
) -> None:
    image = prepared(world)
    spoil(world, image, cause)
    world.work()
    row = world.row(image.image_id)
    assert (row.status, row.attempt, row.prediction) == (Status.COMPLETED, 1, PREDICTION)
    assert row.conversion_status is ConversionStatus.COMPLETED
    assert world.trail.calls.count("images.note_fault") == 0
    assert len(world.preprocessing_queue.sent) == 2
    world.assert_statuses_never_went_back()


@pytest.mark.parametrize("cause", ["missing", "of another size"])
def test_a_model_input_that_is_unusable_again_fails_and_a_retry_starts_from_the_original(
    world: World, cause: str
) -> None:
    image = prepared(world)
    spoil(world, image, cause)
    world.infer(replace(first_message(image), remade=True))
    row = world.row(image.image_id)
    assert (row.status, row.error) == (Status.INFERENCE_FAILED, INPUT_UNUSABLE)
    world.inference_queue.held.clear()
    world.api.retry(image.image_id)
    world.work()
    row = world.row(image.image_id)
    assert (row.status, row.attempt) == (Status.COMPLETED, 2)


def test_a_change_of_model_between_the_steps_is_noticed_and_healed(world: World) -> None:
    image = prepared(world)
    other = world.publish("other@2", side=12, says="truck")
    world.choice.known = ModelChoice(active="other@2")
    world.work()
    row = world.row(image.image_id)
    assert row.status is Status.COMPLETED
    assert row.prediction == other.prediction
    assert (len(other.seen), world.classifier.seen) == (1, [])
    world.assert_statuses_never_went_back()


def test_two_steps_that_believe_in_different_models_do_not_send_an_image_to_and_fro(
    world: World,
) -> None:
    """Each reads the choice when its own time is up: for minutes they may differ."""
    other = world.publish("other@2", side=12, says="truck")
    ahead = Models(
        deployed=world.models.deployed,
        uploads=world.uploads,
        choice=FakeWatchedParameter(ModelChoice(active="other@2")),
    )
    object.__setattr__(world.infer, "models", ahead)
    image_id = world.create()
    world.run(world.upload(image_id))
    assert world.row(image_id).prediction == other.prediction
    assert len(world.preprocessing_queue.sent) == 2


def test_an_original_that_is_gone_when_the_input_is_made_anew_fails_with_its_code(
    world: World,
) -> None:
    image = prepared(world)
    world.uploads.versions.clear()
    world.work()
    row = world.row(image.image_id)
    assert row.status is Status.INFERENCE_FAILED
    assert row.conversion_status is ConversionStatus.FAILED
    assert row.error is not None
    assert row.error == row.conversion_error
    assert row.error.code == "object_missing"


def test_a_message_for_an_input_to_be_made_anew_that_is_given_up_fails_the_inference(
    world: World,
) -> None:
    image = prepared(world)
    message = replace(first_message(image), model="test@1", remade=True)
    letter = {"messageId": "m", "body": messages.encode(message)}
    world.bury({"Records": [letter]}, step="preprocess", failed_status=Status.PREPROCESSING_FAILED)
    row = world.row(image.image_id)
    assert row.status is Status.INFERENCE_FAILED
    assert row.conversion_status is ConversionStatus.PENDING


def test_a_fault_is_noted_and_the_next_try_completes(world: World) -> None:
    image = prepared(world)
    world.trail.at_next("renditions.put", "before", unavailable)
    world.poll(world.inference_queue, world.infer)
    row = world.row(image.image_id)
    assert row.status is Status.INFERENCING
    assert row.last_error is not None
    world.work()
    row = world.row(image.image_id)
    assert (row.status, row.last_error) == (Status.COMPLETED, None)


def test_a_zombie_of_an_earlier_attempt_commits_nothing(world: World) -> None:
    image = prepared(world)
    message = first_message(image)
    later: list[Image] = []

    def meanwhile() -> None:
        letter = {"messageId": "m", "body": messages.encode(message)}
        world.bury({"Records": [letter]}, step="infer", failed_status=Status.INFERENCE_FAILED)
        world.api.retry(image.image_id)
        later.append(world.row(image.image_id))

    world.trail.at_next("uploads.get", "after", meanwhile)
    with pytest.raises(Superseded):
        world.infer(message)
    assert world.row(image.image_id) == later[0]
    assert later[0].status is Status.PREPROCESSED
    world.work()
    row = world.row(image.image_id)
    assert (row.status, row.attempt) == (Status.COMPLETED, 2)
    assert len(world.results) == 1


@pytest.mark.parametrize("call", ["uploads.get", "renditions.put"])
def test_an_image_that_is_deleted_during_the_step_leaves_nothing_behind(
    world: World, call: str
) -> None:
    image = prepared(world)
    world.trail.at_next(call, "before", lambda: remove(world, image))
    with suppress(Superseded):
        world.infer(first_message(image))
    world.work()
    assert isinstance(world.images.rows[image.image_id], Tombstone)
    assert world.renditions.objects == {}
    assert world.uploads.objects == {}


def test_a_worker_that_dies_after_a_deletion_is_cleaned_up_after_by_the_next_one(
    world: World,
) -> None:
    image = prepared(world)
    world.trail.at_next("renditions.put", "before", lambda: remove(world, image))
    world.trail.at_next("images.finish", "before", unavailable)
    with pytest.raises(ServiceUnavailable):
        world.infer(first_message(image))
    assert world.renditions.objects != {}
    world.work()
    assert world.renditions.objects == {}


def remove(world: World, image: Image) -> None:
    # The model input was read already: a deletion in this moment takes it away as well.
    world.api.delete(image.image_id)
