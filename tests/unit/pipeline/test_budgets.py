"""No file of the corpus and no bomb takes more memory than its function has, or 20 s of processor
time: each in a fresh child, held to its function's memory."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import images
from tests.unit.imaging.test_corpus import LIMITS
from tests.unit.pipeline import budgets
from tests.unit.pipeline.budgets import MIB, ROOT, Cost, in_child, memory_bytes_of, too_dear
from tests.unit.pipeline.world import PHOTO

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="Linux counts memory in KB"),
    # A minute of processor time, and a busy machine gives it slowly.
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module")
def found(shared: Path) -> list[Cost]:
    """In a process that has loaded nothing of the other tests."""
    finished = subprocess.run(
        [sys.executable, "-m", "tests.unit.pipeline.budgets", "--shared", str(shared), "--json"],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'vendor'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return [Cost(**cost) for cost in json.loads(finished.stdout.splitlines()[-1])]


def test_every_file_was_measured_in_each_stage_that_it_comes_to(
    found: list[Cost], shared: Path
) -> None:
    names = {path.name for path in budgets.files(shared)}
    assert len(names) > 700
    by_stage = {stage: [cost for cost in found if cost.stage == stage] for stage in budgets.STAGES}
    taken = {cost.file for cost in by_stage["preprocess"] if cost.code is None}
    assert {cost.file for cost in by_stage["preprocess"]} == names
    assert {cost.file for cost in by_stage["optimise"]} == taken
    assert len(taken) > 390
    # And something was done with them.
    assert all(cost.peak_bytes > 16 * MIB for cost in found if cost.ended)


def test_no_file_costs_more_than_it_may(found: list[Cost]) -> None:
    assert too_dear(found) == []


@pytest.mark.parametrize(
    "dear",
    [
        Cost(file="x", stage="preprocess", peak_bytes=2**40, ended=True),
        Cost(file="x", stage="optimise", cpu_seconds=20, ended=True),
        Cost(file="x", stage="preprocess"),
    ],
    ids=["memory", "time", "death"],
)
def test_what_costs_too_much_is_seen(dear: Cost) -> None:
    assert too_dear([dear, Cost(file="y", stage="preprocess", ended=True)]) != []
    assert len(too_dear([dear])) == 1


def dies() -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def greedy() -> bytes:
    """As much as the function has: numpy touches none of it, so that it is never really there."""
    return PHOTO + np.empty(memory_bytes_of("preprocess"), np.uint8)[:0].tobytes()


@pytest.mark.parametrize(("body", "ended"), [(lambda: PHOTO, True), (dies, False), (greedy, False)])
def test_a_child_that_dies_or_wants_more_than_its_function_has_is_seen(
    body: Callable[[], bytes],
    ended: bool,  # noqa: FBT001 # a parameter
) -> None:
    assert in_child("x", "preprocess", body).ended is ended


@pytest.mark.parametrize("stage", budgets.STAGES)
def test_the_service_itself_ends_what_takes_too_long(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By processor time, and as the file's fault: nothing else in the child ends it."""
    monkeypatch.setattr(budgets, "LIMITS", replace(LIMITS, decode_seconds=1))
    cost = in_child("x", stage, images.of_many_passes)
    assert (cost.code, cost.ended) == ("image_too_complex", True)
