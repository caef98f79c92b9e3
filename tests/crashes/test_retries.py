"""A retry that is broken off between its messages and its row, while workers are at work.

The client sends the message of the copies, that of the predictions, then the row is written
(docs/adr/0002, docs/adr/0010). At each of these calls workers come in between, or the request dies
and nobody asks again.
"""

from collections.abc import Callable
from contextlib import suppress

import pytest

from chalicelib.errors import DarkroomError, NotRetryable
from chalicelib.images import ConversionStatus, Image, Status
from tests.crashes.enumeration import boundaries_of
from tests.crashes.invariants import AT_REST, check
from tests.crashes.paths import PATHS, Path, Scene, completed, empty, ended, with_another_model
from tests.crashes.test_images import assert_as_undisturbed, break_at
from tests.fakes import Crash, Phase, crash, unavailable
from tests.unit.pipeline.world import World

RETRIES = [path for path in PATHS if path.name.startswith("a retry") and "between" not in path.name]
type Work = Callable[[World], None]


def all_queues(world: World) -> None:
    """Work on everything, until nothing is left."""
    world.work()


def copies_first(world: World) -> None:
    """The copies' message comes until it is a dead letter, before any other is looked at."""
    empty(world.conversion_queue, of=world)
    world.work()


def predictions_first(world: World) -> None:
    """The predictions are done before anybody looks at the copies."""
    empty(world.preprocessing_queue, of=world)
    empty(world.inference_queue, of=world)
    world.work()


works = pytest.mark.parametrize("work", [all_queues, copies_first, predictions_first])
phases = pytest.mark.parametrize("phase", ["before", "after"])


@works
@phases
@pytest.mark.parametrize("path", RETRIES, ids=str)
def test_workers_at_any_call_of_a_retry_change_nothing_in_the_end(
    path: Path, phase: Phase, work: Work
) -> None:
    """Whichever is first opens the attempt, and it is opened once."""

    def prepare(scene: Scene, number: int) -> None:
        break_at(scene, number, phase, lambda: work(scene.world))

    def run(scene: Scene) -> None:
        attempt = scene.world.row(scene.image_id).attempt
        # Who finds it taken up already has been served.
        with suppress(NotRetryable):
            scene.world.api.retry(scene.image_id)
        scene.world.work()
        # Copies whose message came too often before the row was written wait for the check.
        look_after(scene.world)
        assert scene.world.row(scene.image_id).attempt == attempt + 1

    for scene in boundaries_of(path.scene, prepare, run, least=3):
        scene.world.stream()
        assert_as_undisturbed(path, scene)


@works
@phases
@pytest.mark.parametrize("fault", [crash, unavailable])
@pytest.mark.parametrize("path", RETRIES, ids=str)
def test_a_retry_that_is_broken_off_and_not_asked_for_again_is_whole_or_can_be_asked_for(
    path: Path, phase: Phase, fault: Callable[[], None], work: Work
) -> None:
    """The client was told that it did not work, and went away."""

    def run(scene: Scene) -> None:
        with suppress(Crash, DarkroomError):
            scene.world.api.retry(scene.image_id)

    def prepare(scene: Scene, number: int) -> None:
        break_at(scene, number, phase, fault)

    for scene in boundaries_of(path.scene, prepare, run, least=3):
        world = scene.world
        work(world)
        look_after(world)
        world.stream()
        check(world, AT_REST)
        row = world.row(scene.image_id)
        if row.attempt == 1:
            assert row.retryable
            world.api.retry(scene.image_id)
            world.work()
        assert whole(world.row(scene.image_id)), scene.trail.calls


def look_after(world: World) -> None:
    """The check runs, as often as anything may be stuck, and workers do what it asks for."""
    for _ in range(4):
        world.now += 9 * 3600 * 1000
        world.check()
        world.work()


def whole(row: Image) -> bool:
    ends = (row.status, row.conversion_status, row.attempt)
    return ends == (Status.COMPLETED, ConversionStatus.COMPLETED, 2)


# --- With models ------------------------------------------------------------------------------


@works
@pytest.mark.parametrize(
    "setting",
    [completed, ended(Status.INFERENCE_FAILED, ConversionStatus.COMPLETED)],
    ids=["completed", "failed"],
)
def test_a_broken_off_retry_with_another_model_does_not_answer_for_the_next_one(
    setting: Callable[[World], str], work: Work
) -> None:
    """Both are of the same attempt; only the row says which of them it is."""

    def make() -> Scene:
        world = World()
        # It sees the same as the other one, so that it can answer at once.
        world.publish("other@2", side=8)
        return Scene(world=world, image_id=setting(world))

    def prepare(scene: Scene, number: int) -> None:
        break_at(scene, number, "before", crash)

    def run(scene: Scene) -> None:
        with suppress(Crash):
            scene.world.api.retry(scene.image_id, model="other@2")

    for scene in boundaries_of(make, prepare, run, least=3):
        world = scene.world
        world.api.retry(scene.image_id, model="default")
        work(world)
        row = world.row(scene.image_id)
        assert row.model == "default"
        assert str(row.results_key).endswith("/test@1.json"), scene.trail.calls
        assert (row.status, row.attempt) == (Status.COMPLETED, 2)
        world.stream()
        check(world, AT_REST)


def test_who_asks_for_another_model_than_the_attempt_that_is_open_is_refused() -> None:
    """The worker of the broken-off retry opened it before the next one's row was written."""
    world = World()
    image_id = with_another_model(completed)(world)
    world.trail.at_next("images.retry", "before", crash)
    with suppress(Crash):
        world.api.retry(image_id, model="other@2")

    def worker() -> None:
        world.inference_queue.held.pop(next(reversed(world.inference_queue.held)))
        world.work()

    world.trail.at_next("images.retry", "before", worker)
    with pytest.raises(NotRetryable):
        world.api.retry(image_id, model="default")
    world.work()
    row = world.row(image_id)
    assert (row.model, row.attempt, row.status) == ("other@2", 2, Status.COMPLETED)
    world.stream()
    check(world, AT_REST)
