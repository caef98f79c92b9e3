"""Which images a back-fill queues, and that it may be stopped at any time."""

from dataclasses import replace

import pytest

from chalicelib import messages
from chalicelib.container import Container
from chalicelib.errors import ServiceUnavailable
from chalicelib.images import Image, Status, new_image_id
from chalicelib.imaging import renditions
from operations import backfill
from operations.backfill import UnknownRendition, named, queue_missing
from tests.fakes import Crash, crash, unavailable
from tests.unit.pipeline.world import World

(WIDE,) = renditions.parse("wide 16 4 cover #ffffff jpeg 80")


@pytest.fixture
def world() -> World:
    return World()


def container_of(world: World) -> Container:
    """A container whose parts are the world's."""
    container = Container({})
    # In the place where a built part is kept.
    vars(container).update(images=world.images, conversion_queue=world.conversion_queue)
    return container


def images_of(world: World, count: int) -> list[Image]:
    """Completed images, the newest first."""
    template = world.row(world.completed())
    del world.images.rows[template.image_id]
    world.conversion_queue.sent.clear()
    made = []
    for number in range(count):
        image = replace(template, image_id=new_image_id(), created_at_ms=1_795_000_000_000 + number)
        world.images.rows[image.image_id] = image
        made.append(image)
    return made[::-1]


def queued(world: World) -> list[str]:
    return [messages.decode(body).image_id for body in world.conversion_queue.sent]


def run(world: World, *, after: str | None = None) -> list[str]:
    return list(queue_missing(container_of(world), WIDE, after=after))


def test_every_image_that_lacks_the_rendition_is_queued_once_the_newest_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "_PAGE", 3)
    made = images_of(world, 8)
    run(world)
    assert queued(world) == [image.image_id for image in made]
    message = messages.decode(world.conversion_queue.sent[0])
    assert message.renditions == ("wide",)
    assert (message.generation, message.attempt) == (made[0].generation, made[0].attempt)
    assert message.queued_at_ms > 1_700_000_000_000


def test_images_that_have_it_or_are_under_way_are_passed_over(world: World) -> None:
    failed, waiting, has_it = images_of(world, 3)
    rows = world.images.rows
    copy = replace(
        next(iter(has_it.renditions.values())),
        key=WIDE.key(has_it.image_id, has_it.generation or ""),
    )
    rows[has_it.image_id] = replace(has_it, renditions={"wide": copy})
    rows[waiting.image_id] = replace(waiting, status=Status.PREPROCESSING)
    rows[failed.image_id] = replace(failed, status=Status.PREPROCESSING_FAILED)
    assert run(world) == []
    assert queued(world) == []


def test_a_second_run_after_the_work_is_done_queues_nothing(world: World) -> None:
    images_of(world, 3)
    world.backfill = replace(world.backfill, table=(WIDE,))
    # Their originals are those of the template.
    run(world)
    assert len(queued(world)) == 3
    world.conversion_queue.sent.clear()
    for image_id in list(world.images.rows):
        row = world.row(image_id)
        copy = replace(
            next(iter(row.renditions.values())), key=WIDE.key(image_id, row.generation or "")
        )
        world.images.rows[image_id] = replace(row, renditions={**row.renditions, "wide": copy})
    run(world)
    assert queued(world) == []


def test_it_tells_its_place_after_each_page_and_goes_on_from_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "_PAGE", 2)
    made = images_of(world, 5)
    places = [place for place in run(world) if place]
    assert len(places) == 2
    world.conversion_queue.sent.clear()
    run(world, after=places[0])
    assert queued(world) == [image.image_id for image in made[2:]]


@pytest.mark.parametrize("number", range(6))
def test_whatever_breaks_it_off_another_run_queues_the_rest(world: World, number: int) -> None:
    """What was queued before comes twice at most, and is made once."""
    made = images_of(world, 5)
    world.trail.at(len(world.trail.calls) + number, "after", crash if number % 2 else unavailable)
    with pytest.raises((ServiceUnavailable, Crash)):
        run(world)
    run(world)
    assert set(queued(world)) == {image.image_id for image in made}


def test_a_name_is_looked_up_in_the_table_that_ships() -> None:
    assert named("thumb").width == 150
    with pytest.raises(UnknownRendition, match="has no rendition 'panorama'; it has standard,"):
        named("panorama")
