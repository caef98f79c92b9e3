"""What the pipeline takes, and how the queues go through a day."""

import heapq
from collections.abc import Iterator

import pytest
import yaml

from infrastructure.template import resources_of
from operations import capacity
from operations.capacity import Cohort, Stage, simulate
from operations.cost import FIGURES
from tests.docs.test_documentation import ROOT

DATA = yaml.safe_load(FIGURES.read_text())
PAGE = (ROOT / "docs" / "capacity.md").read_text()


def arrivals(*, seconds: int, usual: int, spike: int) -> Iterator[Cohort]:
    for second in range(seconds):
        yield Cohort(float(second), spike if 60 <= second < 90 else usual)


def one_by_one(cohorts: Iterator[Cohort], *, calls: int, seconds: float) -> list[float]:
    """How long each image took, with a queue of single images and a clock for each call."""
    free = [0.0] * calls
    took = []
    for cohort in cohorts:
        for number in range(int(cohort.images)):
            came = cohort.arrived + number / cohort.images
            done = max(came, heapq.heappop(free)) + seconds
            heapq.heappush(free, done)
            took.append(done - came)
    return took


def test_cohorts_wait_as_long_as_images_that_are_followed_one_by_one() -> None:
    stage = Stage(name="infer", seconds=0.25, images=1, calls=5)
    day = simulate({"infer": stage}, arrivals(seconds=600, usual=12, spike=40), {}, until=900)
    exact = one_by_one(arrivals(seconds=600, usual=12, spike=40), calls=5, seconds=0.25)
    assert day.slowest("infer") == pytest.approx(max(exact), abs=1.5)
    assert sum(cohort.images for cohort, _ in day.latency["infer"]) == len(exact)
    # A cohort is done when its last image is, so half a second longer than its middle one.
    assert day.usual("infer") == pytest.approx(sorted(exact)[len(exact) // 2], abs=1.0)


def test_a_stage_that_is_too_small_never_catches_up() -> None:
    stage = Stage(name="infer", seconds=1, images=1, calls=4)
    day = simulate({"infer": stage}, arrivals(seconds=600, usual=5, spike=5), {}, until=600)
    assert day.cleared("infer", (300, 400)) == float("inf")
    assert day.most("infer") == pytest.approx(600, rel=0.1)


def test_calls_grow_by_three_hundred_a_minute_up_to_their_limit() -> None:
    stage = Stage(name="infer", seconds=1, images=1, calls=200)
    stage.backlog = 1_000_000
    for _ in range(10):
        stage.grow()
    assert stage.running == 55
    for _ in range(100):
        stage.grow()
    assert stage.running == 200


def test_what_one_stage_is_done_with_comes_to_all_that_follow() -> None:
    parts = {
        name: Stage(name=name, seconds=0.1, images=1, calls=5)
        for name in ("preprocess", "infer", "optimise")
    }
    source = [Cohort(0.0, 10), Cohort(1.0, 10)]
    day = simulate(parts, source, capacity.FOLLOWS, until=60)
    for name in ("infer", "optimise"):
        assert sum(cohort.images for cohort, _ in day.latency[name]) == 20
        assert all(seconds > 0.2 for _, seconds in day.latency[name])


def test_the_page_shows_what_the_figures_give() -> None:
    assert capacity.limits_table(DATA) in PAGE
    assert capacity.day_table(DATA, capacity.days(DATA)) in PAGE
    for photo in DATA["photos"].values():
        limit, rate = capacity.first_to_bind(DATA, photo)[0]
        assert f"{limit} binds first, at {rate:,.0f} images a second" in PAGE


def test_the_limits_that_are_parameters_are_the_defaults_of_the_stack() -> None:
    parameters = resources_of("prod")["Parameters"]
    ours = {name: entry for name, entry in DATA["limits"].items() if "source" not in entry}
    assert ours
    for name, entry in ours.items():
        assert parameters[name]["Default"] == entry["limit"], name
    assert DATA["day"]["concurrency"]["the defaults"] == {
        name: parameters[f"{name.title()}Concurrency"]["Default"]
        for name in ("preprocess", "infer", "optimise")
    }


def test_every_limit_is_reckoned_with() -> None:
    at_one = capacity.used(DATA, DATA["photos"]["2 MP"], 1)
    assert set(at_one) == set(DATA["limits"])
