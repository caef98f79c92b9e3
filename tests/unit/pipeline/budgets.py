"""What each odd, hostile or broken file costs: ``python -m tests.unit.pipeline.budgets``.

Every file of the corpus and every bomb goes through preprocess and through the copies with the
service's own limits and all formats, each in a child of its own that begins anew and may
hold no more than its function. Prints the dearest, and one JSON line of all with ``--json``.
"""

import argparse
import json
import os
import resource
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from chalicelib.images import Status
from tests.unit.imaging.test_corpus import FORMATS, LIMITS, TABLE
from tests.unit.pipeline.world import RECIPE, SETTINGS, World, first_message

ROOT = Path(__file__).resolve().parents[3]
MIB = 1024 * 1024
STAGES = ("preprocess", "optimise")
# Where a child is ended that the service's own limits did not end.
_HARD_CPU_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one file cost one stage.

    Attributes:
        peak_bytes: What the process held at most, all of it.
        cpu_seconds: Processor time of the stage.
        code: Why it was refused; None where it was taken.
        ended: Whether the child came to its end by itself.
    """

    file: str
    stage: str
    peak_bytes: int = 0
    cpu_seconds: float = 0.0
    code: str | None = None
    ended: bool = False


def memory_bytes_of(stage: str) -> int:
    """The least that the stage's function has, of all stages that it is deployed to."""
    config = json.loads((ROOT / ".chalice" / "config.json").read_text())
    return MIB * min(
        int(deployed["lambda_functions"][stage]["lambda_memory_size"])
        for deployed in config["stages"].values()
    )


def files(shared: Path) -> list[Path]:
    """The corpus and the bombs."""
    return [
        *sorted((shared / "corpus" / "files").iterdir()),
        *sorted((shared / "photos" / "bombs").iterdir()),
    ]


def costs(shared: Path) -> Iterator[Cost]:
    """What each file costs each stage that it comes to."""
    for path in files(shared):
        for stage in STAGES:
            cost = in_child(path.name, stage, path.read_bytes)
            yield cost
            if cost.code is not None:
                # Refused: nobody is going to make copies of it.
                break


def in_child(name: str, stage: str, body: Callable[[], bytes]) -> Cost:
    """What a file costs a stage, in a child that begins as this process is now."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # numpy has threads of its own, which no stage that is measured here ever asks.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            # Logs and metrics, and a child's last words.
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
            hard = memory_bytes_of(stage)
            resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
            resource.setrlimit(resource.RLIMIT_CPU, (_HARD_CPU_SECONDS, _HARD_CPU_SECONDS))
            cost = _measured(name, stage, body())
            os.write(writing, json.dumps(asdict(cost)).encode())
        finally:
            # Whatever happened: nothing of the parent may run in the child.
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        told = answer.read()
    os.waitpid(pid, 0)
    return Cost(**json.loads(told)) if told else Cost(file=name, stage=stage)


def _measured(name: str, stage: str, body: bytes) -> Cost:
    world = World(max_bytes=LIMITS.max_bytes)
    world.preprocess = replace(world.preprocess, limits=LIMITS, table=TABLE)
    world.optimise = replace(
        world.optimise,
        limits=LIMITS,
        recipe=replace(
            RECIPE, of_photos=FORMATS, of_graphics=FORMATS, webp_method=SETTINGS.webp_method
        ),
    )
    image_id = world.create()
    world.ingest(world.upload(image_id, body).event())
    queue = world.preprocessing_queue
    if stage == "optimise":
        # As after a preprocess in another process.
        message = first_message(world.row(image_id))
        world.images.start(message, Status.PREPROCESSING, now_ms=1)
        world.conversion_queue.send(queue.sent[0])
        queue = world.conversion_queue
    Path("/proc/self/clear_refs").write_text("5")
    before = _cpu_seconds()
    world.poll(queue, world.preprocess if stage == "preprocess" else world.convert)
    cpu_seconds = _cpu_seconds() - before
    row = world.row(image_id)
    failure = row.error or row.conversion_error or row.last_error or row.conversion_last_error
    return Cost(
        file=name,
        stage=stage,
        peak_bytes=_peak_bytes(),
        cpu_seconds=cpu_seconds,
        code=failure.code if failure else None,
        ended=True,
    )


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak_bytes() -> int:
    # Not ru_maxrss: that of a child begins with what its parent held.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the system does not tell what a process held")


def too_dear(found: Sequence[Cost]) -> list[str]:
    """Those that cost more than they may."""
    return [
        f"{cost.stage} of {cost.file}: {cost.peak_bytes / MIB:.0f} MiB, {cost.cpu_seconds:.1f} s"
        f"{'' if cost.ended else ', its process died'}"
        for cost in found
        if not cost.ended
        or cost.peak_bytes >= memory_bytes_of(cost.stage)
        or cost.cpu_seconds >= LIMITS.decode_seconds
    ]


def main() -> int:
    """Measure all; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--json", action="store_true", help="one line of all, for a program")
    arguments = parser.parse_args()
    found = list(costs(arguments.shared))
    if arguments.json:
        sys.stdout.write(json.dumps([asdict(cost) for cost in found]) + "\n")
        return 0
    out = sys.stdout.write
    out(f"{len({cost.file for cost in found})} files, {len(found)} times a stage\n")
    for title, key in (
        ("memory", lambda cost: cost.peak_bytes),
        ("processor time", lambda cost: cost.cpu_seconds),
    ):
        out(f"\nthe dearest by {title}:\n")
        for cost in sorted(found, key=key, reverse=True)[:5]:
            out(
                f"  {cost.peak_bytes / MIB:5.0f} MiB of {memory_bytes_of(cost.stage) / MIB:.0f}  "
                f"{cost.cpu_seconds:5.2f} s  {cost.stage:<10}  {cost.file}"
                f"  {cost.code or 'taken'}\n"
            )
    wrong = too_dear(found)
    out("\n".join(["", *wrong, f"{len(wrong)} cost more than they may", ""]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
