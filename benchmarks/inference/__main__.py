"""Our infer stage against its limit, and our service against servers: ``make bench-inference``.

First the stage alone: an SQS event in, result documents out, between edges that cost nothing,
against `session.run` on tensors that are ready. Then from a JPEG to JSON: `preprocess` and `infer`
one after the other, without HTTP and behind it, against servers that one might use instead.

All have the same photos, the same model.onnx, one thread a run, and as many processes as there
are cores. They take turns; who waits is stopped. CPU time is that of all processes of a
contender, that of the clients left out. The tables are Markdown, for docs/benchmarks-inference.md.
"""

import argparse
import io
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from benchmarks.inference.contenders import Contender, Local, Server, StartFailed, servers
from benchmarks.inference.contest import DECODER_TOLERANCE, Outcome, contest
from benchmarks.inference.figures import Disagreement, Row, ratios, table_of
from benchmarks.inference.photos import megapixels, photos_in, sample_sets
from benchmarks.inference.picture import draw
from benchmarks.inference.stages import Stages
from chalicelib import messages

_ROOT = Path(__file__).resolve().parent.parent.parent
_MODULE = "benchmarks.inference."
_STAGE, _LIMIT = "ours, the infer stage", "session.run"
# The batch at which the stage is held against its limit.
_TARGET_BATCH = 8
# Floats are added in another order in a batch, and no more.
_STAGE_TOLERANCE = 0.001


def main() -> int:
    """The command line; exit code 1 where there is nothing to compare."""
    options = _options()
    sets = {options.photos.name: photos_in(options.photos)} if options.photos else sample_sets()
    shown = Console(stderr=True)
    tables: dict[str, list[Row]] = {}
    lines = [_machine(options.workers)]
    with (
        tempfile.TemporaryDirectory(prefix="darkroom-bench-") as temporary,
        shown.status("") as status,
    ):
        bench = _Bench(options, Path(temporary), progress=status.update)
        try:
            if "stage" in options.only:
                title = "The infer stage and its limit"
                outcome = bench.stage(next(iter(sets.values())))
                tables[title] = outcome.rows
                lines += [f"## {title}", table_of(outcome.rows, load="batch"), _verdict(outcome)]
            for name, photos in sets.items() if "service" in options.only else ():
                title = f"JPEG in, JSON out: {name}, {len(photos)} photos, {megapixels(photos)}"
                tables[title] = bench.service(photos).rows
                lines += [f"## {title}", table_of(tables[title], load="at a time")]
        except (StartFailed, Disagreement) as failure:
            shown.print(f"Error: {failure}", markup=False)
            return 1
    draw(tables, options.picture)
    sys.stdout.write("\n\n".join(lines) + f"\n\nThe picture is {options.picture}.\n")
    return 0


class _Bench:
    """Both contests, with the files that their contenders read."""

    def __init__(
        self, options: argparse.Namespace, folder: Path, *, progress: Callable[[str], None]
    ) -> None:
        self._options = options
        self._folder = folder
        self._progress = progress
        self._count = 0

    def stage(self, photos: Mapping[str, bytes]) -> Outcome:
        """The stage alone. Short turns: the two stand close together."""
        originals, prepared = self._written(photos)
        logs = self._options.logs
        return contest(
            [
                Local(_LIMIT, f"{_MODULE}bare", [str(prepared)], logs=logs),
                Local(_STAGE, f"{_MODULE}stage", [str(originals)], logs=logs),
            ],
            loads=(1, _TARGET_BATCH, 16),
            rounds=4 * self._options.rounds,
            seconds=self._options.seconds / 4,
            tolerance=_STAGE_TOLERANCE,
            progress=self._progress,
        )

    def service(self, photos: Mapping[str, bytes]) -> Outcome:
        """From a JPEG to JSON."""
        originals, _ = self._written(photos)
        workers, logs = self._options.workers, self._options.logs
        contenders: list[Contender] = [
            Local(
                "ours, no HTTP",
                f"{_MODULE}both_stages",
                [str(originals)],
                logs=logs,
                workers=workers,
            )
        ]
        contenders += [
            Server(serving, photos, logs=logs)
            for serving in servers(
                workers=workers,
                batch=_TARGET_BATCH,
                reduced=self._options.reduced,
            )
        ]
        return contest(
            contenders,
            loads=(1, 8),
            rounds=self._options.rounds,
            seconds=self._options.seconds,
            tolerance=DECODER_TOLERANCE,
            progress=self._progress,
        )

    def _written(self, photos: Mapping[str, bytes]) -> tuple[Path, Path]:
        """Folders with the photos, and with what `preprocess` makes of them for the model."""
        self._count += 1
        originals = self._folder / f"originals-{self._count}"
        prepared = self._folder / f"prepared-{self._count}"
        for folder in (originals, prepared, self._options.logs):
            folder.mkdir(parents=True, exist_ok=True)
        stages = Stages()
        # What the stages print is for CloudWatch.
        with redirect_stdout(io.StringIO()):
            for name, body in photos.items():
                message = stages.upload(body)
                stages.prepare([messages.encode(message)])
                (originals / f"{name}.jpg").write_bytes(body)
                (prepared / f"{name}.ppm").write_bytes(stages.pixels(message))
        return originals, prepared


def _verdict(outcome: Outcome) -> str:
    ours = outcome.slices[_STAGE, _TARGET_BATCH]
    ratio = ratios(ours, outcome.slices[_LIMIT, _TARGET_BATCH])
    return (
        f"At batch {_TARGET_BATCH} the stage takes {ratio.text(2)} times the CPU time of "
        "`session.run` on the same batch."
    )


def _machine(workers: int) -> str:
    libraries = ("onnxruntime", "numpy", "pillow", "litserve", "bentoml", "uvicorn")
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, "
        f"{workers} processes a contender, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in libraries)
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-inference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--photos", type=Path, help="a folder of JPEG files of your own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a contender's turn")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=("stage", "service"),
        default=("stage", "service"),
        help="the stage against its limit, or the service against servers; else both",
    )
    parser.add_argument(
        "--reduced",
        action="store_true",
        help="let the peers decode a JPEG no larger than needed, as we do",
    )
    build = _ROOT / "build" / "bench-inference"
    parser.add_argument("--picture", type=Path, default=build / "inference.png")
    parser.add_argument("--logs", type=Path, default=build / "logs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
