"""The hook that lets tests kill a worker: only the local stage can have it."""

from dataclasses import asdict, replace

import pytest

from chalicelib.container import Container
from chalicelib.errors import SettingsError
from chalicelib.images import Status
from chalicelib.pipeline.poison import Poisonable
from chalicelib.pipeline.preprocess import Preprocess
from chalicelib.settings import Settings
from tests.fakes import Crash, crash
from tests.unit.pipeline.world import MAX_RECEIVES, SETTINGS, World, first_message


def environ(stage: str, marker: str) -> dict[str, str]:
    texts = {
        name.upper(): str(value)
        for name, value in asdict(SETTINGS).items()
        if isinstance(value, str) and value
    }
    return {**texts, "STAGE": stage, "POISON_MARKER": marker, "AWS_ENDPOINT_URL": "http://x"}


@pytest.mark.parametrize("stage", ["dev", "prod", "Local"])
def test_no_other_stage_takes_the_setting(stage: str) -> None:
    with pytest.raises(SettingsError, match="POISON_MARKER is for tests of the stage local alone"):
        Settings.from_environ(environ(stage, "die"))


def test_no_other_stage_builds_it_whatever_its_settings_say() -> None:
    for stage, kind in (("prod", Preprocess), ("local", Poisonable)):
        container = Container(environ("local", ""))
        settings = replace(SETTINGS, stage=stage, poison_marker="die")
        vars(container).update(
            settings=settings,
            images=None,
            uploads=None,
            renditions=None,
            inference_queue=None,
            conversion_queue=None,
            models=None,
        )
        assert type(container.preprocess) is kind


def test_the_local_stage_without_a_marker_has_none() -> None:
    assert Settings.from_environ(environ("local", "")).poison_marker == ""


def test_an_image_that_asks_for_it_kills_the_process_and_no_other_does() -> None:
    world = World()
    stage = Poisonable(stage=world.preprocess, images=world.images, marker="die", die=crash)
    poisoned, other = world.create(), world.create()
    world.images.rows[poisoned] = replace(world.row(poisoned), metadata={"poison": "die"})
    for image_id in (poisoned, other):
        world.deliver_event(world.upload(image_id).event())
    with pytest.raises(Crash):
        stage(first_message(world.row(poisoned)))
    assert world.row(poisoned).status is Status.QUEUED
    stage(first_message(world.row(other)))
    assert world.row(other).status is Status.PREPROCESSED


def test_it_kills_each_process_that_gets_it_and_ends_failed_within_its_receives() -> None:
    world = World()
    deaths: list[int] = []

    def die() -> None:
        deaths.append(1)
        crash()

    poisoned, *others = (world.create() for _ in range(4))
    world.images.rows[poisoned] = replace(world.row(poisoned), metadata={"poison": "die"})
    stage = Poisonable(stage=world.preprocess, images=world.images, marker="die", die=die)
    world.preprocess = stage  # type: ignore[assignment] # as the container does
    for image_id in (others[0], poisoned, *others[1:]):
        world.deliver_event(world.upload(image_id).event())
    world.work()
    assert len(deaths) == MAX_RECEIVES
    row = world.row(poisoned)
    assert (row.status, row.error and row.error.code) == (
        Status.PREPROCESSING_FAILED,
        "worker_lost",
    )
    assert [world.row(image_id).status for image_id in others] == [Status.COMPLETED] * 3
    later = world.create()
    world.run(world.upload(later))
    assert world.row(later).status is Status.COMPLETED
