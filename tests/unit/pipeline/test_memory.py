"""What the stages take of the memory that their functions have: measured in fresh processes.

Each image goes through preprocess or through the conversion with the service's
own limits, all four formats on, in a process that does nothing else.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
CONFIG = json.loads((ROOT / ".chalice" / "config.json").read_text())
MIB = 1024 * 1024

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux counts memory in KB")

# Prints the image's end, and what the process held before and at its peak.
_SCRIPT = """
import io, json, resource, sys
from contextlib import redirect_stdout
from dataclasses import replace
from PIL import Image, features
from chalicelib.images import Status
from tests.unit.pipeline.memory import bodies
from tests.unit.imaging.test_corpus import FORMATS, LIMITS, TABLE
from tests.unit.pipeline.world import RECIPE, World, first_message

def peak():
    # Not ru_maxrss: that of a child begins with what its parent held.
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024

stage, name, path = sys.argv[1:4]
body = open(path, "rb").read() if path else bodies[name]()
world = World(max_bytes=LIMITS.max_bytes)
world.preprocess = replace(world.preprocess, limits=LIMITS, table=TABLE)
world.optimise = replace(
    world.optimise,
    limits=LIMITS,
    recipe=replace(RECIPE, of_photos=FORMATS, of_graphics=FORMATS, webp_method=2),
)
with redirect_stdout(io.StringIO()):
    image_id = world.create()
    world.ingest(world.upload(image_id, body).event())
    if stage == "preprocess":
        open("/proc/self/clear_refs", "w").write("5")
        before = peak()
        world.poll(world.preprocessing_queue, world.preprocess)
    else:
        # As after a preprocess in another process.
        message = first_message(world.row(image_id))
        world.images.start(message, Status.PREPROCESSING, now_ms=1)
        world.conversion_queue.send(world.preprocessing_queue.sent[0])
        open("/proc/self/clear_refs", "w").write("5")
        before = peak()
        world.poll(world.conversion_queue, world.convert)
row = world.row(image_id)
failure = row.error or row.conversion_error or row.last_error or row.conversion_last_error
print(json.dumps({
    "status": row.status,
    "conversion_status": row.conversion_status,
    "code": failure.code if failure else None,
    "formats": sorted(row.formats),
    "renditions": sorted(row.renditions),
    "before": before,
    "peak": peak(),
}))
"""


def measured(stage: str, *, name: str = "", path: Path | None = None) -> Mapping[str, Any]:
    """What became of an image in a fresh process, and the memory that it took."""
    finished = subprocess.run(
        [sys.executable, "-c", _SCRIPT, stage, name, str(path or "")],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'vendor'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def memory_of(function: str) -> int:
    """The least that the function has in any stage."""
    stages = CONFIG["stages"].values()
    return MIB * min(
        int(stage["lambda_functions"][function]["lambda_memory_size"]) for stage in stages
    )


BOMBS = (
    "bomb_12000x12000.png",
    "bomb_16383.webp",
    "bomb_30000.gif",
    "frames.gif",
    "iccp.png",
    "liar.bmp",
    "liar.png",
)
STAGES = ("preprocess", "optimise")
# Each in the stages where it takes most; making the copies of one takes 10 s and more.
LARGE = (
    ("preprocess", "50 MP progressive JPEG"),
    ("preprocess", "64 MP PNG of 16 bits"),
    ("preprocess", "64 MP TIFF with a profile"),
    ("preprocess", "64 MP WebP"),
    ("optimise", "64 MP PNG with alpha"),
    ("optimise", "64 MP WebP"),
    ("optimise", "animation of 63 MP"),
)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_ends_within_the_functions_memory(shared: Path, name: str, stage: str) -> None:
    found = measured(stage, path=shared / "photos/bombs" / name)
    assert found["peak"] < memory_of(stage)
    if name != "frames.gif":
        expected = "image_corrupt" if name == "iccp.png" else "image_dimensions_too_large"
        assert found["code"] == expected
        # It was refused by its header.
        assert found["peak"] - found["before"] < 64 * MIB
    elif stage == "optimise":
        assert found["conversion_status"] == "completed"


@pytest.mark.parametrize(("stage", "name"), LARGE)
def test_the_largest_images_that_are_taken_fit(stage: str, name: str) -> None:
    found = measured(stage, name=name)
    assert found["code"] is None, found
    assert found["peak"] < memory_of(stage), found
    if stage == "preprocess":
        assert found["status"] == "preprocessed"
        assert found["renditions"] == ["standard", "thumb"]
    else:
        assert found["conversion_status"] == "completed"
        assert set(found["formats"]) == {"avif", "jpeg", "png", "webp"}


def test_renditions_of_a_50_mp_jpeg_take_under_100_mb() -> None:
    found = measured("preprocess", name="50 MP JPEG")
    assert found["status"] == "preprocessed"
    assert found["peak"] - found["before"] < 100_000_000
