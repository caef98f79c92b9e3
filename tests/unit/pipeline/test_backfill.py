"""Renditions that came into the table after an image was taken in."""

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from PIL import Image as Pillow

from chalicelib import messages
from chalicelib.errors import ServiceUnavailable, Superseded
from chalicelib.images import (
    ConversionStatus,
    FocalPoint,
    Image,
    Output,
    Status,
    derived_prefixes,
)
from chalicelib.imaging import renditions
from chalicelib.messages import ImageMessage
from chalicelib.pipeline.backfill import lacks
from tests import images
from tests.fakes import Phase, Tombstone, crash, unavailable
from tests.unit.pipeline.world import RENDITIONS, World, first_message

(SMALL,) = RENDITIONS
(WIDE,) = renditions.parse("wide-2x 16 4 cover #ffffff jpeg 80")


@pytest.fixture
def world(world: World) -> World:
    """A world whose table has got one more line since its images came."""
    world.backfill = replace(world.backfill, table=(SMALL, WIDE))
    return world


def message(image: Image, *names: str) -> ImageMessage:
    return replace(first_message(image), renditions=names or ("wide-2x",))


def done(world: World) -> Image:
    return world.row(world.completed())


def test_a_rendition_is_made_and_comes_beside_the_others(world: World) -> None:
    image = done(world)
    world.backfill(message(image))
    row = world.row(image.image_id)
    assert set(row.renditions) == {"small", "wide-2x"}
    copy = row.renditions["wide-2x"]
    assert copy.key == WIDE.key(image.image_id, image.generation or "")
    body = world.renditions.objects[copy.key]
    assert (copy.bytes, copy.content_type, copy.quality) == (len(body), "image/jpeg", 80)
    with Pillow.open(io.BytesIO(body)) as opened:
        assert opened.size == (copy.width, copy.height) == (16, 4)


def test_nothing_else_of_the_image_changes(world: World) -> None:
    image = done(world)
    objects = world.renditions.objects
    world.backfill(message(image))
    row = world.row(image.image_id)
    assert replace(row, renditions=image.renditions, updated_at_ms=image.updated_at_ms) == image
    assert {key: world.renditions.objects[key] for key in objects} == objects
    assert world.classifier.seen == world.classifier.seen[:1]


def test_it_is_what_a_new_image_would_have_got(world: World) -> None:
    image = done(world)
    world.backfill(message(image))
    old = world.renditions.objects[world.row(image.image_id).renditions["wide-2x"].key]
    world.preprocess = replace(world.preprocess, table=(SMALL, WIDE))
    new = world.row(world.completed())
    assert world.renditions.objects[new.renditions["wide-2x"].key] == old


def test_the_focal_point_of_the_image_counts(world: World) -> None:
    (left_half,) = renditions.parse("left 12 16 cover #ffffff png")
    world.backfill = replace(world.backfill, table=(left_half,))
    image_id = world.create()
    world.images.rows[image_id] = replace(world.row(image_id), focal_point=FocalPoint(x=0, y=0.5))
    world.run(world.upload(image_id, images.encoded(images.marker(), "PNG")))
    world.backfill(message(world.row(image_id), "left"))
    body = world.renditions.objects[world.row(image_id).renditions["left"].key]
    with Pillow.open(io.BytesIO(body)) as opened:
        assert images.pixel(opened.convert("RGB"), (10, 2)) == images.RED


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.INFERENCE_FAILED])
def test_images_that_were_prepared_lack_what_they_do_not_have(world: World, status: Status) -> None:
    image = replace(done(world), status=status)
    assert lacks(image, WIDE)
    assert not lacks(image, SMALL)


def test_a_line_that_was_changed_is_lacking_under_its_old_name(world: World) -> None:
    image = done(world)
    assert lacks(image, replace(SMALL, width=5))
    world.backfill = replace(world.backfill, table=(replace(SMALL, width=5),))
    world.backfill(message(image, "small"))
    row = world.row(image.image_id)
    assert row.renditions["small"].width == 5
    assert len([key for key in world.renditions.objects if key.startswith("renditions/")]) == 2


@pytest.mark.parametrize("status", set(Status) - {Status.COMPLETED, Status.INFERENCE_FAILED})
def test_images_on_their_way_or_without_a_picture_lack_nothing(
    world: World, status: Status
) -> None:
    assert not lacks(replace(done(world), status=status), WIDE)


