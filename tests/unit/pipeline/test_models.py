"""The registry, the shadow, an image that is asked of another model, and batches."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import messages
from chalicelib.batch import Batch, BatchFailed
from chalicelib.errors import (
    InvalidRequest,
    ModelError,
    NotRetryable,
    ServiceUnavailable,
    Superseded,
)
from chalicelib.images import Image, Output, Status
from chalicelib.models import ModelChoice, ModelInputShape, is_reference, model_key
from tests.fakes import Crash, Phase, crash, unavailable
from tests.unit.pipeline.world import (
    DEPLOYED,
    PREDICTION,
    FakeClassifier,
    World,
    first_message,
    model_json,
)


def metrics(capsys: pytest.CaptureFixture[str], stage: str) -> dict[str, float]:
    """What a stage has counted."""
    counted: dict[str, float] = {}
    for line in capsys.readouterr().out.splitlines():
        entry = json.loads(line)
        if entry.get("stage") == stage:
            counted |= {k: v[0] for k, v in entry.items() if isinstance(v, list)}
    return counted


def prepared(world: World, count: int = 1) -> list[Image]:
    images = []
    for _ in range(count):
        image_id = world.create()
        world.ingest(world.upload(image_id).event())
        images.append(image_id)
    while world.poll(world.preprocessing_queue, world.preprocess):
        pass
    return [world.row(image_id) for image_id in images]


# --- Registry -------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["default", "test@1"])
def test_the_deployed_model_is_found_by_either_of_its_names(world: World, reference: str) -> None:
    assert world.models.find(reference) is DEPLOYED
    assert world.models.has(reference)
    assert "uploads.get" not in world.trail.calls


def test_a_model_of_the_bucket_is_read_once(world: World) -> None:
    world.publish("other@2", side=12)
    package = world.models.find("other@2")
    assert package.description.input_shape().width == 12
    calls = list(world.trail.calls)
    assert world.models.find("other@2") is package
    assert world.trail.calls == calls


def test_a_model_that_is_not_there_is_told_and_not_remembered(world: World) -> None:
    with pytest.raises(ModelError, match=r"no model 'other@2'.*model\.json"):
        world.models.find("other@2")
    assert not world.models.has("other@2")
    world.publish("other@2")
    assert world.models.has("other@2")


def test_a_model_under_another_models_name_is_refused(world: World) -> None:
    world.publish("other@2")
    world.store(model_key("other@2", "model.json"), model_json("other@3"))
    with pytest.raises(ModelError, match="are those of other@3"):
        world.models.find("other@2")


def test_a_choice_of_a_model_that_is_not_there_or_is_incomplete_is_refused(world: World) -> None:
    world.models.check(ModelChoice())
    for choice in (ModelChoice(active="no@1"), ModelChoice(shadow="no@1")):
        with pytest.raises(ModelError):
            world.models.check(choice)
    world.publish("open@1")
    description = json.loads(model_json("open@1"))
    del description["input"]
    world.store(model_key("open@1", "model.json"), json.dumps(description).encode())
    with pytest.raises(ModelError, match=r"input\.width"):
        world.models.check(ModelChoice(active="open@1"))


def test_the_active_model_answers_and_the_result_says_which(world: World) -> None:
    world.publish("other@2", side=12, says="truck")
    world.choice.known = ModelChoice(active="other@2")
    row = world.row(world.completed())
    assert row.prediction is not None
    assert (row.prediction.model_name, row.prediction.classes[0]) == ("other", "truck")
    [key] = world.results
    assert key.endswith("/other@2.json")
    world.choice.known = ModelChoice()
    assert world.row(world.completed()).prediction == PREDICTION


def test_an_active_model_that_cannot_be_told_keeps_every_message(world: World) -> None:
    [image] = prepared(world)
    world.choice.known = ServiceUnavailable("SSM is down")
    world.poll(world.inference_queue, world.infer)
    row = world.row(image.image_id)
    assert row.status is Status.PREPROCESSED
    assert row.last_error is not None
    world.choice.known = ModelChoice()
    world.work()
    assert world.row(image.image_id).status is Status.COMPLETED


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "wrong"),
        ("darkroom", "wrong"),
        ("[]", "wrong"),
        ('{"active": "no version"}', r"\$\.active"),
        ('{"active": "../x@1"}', r"\$\.active"),
        ('{"activ": "default"}', "activ"),
        ('{"shadow": "a@1", "share": 1.5}', r"\$\.share"),
        ('{"shadow": "a@1", "share": -0.1}', r"\$\.share"),
        ('{"shadow": "a@1", "share": "half"}', r"\$\.share"),
    ],
)
def test_a_choice_that_is_malformed_is_told_with_its_field(text: str, named: str) -> None:
    with pytest.raises(ModelError, match=named):
        ModelChoice.parse(text)


def test_a_choice_of_nothing_is_the_deployed_model() -> None:
    assert ModelChoice.parse("{}") == ModelChoice(active="default", shadow=None)


@pytest.mark.parametrize("text", ["", "a", "@", "a@", "@1", "a@b@c", "a/b@1", "-a@1", "a@1\n"])
def test_what_is_no_reference(text: str) -> None:
    assert not is_reference(text)


shapes = st.builds(
    ModelInputShape,
    width=st.integers(1, 9),
    height=st.integers(1, 9),
    filter=st.sampled_from(["bilinear", "bicubic"]),
    rule=st.sampled_from(["shortest_edge", "stretch", "letterbox"]),
    shortest_edge=st.integers(9, 11),
    fill=st.tuples(*[st.integers(0, 1)] * 3),
)


@given(shapes, shapes)
def test_two_recipes_share_a_fingerprint_only_if_they_are_one(
    one: ModelInputShape, other: ModelInputShape
) -> None:
    assert (one.fingerprint == other.fingerprint) == (one == other)


# --- Shadow ---------------------------------------------------------------------------------


@given(st.uuids(version=4).map(str), st.floats(0, 1), st.floats(0, 1))
def test_an_image_in_a_small_share_is_in_each_larger_one(
    image_id: str, one: float, other: float
) -> None:
    small, large = sorted((one, other))
    choice = ModelChoice(shadow="s@1", share=small)
    assert choice.shadows(image_id) <= replace_share(choice, large).shadows(image_id)
    assert choice.shadows(image_id) == choice.shadows(image_id)
    assert replace_share(choice, 1).shadows(image_id)
    assert not replace_share(choice, 0).shadows(image_id)


def replace_share(choice: ModelChoice, share: float) -> ModelChoice:
    return ModelChoice(active=choice.active, shadow=choice.shadow, share=share)


def test_a_share_is_about_that_part_of_the_images() -> None:
    choice = ModelChoice(shadow="s@1", share=0.25)
    hit = sum(choice.shadows(f"image-{number}") for number in range(4000))
    assert 850 < hit < 1150


@pytest.mark.parametrize(
    ("says", "counted"), [("ship", "ShadowAgreement"), ("truck", "ShadowDisagreement")]
)
@pytest.mark.parametrize("side", [8, 12], ids=["same input", "another input"])
def test_a_shadow_is_counted_and_never_shown(
    world: World, capsys: pytest.CaptureFixture[str], says: str, counted: str, side: int
) -> None:
    shadow = world.publish("shadow@1", side=side, says=says)
    world.choice.known = ModelChoice(shadow="shadow@1")
    row = world.row(world.completed())
    assert row.prediction == PREDICTION
    assert len(shadow.seen) == 1
    assert metrics(capsys, "shadow") == {counted: 1.0}
    assert [key.rpartition("/")[2] for key in world.results] == ["test@1.json"]
    assert len(world.preprocessing_queue.sent) == 1, "it is prepared for in the same step"


def test_a_shadow_sees_no_image_outside_its_share(world: World) -> None:
    shadow = world.publish("shadow@1")
    world.choice.known = ModelChoice(shadow="shadow@1", share=0)
    world.completed()
    assert shadow.seen == []


@pytest.mark.parametrize(
    "fault", [ModelError("broken"), ServiceUnavailable("down"), RuntimeError("bug"), MemoryError()]
)
def test_a_shadow_that_fails_harms_nobody(
    world: World, capsys: pytest.CaptureFixture[str], fault: Exception
) -> None:
    world.publish("shadow@1").fault = fault
    world.choice.known = ModelChoice(shadow="shadow@1")
    row = world.row(world.completed())
    assert (row.prediction, row.last_error) == (PREDICTION, None)
    assert metrics(capsys, "shadow") == {"ShadowFailures": 1.0}


def test_a_shadow_that_is_not_there_harms_nobody(world: World) -> None:
    world.choice.known = ModelChoice(shadow="gone@1")
    assert world.row(world.completed()).prediction == PREDICTION


def test_a_shadow_that_was_chosen_after_the_preparation_is_not_waited_for(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    [image] = prepared(world)
    world.publish("shadow@1", side=12)
    world.choice.known = ModelChoice(shadow="shadow@1")
    world.work()
    assert world.row(image.image_id).prediction == PREDICTION
    assert metrics(capsys, "shadow") == {"ShadowFailures": 1.0}


# --- Another model for an image that has ended ------------------------------------------------


def test_a_completed_image_is_asked_again_of_a_model_with_another_input(world: World) -> None:
    image_id = world.completed()
    other = world.publish("other@2", side=12, says="truck")
    answer = world.api.retry(image_id, model="other@2")
    assert (answer.status, answer.body["attempts"]) == (202, 2)
    world.work()
    row = world.row(image_id)
    assert (row.status, row.attempt, row.prediction) == (Status.COMPLETED, 2, other.prediction)
    assert sorted(key.rpartition("/")[2] for key in world.results) == [
        "other@2.json",
        "test@1.json",
    ]
    world.assert_statuses_never_went_back()


def test_an_image_that_is_asked_of_one_model_is_no_business_of_the_shadow(world: World) -> None:
    image_id = world.completed()
    world.publish("other@2")
    shadow = world.publish("shadow@1")
    world.choice.known = ModelChoice(shadow="shadow@1")
    world.api.retry(image_id, model="other@2")
    world.work()
    assert shadow.seen == []


def test_an_image_that_wanted_no_predictions_gets_them_where_it_is_asked_for(
    world: World,
) -> None:
    image_id = world.create(outputs=[Output.RENDITIONS])
    world.run(world.upload(image_id))
    assert world.row(image_id).prediction is None
    world.api.retry(image_id, model="default")
    world.work()
    assert world.row(image_id).prediction == PREDICTION


def test_a_failed_image_may_be_retried_on_another_model(world: World) -> None:
    [image] = prepared(world)
    world.classifier.fault = ModelError("broken")
    world.poll(world.inference_queue, world.infer)
    letter = {"messageId": "m", "body": messages.encode(first_message(image))}
    world.bury({"Records": [letter]}, step="infer", failed_status=Status.INFERENCE_FAILED)
    world.inference_queue.held.clear()
    error = world.row(image.image_id).error
    assert error is not None
    assert error.code == "model_unusable"
    other = world.publish("other@2")
    world.api.retry(image.image_id, model="other@2")
    world.work()
    assert world.row(image.image_id).prediction == other.prediction


@pytest.mark.parametrize("model", ["no@1", "no version", "", "../../x@1", "x" * 5000])
def test_a_model_that_is_not_there_is_a_wrong_request_and_changes_nothing(
    world: World, model: str
) -> None:
    image_id = world.completed()
    row = world.row(image_id)
    with pytest.raises(InvalidRequest, match=r"^model must be") as caught:
        world.api.retry(image_id, model=model)
    assert len(caught.value.public_message) < 300
    assert world.row(image_id) == row


def test_an_image_on_its_way_is_not_asked_of_another_model(world: World) -> None:
    [image] = prepared(world)
    with pytest.raises(NotRetryable):
        world.api.retry(image.image_id, model="default")


def test_without_a_model_a_completed_image_is_still_not_retryable(world: World) -> None:
    image_id = world.completed()
    with pytest.raises(NotRetryable):
        world.api.retry(image_id)


@pytest.mark.parametrize("fault", [unavailable, crash], ids=["unavailable", "crash"])
@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("call", ["inference.send", "images.retry"])
def test_a_question_to_another_model_that_is_broken_off_is_completed_once_it_is_asked_again(
    fault: Callable[[], None], phase: Phase, call: str
) -> None:
    world = World()
    image_id = world.completed()
    other = world.publish("other@2", side=12)
    world.trail.at_next(call, phase, fault)
    with pytest.raises((ServiceUnavailable, Crash)):
        world.api.retry(image_id, model="other@2")
    world.work()
    if world.row(image_id).attempt == 1:
        world.api.retry(image_id, model="other@2")
        world.work()
    row = world.row(image_id)
    assert (row.attempt, row.prediction) == (2, other.prediction)
    world.assert_statuses_never_went_back()


@pytest.mark.parametrize("fault", [unavailable, crash], ids=["unavailable", "crash"])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_fault_at_any_call_of_an_answer_by_another_model_is_made_good(
    fault: Callable[[], None], phase: Phase
) -> None:
    for number in range(60):
        world = World()
        image_id = world.completed()
        other = world.publish("other@2", side=12)
        world.api.retry(image_id, model="other@2")
        world.trail.at(len(world.trail.calls) + number, phase, fault)
        world.work()
        row = world.row(image_id)
        assert (row.status, row.attempt, row.prediction) == (
            Status.COMPLETED,
            2,
            other.prediction,
        )
        world.assert_statuses_never_went_back()
        if not world.trail.fired:
            assert number >= 10
            return
    raise AssertionError("the answer never ends")


@pytest.mark.parametrize("phase", ["before", "after"])
def test_an_image_deleted_while_another_model_is_asked_leaves_nothing_behind(
    phase: Phase,
) -> None:
    for number in range(60):
        world = World()
        image_id = world.completed()
        world.publish("other@2", side=12)
        world.api.retry(image_id, model="other@2")
        here = number + len(world.trail.calls)
        world.trail.at(here, phase, lambda world=world, id_=image_id: world.api.delete(id_))  # type: ignore[misc]
        world.work()
        if not world.trail.fired:
            assert number >= 8
            return
        assert world.renditions.objects == {}
        assert [key for key in world.uploads.objects if not key.startswith("models/")] == []
    raise AssertionError("the answer never ends")


# --- Batches --------------------------------------------------------------------------------


def run_together(world: World) -> Mapping[str, Any]:
    """Deliver all that waits in one event; what stays in the queue."""
    world.inference_queue.reappear()
    records = world.inference_queue.receive(16)
    batch = Batch(
        name="infer",
        decode=messages.decode,
        queue=world.inference_queue,
        faults=world.images,
        retry_base_seconds=1,
    )
    try:
        batch.run_together({"Records": records}, lambda: world.infer.together)
    except BatchFailed:
        return world.inference_queue.held
    world.inference_queue.removed([record["receiptHandle"] for record in records])
    return world.inference_queue.held


@pytest.mark.parametrize("lanes", [1, 4])
def test_a_batch_goes_through_the_model_at_once(world: World, lanes: int) -> None:
    object.__setattr__(world.infer, "lanes", lanes)
    images = prepared(world, 5)
    assert run_together(world) == {}
    assert world.classifier.batches == [5]
    for image in images:
        assert world.row(image.image_id).prediction == PREDICTION


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("position", [0, 2, 4])
def test_one_image_that_fails_for_want_of_aws_fails_alone(
    world: World, position: int, lanes: int
) -> None:
    object.__setattr__(world.infer, "lanes", lanes)
    images = prepared(world, 5)
    if lanes == 1:
        # The n-th document of the batch cannot be put.
        count = 0

        def failing() -> None:
            nonlocal count
            if count == position:
                raise ServiceUnavailable("S3 is down")
            count += 1
            world.trail.at_next("renditions.put", "before", failing)

        world.trail.at_next("renditions.put", "before", failing)
    else:
        world.trail.at_next("renditions.put", "before", unavailable)
    assert len(run_together(world)) == 1
    statuses = [world.row(image.image_id).status for image in images]
    assert statuses.count(Status.COMPLETED) == 4
    (left,) = (image for image in images if world.row(image.image_id).status.rank < 5)
    assert world.row(left.image_id).last_error is not None
    world.work()
    assert world.row(left.image_id).status is Status.COMPLETED


@pytest.mark.parametrize("cause", ["missing", "spoilt", "deleted", "repeated", "unreadable"])
def test_one_bad_message_of_a_batch_never_fails_the_others(world: World, cause: str) -> None:
    images = prepared(world, 4)
    bad = images[1]
    match cause:
        case "missing":
            world.uploads.versions.pop(bad.model_input_key or "")
        case "spoilt":
            world.uploads.put(bad.model_input_key or "", b"P6", content_type="x")
        case "deleted":
            world.api.delete(bad.image_id)
        case "repeated":
            world.inference_queue.duplicate()
        case "unreadable":
            world.inference_queue.send("{")
    left = run_together(world)
    assert len(left) == (1 if cause == "unreadable" else 0)
    for image in images:
        if image is not bad:
            assert world.row(image.image_id).status is Status.COMPLETED
    if cause != "unreadable":
        world.work()
    if cause != "deleted":
        assert world.row(bad.image_id).status is Status.COMPLETED
    world.assert_statuses_never_went_back()


def test_a_model_that_is_broken_fails_all_of_its_images_with_the_reason_and_no_other(
    world: World,
) -> None:
    asked = world.completed()
    images = prepared(world, 2)
    world.publish("broken@1").fault = ModelError("The graph cannot be run.")
    world.api.retry(asked, model="broken@1")
    assert len(run_together(world)) == 1
    row = world.row(asked)
    assert row.status is Status.INFERENCING
    assert row.last_error is not None
    assert row.last_error.code == "model_unusable"
    for image in images:
        assert world.row(image.image_id).prediction == PREDICTION


def test_messages_of_different_models_are_answered_in_one_batch_each_by_its_own(
    world: World,
) -> None:
    first, second = world.completed(), world.completed()
    [third] = prepared(world)
    others = {"a@1": first, "b@1": second}
    for reference, image_id in others.items():
        world.publish(reference)
        world.api.retry(image_id, model=reference)
    assert run_together(world) == {}
    said = {image_id: world.row(image_id).prediction for image_id in (*others.values(),)}
    assert [p.model_name for p in said.values() if p is not None] == ["a", "b"]
    assert world.row(third.image_id).prediction == PREDICTION


def test_an_empty_batch_is_done(world: World) -> None:
    assert world.infer.together([]) == []
    assert isinstance(world.classifier, FakeClassifier)


def test_a_message_of_an_earlier_attempt_is_dropped_from_a_batch(world: World) -> None:
    image_id = world.completed()
    message = first_message(world.row(image_id))
    (error,) = world.infer.together([replace(message, attempt=0)])
    assert isinstance(error, Superseded)
