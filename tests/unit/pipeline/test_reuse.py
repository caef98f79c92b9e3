"""The same bytes again take over what was made of them, where it is just what would be made."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.api.http import Request
from chalicelib.images import (
    ConversionStatus,
    FocalPoint,
    Image,
    Kept,
    Output,
    Status,
    model_input_key,
)
from chalicelib.imaging import renditions
from chalicelib.models import ModelChoice
from tests import images
from tests.crashes.invariants import AT_REST, check, watch
from tests.fakes import Tombstone
from tests.unit.pipeline.world import PHOTO, RECIPE, World, first_message, photo


@pytest.fixture
def world() -> World:
    world = World(reusing=True)
    watch(world)
    return world


def assert_at_rest(world: World) -> None:
    """Everything is told, and nothing is under way."""
    world.stream()
    check(world, AT_REST)


def another(world: World, body: bytes = PHOTO, **asked: Any) -> str:
    """An image of these bytes, as far as it goes."""
    outputs = asked.pop("outputs", tuple(Output))
    image_id = world.create(outputs=outputs)
    world.images._put(replace(world.row(image_id), **asked))
    world.run(world.upload(image_id, body))
    return image_id


def decoded(world: World) -> int:
    """How many images were worked out so far."""
    return len([row for row in world.images.rows.values()
                if isinstance(row, Image) and row.content_sha256 is not None])  # fmt: skip


def test_the_second_one_is_completed_without_the_model_and_without_encoding(world: World) -> None:
    first = world.row(world.completed())
    batches, sent = list(world.classifier.batches), list(world.inference_queue.sent)
    second = world.row(world.completed())
    assert world.classifier.batches == batches
    assert world.inference_queue.sent == sent
    assert (second.status, second.conversion_status) == (first.status, first.conversion_status)
    assert second.prediction == first.prediction
    assert second.info == first.info
    assert second.original == first.original
    assert set(second.timings_ms) == {"queued", "preprocessing", "conversion"}
    # What was not worked out is nothing to take over from: there is one of those for each file.
    assert (second.content_sha256, second.model_input_key) == (None, None)
    for mine, its in ((second.renditions, first.renditions), (second.formats, first.formats)):
        assert mine.keys() == its.keys()
        for name, copy in mine.items():
            assert second.image_id in copy.key
            objects = world.renditions.objects
            assert objects[copy.key] == objects[its[name].key]
            assert replace(copy, key="") == replace(its[name], key="")
    document = json.loads(world.renditions.objects[second.results_key or ""])
    assert document["image_id"] == second.image_id
    assert_at_rest(world)


def test_it_is_its_own_when_the_first_is_deleted(world: World) -> None:
    first, second = world.completed(), world.completed()
    before = {key: body for key, body in world.renditions.objects.items() if second in key}
    world.api.delete(first)
    assert {key: body for key, body in world.renditions.objects.items() if second in key} == before
    third = world.row(world.completed())
    # Nobody is left to take over from, so it was worked out, and the next can take over from it.
    assert third.content_sha256 is not None
    assert world.row(world.completed()).content_sha256 is None
    assert_at_rest(world)


def test_each_message_twice_changes_nothing(world: World) -> None:
    world.completed()
    second = world.completed()
    row = world.row(second)
    for queue in (world.preprocessing_queue, world.conversion_queue):
        queue.replay()
    world.work()
    assert world.row(second) == row
    assert_at_rest(world)


def another_model(world: World) -> None:
    world.publish("other@2", side=12)
    world.choice.known = ModelChoice(active="other@2")


def a_shadow(world: World) -> None:
    world.publish("other@2", side=12)
    world.choice.known = ModelChoice(active="default", shadow="other@2")


def another_recipe(world: World) -> None:
    table = renditions.parse("small 4 4 letterbox #ffffff png")
    world.preprocess = replace(world.preprocess, table=table)


def another_rendition(world: World) -> None:
    table = renditions.parse("small 4 3 letterbox #ffffff png\nwide 9 3 cover #ffffff png")
    world.preprocess = replace(world.preprocess, table=table)


def switched_off(world: World) -> None:
    world.preprocess = replace(
        world.preprocess, reuse=replace(world.preprocess.reuse, enabled=False)
    )


def a_donor_that_failed(world: World) -> None:
    row = world.only_row
    world.images._put(replace(row, status=Status.INFERENCE_FAILED))


def a_donor_asked_again(world: World) -> None:
    world.publish("other@2", side=12)
    world.api.retry(world.only_row.image_id, model="other@2")
    world.work()


def a_donor_whose_copies_are_gone(world: World) -> None:
    """The bucket keeps them for 90 days, the record for ever."""
    for key in [key for key in world.renditions.versions if key.startswith("renditions/")]:
        del world.renditions.versions[key]


def an_input_that_was_made_otherwise(world: World) -> None:
    row = world.only_row
    key = model_input_key(row.image_id, row.generation or "", "another")
    world.images._put(replace(row, model_input_key=key))


@pytest.mark.parametrize(
    "change",
    [
        another_model, a_shadow, another_recipe, another_rendition, switched_off,
        a_donor_that_failed, a_donor_asked_again, a_donor_whose_copies_are_gone,
        an_input_that_was_made_otherwise,
    ],
)  # fmt: skip
def test_what_would_be_another_result_is_worked_out(
    world: World, change: Callable[[World], None]
) -> None:
    world.completed()
    change(world)
    before = decoded(world)
    second = world.row(world.completed())
    assert second.content_sha256 is not None
    assert decoded(world) == before + 1
    active = world.models.active().description.reference
    assert second.prediction is not None
    assert f"{second.prediction.model_name}@{second.prediction.model_version}" == active


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ({}, True),
        ({"reuse": False}, False),
        ({"outputs": (Output.RENDITIONS,)}, True),
        ({"outputs": (Output.PREDICTIONS,)}, True),
        ({"focal_point": FocalPoint(x=0.1, y=0.1)}, False),
        ({"focal_point": FocalPoint(x=0.1, y=0.1), "outputs": (Output.PREDICTIONS,)}, True),
        ({"keep": (Kept.CAMERA,)}, True),
    ],
)
def test_what_is_asked_for_decides(world: World, asked: dict[str, Any], taken: bool) -> None:  # noqa: FBT001
    world.completed()
    row = world.row(another(world, **asked))
    assert row.status is Status.COMPLETED
    assert (row.content_sha256 is None) is taken
    assert bool(row.renditions) is row.wants(Output.RENDITIONS)
    assert (row.prediction is not None) is row.wants(Output.PREDICTIONS)


def test_the_camera_is_kept_by_what_each_one_asks(world: World) -> None:
    exif = images.exif_of(1)
    exif[0x0110] = "Box 1"
    body = images.encoded(images.marker(), "JPEG", exif=exif)
    assert world.row(another(world, body)).original.camera is None
    second = world.row(another(world, body, keep=(Kept.CAMERA,)))
    assert second.content_sha256 is None
    assert second.original.camera is not None
    assert world.row(another(world, body)).original.camera is None


def test_a_retry_works_it_out(world: World) -> None:
    world.completed()
    second = world.create()
    upload = world.upload(second)
    world.ingest(upload.event())
    kept = world.uploads.versions.pop(upload.key)
    world.work()
    assert world.row(second).status is Status.PREPROCESSING_FAILED
    world.uploads.versions[upload.key] = kept
    world.api.retry(second)
    world.work()
    row = world.row(second)
    assert (row.status, row.conversion_status) == (Status.COMPLETED, ConversionStatus.COMPLETED)
    assert row.content_sha256 is not None


def test_another_model_can_be_asked_of_what_was_taken_over(world: World) -> None:
    """Nothing was prepared for any model; it is made then."""
    world.completed()
    second = world.completed()
    world.publish("other@2", side=12)
    world.api.retry(second, model="other@2")
    world.work()
    row = world.row(second)
    assert row.status is Status.COMPLETED
    assert row.prediction is not None
    assert row.prediction.model_name == "other"
    assert_at_rest(world)


def test_other_bytes_take_over_nothing(world: World) -> None:
    world.completed()
    assert world.row(another(world, photo("olive"))).content_sha256 is not None


def test_a_file_that_is_at_fault_is_refused_each_time(world: World) -> None:
    for _ in range(2):
        row = world.row(another(world, PHOTO[: len(PHOTO) // 2]))
        assert row.status is Status.PREPROCESSING_FAILED
        assert row.content_sha256 is None


@pytest.mark.parametrize(
    "change",
    [
        lambda world: replace(world.optimise, recipe=replace(RECIPE, webp_method=4)),
        lambda world: replace(world.optimise, recipe=replace(RECIPE, of_photos=())),
        lambda world: replace(
            world.optimise,
            recipe=replace(RECIPE, of_photos=(*RECIPE.of_photos, *RECIPE.of_graphics)),
        ),
        lambda world: replace(world.optimise, reuse=replace(world.optimise.reuse, enabled=False)),
    ],
)
def test_copies_by_another_recipe_are_made(world: World, change: Callable[[World], Any]) -> None:
    world.completed()
    copied = world.trail.calls.count("renditions.copy")
    world.optimise = change(world)
    image_id = world.completed()
    # The rendition alone.
    assert world.trail.calls.count("renditions.copy") == copied + 1
    assert_at_rest(world)
    assert world.row(image_id).conversion_status is not ConversionStatus.FAILED


def test_copies_that_are_not_there_yet_are_made(world: World) -> None:
    first, second = world.create(), world.create()
    for image_id in (first, second):
        world.ingest(world.upload(image_id).event())
    world.work()
    for image_id in (first, second):
        row = world.row(image_id)
        assert (row.status, row.conversion_status) == (Status.COMPLETED, ConversionStatus.COMPLETED)
    assert_at_rest(world)


@pytest.mark.parametrize("call", ["images.same_content", "renditions.copy", "renditions.put",
                                  "conversion.send", "images.finish"])  # fmt: skip
def test_a_first_one_that_is_deleted_in_between_does_no_harm(world: World, call: str) -> None:
    first = world.completed()
    second = world.create()
    world.ingest(world.upload(second).event())

    def delete() -> None:
        world.api.delete(first)

    world.trail.at_next(call, "before", delete)
    world.work()
    row = world.row(second)
    assert (row.status, row.conversion_status) == (Status.COMPLETED, ConversionStatus.COMPLETED)
    assert world.images.rows[first] == Tombstone(source=None, removing=False)
    assert_at_rest(world)


@pytest.mark.parametrize("call", ["images.same_content", "renditions.copy", "renditions.put",
                                  "conversion.send", "images.finish"])  # fmt: skip
def test_one_that_is_deleted_itself_while_it_takes_over_leaves_nothing(
    world: World, call: str
) -> None:
    world.completed()
    second = world.create()
    world.ingest(world.upload(second).event())

    def delete() -> None:
        world.api.delete(second)

    world.trail.at_next(call, "after", delete)
    world.work()
    assert_at_rest(world)
    assert [key for key in world.renditions.versions if second in key] == []


def test_a_request_may_say_that_nothing_is_taken_over(world: World) -> None:
    world.completed()
    body = {"image_base64": base64.b64encode(PHOTO).decode(), "reuse": False}
    answer = world.api.create(
        Request(
            method="POST",
            path="/images",
            headers={"content-type": "application/json"},
            body=json.dumps(body).encode(),
        )
    )
    assert world.row(answer.body["image_id"]).reuse is False


def test_what_is_told_names_nobody_else(world: World) -> None:
    """Whose bytes they were is nobody's business."""
    first = world.completed()
    second = world.completed()
    shown = world.api.get(second).text()
    assert first not in (shown or "")
    assert first_message(world.row(second)).image_id == second