def test_images_that_want_no_renditions_or_have_no_upload_lack_nothing(world: World) -> None:
    image = done(world)
    assert not lacks(replace(image, outputs=(Output.PREDICTIONS, Output.FORMATS)), WIDE)
    assert not lacks(replace(image, generation=None), WIDE)


@pytest.mark.parametrize("conversion", list(ConversionStatus))
def test_it_does_not_matter_what_became_of_the_copies_at_full_size(
    world: World, conversion: ConversionStatus
) -> None:
    image = done(world)
    world.images.rows[image.image_id] = replace(image, conversion_status=conversion)
    world.backfill(message(image))
    row = world.row(image.image_id)
    assert (row.conversion_status, len(row.renditions)) == (conversion, 2)


def test_what_was_made_is_not_made_again(world: World) -> None:
    image = done(world)
    world.backfill(message(image))
    row = world.row(image.image_id)
    world.trail.calls.clear()
    for names in (("wide-2x",), ("small",), ("small", "wide-2x"), ("no-such-line",)):
        with pytest.raises(Superseded):
            world.backfill(message(image, *names))
    assert set(world.trail.calls) == {"images.get"}
    assert world.row(image.image_id) == row


def test_a_message_about_another_upload_or_an_unknown_image_is_dropped(world: World) -> None:
    image = done(world)
    with pytest.raises(Superseded):
        world.backfill(replace(message(image), generation="another"))
    with pytest.raises(Superseded):
        world.backfill(replace(message(image), image_id="unknown"))
    assert world.row(image.image_id) == image


@pytest.mark.parametrize("fault", [unavailable, crash], ids=["unavailable", "crash"])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_fault_at_any_call_is_made_good_by_the_next_delivery(
    fault: Callable[[], None], phase: Phase
) -> None:
    for number in range(10):
        fresh = World()
        fresh.backfill = replace(fresh.backfill, table=(SMALL, WIDE))
        image = fresh.row(fresh.completed())
        fresh.conversion_queue.send(messages.encode(message(image)))
        fresh.trail.at(len(fresh.trail.calls) + number, phase, fault)
        fresh.work()
        row = fresh.row(image.image_id)
        assert set(row.renditions) == {"small", "wide-2x"}
        assert row.renditions["wide-2x"].key in fresh.renditions.objects
        assert (row.status, row.conversion_status) == (image.status, image.conversion_status)
        assert fresh.conversion_queue.held == {}
        if not fresh.trail.fired:
            assert number >= 3
            return
    raise AssertionError("the back-fill never ends")


def test_an_original_that_is_gone_or_over_todays_limits_is_done_with(world: World) -> None:
    image = done(world)
    tight = replace(world.backfill.limits, max_side=10)
    world.backfill, loose = replace(world.backfill, limits=tight), world.backfill
    world.backfill(message(image))
    world.backfill = loose
    del world.uploads.versions[image.source.key if image.source else ""]
    world.backfill(message(image))
    assert world.row(image.image_id) == image


@pytest.mark.parametrize("call", ["images.get", "uploads.get", "renditions.put"])
def test_an_image_that_is_deleted_meanwhile_leaves_nothing_behind(world: World, call: str) -> None:
    image = done(world)

    def delete() -> None:
        world.api.delete(image.image_id)

    world.trail.at_next(call, "after", delete)
    world.conversion_queue.send(messages.encode(message(image)))
    world.work()
    assert isinstance(world.images.rows[image.image_id], Tombstone)
    assert world.renditions.objects == {}
    assert not any(
        key.startswith(derived_prefixes(image.image_id)) for key in world.uploads.objects
    )


def test_a_letter_about_a_back_fill_is_kept_and_fails_nothing(world: World) -> None:
    image = done(world)
    world.images.rows[image.image_id] = replace(image, conversion_status=ConversionStatus.PENDING)
    before = world.row(image.image_id)
    letter = {"messageId": "m", "body": messages.encode(message(image)), "attributes": {}}
    world.bury({"Records": [letter]}, step="optimise", failed_status=ConversionStatus.FAILED)
    assert world.row(image.image_id) == before
    assert any(key.startswith("dead-letters/optimise/") for key in world.uploads.objects)


def test_a_fault_is_raised_for_the_queue(world: World) -> None:
    image = done(world)
    world.trail.at_next("uploads.get", "before", unavailable)
    with pytest.raises(ServiceUnavailable):
        world.backfill(message(image))
