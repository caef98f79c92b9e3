"""Each path of an image, with a fault before and after each of its calls to AWS: all of them,
none by chance.

The process dies there, or AWS does not answer. Everything is asked for and delivered again,
and then the image has to be as if nothing had happened, to the byte.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest

from chalicelib.images import Image, derived_prefixes
from tests.crashes.enumeration import boundaries_of
from tests.crashes.invariants import ALWAYS, AT_REST, announced_twice, check
from tests.crashes.paths import PATHS, Path, Scene
from tests.fakes import Phase, Tombstone, crash, unavailable

# Around these two calls nobody can know whether an event went out: docs/adr/0016.
WINDOW = {"topic.publish", "announcements.settle"}

paths = pytest.mark.parametrize("path", PATHS, ids=str)


@paths
@pytest.mark.parametrize("fault", [crash, unavailable])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_fault_at_any_call_of_any_path_changes_nothing_in_the_end(
    path: Path, phase: Phase, fault: Callable[[], None]
) -> None:
    for scene in boundaries_of(
        path.scene, lambda scene, number: break_at(scene, number, phase, fault), path.go, least=3
    ):
        assert_as_undisturbed(path, scene)


@pytest.mark.parametrize(
    "path",
    [path for path in PATHS if path.name in {"an upload in a request", "a file that is no image"}],
    ids=str,
)
def test_a_second_crash_while_the_first_is_made_good_changes_nothing_either(path: Path) -> None:
    """A crash after a call is one before the next: what lies between are no calls."""
    for first in boundaries_of(
        path.scene,
        lambda scene, number: break_at(scene, number, "after", crash),
        path.go,
        least=5,
    ):
        (number,) = first.trail.fired
        began = len(path.scene().trail.calls)

        def break_twice(scene: Scene, later: int, number: int = number - began) -> None:
            break_at(scene, number, "after", crash)
            break_at(scene, number + 1 + later, "after", crash)

        for later in range(150):
            scene = path.scene()
            break_twice(scene, later)
            path.go(scene)
            assert_as_undisturbed(path, scene)
            if len(scene.trail.fired) < 2:
                break


def break_at(scene: Scene, number: int, phase: Phase, fault: Callable[[], None]) -> None:
    """Break the path off at a call, counted from its beginning."""
    scene.trail.at(len(scene.trail.calls) + number, phase, fault)


def assert_as_undisturbed(path: Path, scene: Scene) -> None:
    """The invariants hold, and who looks at the image cannot tell that anything broke."""
    called = [scene.trail.calls[number] for number in scene.trail.fired]
    try:
        check(scene.world, AT_REST)
        assert facts(scene) == undisturbed(path)
        assert WINDOW & set(called) or announced_twice(scene.world) == 0
        assert announced_twice(scene.world) <= len(called)
        _, image = subject(scene)
        assert_ended(path, image)
    except AssertionError as error:
        error.add_note(f"broken off at {called} of {scene.trail.calls}")
        raise


def assert_ended(path: Path, image: Image | Tombstone) -> None:
    """As the path says."""
    if path.status is None:
        assert image == Tombstone(source=None, removing=False)
        return
    assert isinstance(image, Image)
    assert (image.status, image.conversion_status) == (path.status, path.conversion)
    reasons = {failure.code for failure in (image.error, image.conversion_error) if failure}
    allowed = {path.code, "worker_lost", "service_unavailable"} if path.lost else {path.code}
    assert reasons <= allowed, reasons
    assert bool(reasons) == (path.code is not None)


@cache
def undisturbed(path: Path) -> Mapping[str, Any]:
    """What the path comes to where nothing breaks."""
    scene = path.scene()
    path.go(scene)
    check(scene.world, AT_REST)
    assert announced_twice(scene.world) == 0
    assert check_itself_fails(scene)
    return facts(scene)


def check_itself_fails(scene: Scene) -> bool:
    """Whether the invariants see a status that went back."""
    history = scene.world.images.history
    history.extend(history[:1])
    try:
        check(scene.world, ALWAYS)
    except AssertionError:
        return True
    finally:
        history.pop()
    return False


def subject(scene: Scene) -> tuple[str, Image | Tombstone]:
    """The image that the path is about, with its id: the only one, where it has no id before."""
    rows = scene.world.images.rows
    if scene.image_id:
        return scene.image_id, rows[scene.image_id]
    ((image_id, image),) = rows.items()
    return image_id, image


def facts(scene: Scene) -> Mapping[str, Any]:
    """All that can be seen of the one image but times, with its random names taken out."""
    image_id, image = subject(scene)
    if isinstance(image, Tombstone):
        return {"deleted": image}
    generation = image.generation or "none"

    def plain(text: str) -> str:
        return text.replace(image_id, "ID").replace(generation, "GENERATION")

    prefixes = derived_prefixes(image_id)
    return {
        "row": (image.status, image.conversion_status, image.attempt, image.prediction),
        "original": image.original,
        "info": image.info,
        "told": sorted(
            plain(copy.key) for copy in (*image.renditions.values(), *image.formats.values())
        ),
        "objects": {
            plain(key): body.replace(image_id.encode(), b"ID")
            for store in (scene.world.uploads, scene.world.renditions)
            for key, body in store.objects.items()
            if key.startswith(prefixes)
        },
    }


def test_what_comes_twice_is_counted_once(capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = (path for path in PATHS if path.name == "everything twice")
    path.go(path.scene())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    finished = [line["stage"] for line in lines if "ProcessedImages" in line]
    assert sorted(finished) == ["infer", "optimise", "preprocess"]
    assert sum(line.get("EventsPublished", [0])[0] for line in lines) == 2
