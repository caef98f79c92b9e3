"""What has to be so after `docs/how-to-add.md` was followed: run there by `test_how_to.py`.

In the tree as it is committed nothing of this is, so its name keeps pytest from finding it.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib.container import Container
from chalicelib.images import Status
from chalicelib.imaging import renditions
from chalicelib.inference.classifier import Classifiers
from chalicelib.models import ModelChoice
from operations import backfill, models
from tests.unit.pipeline.world import RENDITIONS, World, photo

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def ran(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs an operator's command on the world in place of a stage."""
    container = Container({"MODELS_PARAMETER": "/models"})

    def put_parameter(**parameter: Any) -> None:
        world.choice.known = ModelChoice.parse(parameter["Value"])

    vars(container).update(
        images=world.images,
        uploads=world.uploads,
        conversion_queue=world.conversion_queue,
        models=world.models,
        clients=SimpleNamespace(ssm=SimpleNamespace(put_parameter=put_parameter)),
        settings=SimpleNamespace(models_parameter="/models"),
    )

    def run(command: Any, *words: str) -> None:
        monkeypatch.setattr(command, "container_of", lambda *_, **__: container)
        monkeypatch.setattr(sys, "argv", ["command", *words])
        assert command.main() == 0

    return run


def test_a_new_image_has_the_rendition_in_its_record_and_an_old_one_after_a_backfill(
    world: World, ran: Callable[..., None]
) -> None:
    old = world.completed()
    assert set(world.row(old).renditions) == {one.name for one in RENDITIONS}
    table = renditions.installed()
    world.preprocess = replace(world.preprocess, table=table)
    world.backfill = replace(world.backfill, table=table)
    new = world.create()
    world.run(world.upload(new, photo(size=(120, 80))))
    shown = json.loads(world.api.get(new).text())
    assert shown["renditions"]["card"]["content_type"] == "image/webp"
    ran(backfill, "card")
    world.work()
    assert "card" in world.row(old).renditions


def test_the_readme_shows_the_rendition() -> None:
    block = (ROOT / "README.md").read_text().partition("```json\n")[2].partition("```")[0]
    assert set(json.loads(block)["renditions"]) == {one.name for one in renditions.installed()}


def test_the_model_classifies(
    world: World, ran: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    ran(models, "check", str(ROOT / "mine"))
    assert json.loads(capsys.readouterr().out)["name"] == "mine"
    ran(models, "publish", str(ROOT / "mine"))
    ran(models, "use", "mine@1.0")
    world.infer = replace(world.infer, classifier_of=Classifiers(threads=1))
    image_id = world.create()
    world.run(world.upload(image_id, photo("blue")))
    row = world.row(image_id)
    assert row.status is Status.COMPLETED
    assert row.prediction is not None
    assert (row.prediction.model_name, row.prediction.classes[0]) == ("mine", "blue")
