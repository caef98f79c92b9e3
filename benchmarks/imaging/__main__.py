"""Our imaging against the naive pipeline, sharp, libvips and OpenCV: ``make bench-imaging``.

Every contender is a process of its own with one thread. They take turns, photo by photo and round
by round, and what counts is CPU time (user and system, all threads): what disturbs the machine
disturbs all. What the first round made is scored.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.imaging import photos as sources
from benchmarks.imaging import quality
from benchmarks.imaging.contenders import ContenderFailed, Process, names, running, started
from benchmarks.imaging.figures import (
    Photo,
    Table,
    cost_table,
    memory_table,
    score_table,
    size_table,
)
from benchmarks.imaging.jobs import FORMATS, Effort
from benchmarks.imaging.picture import draw
from benchmarks.imaging.tuning import chosen_settings, tune

# libwebp's methods that are compared: the default of Darkroom, and that of libwebp.
_METHODS = (2, 4)
# These always try as hard as they do.
_UNTOLD = ("naive", "opencv")
_PAGE, _PLOT = "benchmarks-imaging.md", "images/benchmarks-imaging.png"


class Bench:
    """The measurements, and what they came to."""

    def __init__(
        self, photos: Sequence[Path], folder: Path, progress: Callable[[str], None]
    ) -> None:
        self._photos = {
            Photo(name=path.stem, megapixels=sources.megapixels(path)): path for path in photos
        }
        self._folder = folder
        self._progress = progress
        self._png = chosen_settings()
        self.versions: dict[str, str] = {}
        # By job, photo and contender.
        self.costs: dict[str, dict[Photo, dict[str, list[float]]]] = {}
        self.sizes: dict[str, dict[Photo, dict[str, Mapping[str, int]]]] = {}
        self.peaks: dict[str, dict[str, int]] = defaultdict(dict)

    def measure(self, rounds: Mapping[str, int]) -> None:
        """Let all do the jobs so many times."""
        with running(names()) as contenders:
            for process in contenders.values():
                self.versions |= process.versions
                # What a library loads or builds at its first call is not a photo's cost.
                process.do(min(self._photos.values(), key=sources.megapixels), ["full"], Effort())
            for job, count in rounds.items():
                for photo, path in self._photos.items():
                    self._measure(contenders, job, photo, path, count)

    def _measure(
        self, contenders: Mapping[str, Process], job: str, photo: Photo, path: Path, count: int
    ) -> None:
        spent: dict[str, list[float]] = defaultdict(list)
        for turn in range(count):
            self._progress(f"{job} job, {photo}, round {turn + 1} of {count}")
            for label, name, effort in self._entries(contenders, job):
                jobs = ("small",) if job == "small" else ("small", "full")
                keep = self._kept(photo, label) if turn == 0 else None
                result = contenders[name].do(path, jobs, effort, keep=keep)
                spent[label].append(result.cpu_ms)
                if turn == 0:
                    self.sizes.setdefault(job, {}).setdefault(photo, {})[label] = result.bytes
        self.costs.setdefault(job, {})[photo] = dict(spent)

    def _entries(
        self, contenders: Mapping[str, Process], job: str
    ) -> list[tuple[str, str, Effort]]:
        """Label, contender and effort of each turn of a round."""
        entries = []
        for name in contenders:
            png = self._png.get(name, {})
            if job == "small" or name in _UNTOLD:
                entries.append((name, name, Effort(png=png)))
                continue
            entries += [
                (f"{name} m{method}", name, Effort(webp=method, png=png)) for method in _METHODS
            ]
        return entries

    def _kept(self, photo: Photo, label: str) -> Path:
        return self._folder / "made" / photo.name / label.replace(" ", "-")

    def scores(self) -> dict[Photo, dict[str, dict[str, float]]]:
        """SSIMULACRA 2 of what was made in the first round."""
        found = {}
        for photo, path in self._photos.items():
            self._progress(f"scores of {photo}")
            labels = [label for job in self.sizes for label in self.sizes[job].get(photo, {})]
            made = {label: self._kept(photo, label) for label in dict.fromkeys(labels)}
            quality.check_model_inputs(made)
            found[photo] = quality.scores(path, made, self._folder)
        return found

    def weigh(self) -> None:
        """Peak memory of each job in a fresh process."""
        largest = max(self._photos, key=lambda photo: photo.megapixels)
        path = self._photos[largest]
        huge = sources.huge_photo(list(self._photos.values()), self._folder)
        for job, photo, jobs in (
            (f"small job, {largest}", path, ["small"]),
            ("small job, 50 MP", huge, ["small"]),
            (f"full job, {largest}", path, ["full"]),
        ):
            for name in names():
                self._progress(f"memory of the {job}: {name}")
                with started(name) as process:
                    effort = Effort(png=self._png.get(name, {}))
                    self.peaks[job][name] = process.do(photo, jobs, effort).peak_bytes

    def tables(self) -> list[Table]:
        """What was measured."""
        made = []
        if "small" in self.costs:
            made.append(cost_table("Renditions and model input", self.costs["small"]))
        for method in _METHODS if "full" in self.costs else ():
            costs = {
                photo: _of_method(rounds, method) for photo, rounds in self.costs["full"].items()
            }
            made.append(cost_table(f"Full job, WebP method {method}", costs))
        return made


def main() -> int:
    """The command line; exit code 1 where a contender failed."""
    options = _options()
    console = Console(width=160, highlight=False)
    with (
        tempfile.TemporaryDirectory(prefix="darkroom-bench-") as temporary,
        Console(stderr=True).status("") as status,
    ):
        folder = Path(temporary)
        photos = (
            sources.photos_in(options.photos) if options.photos else sources.made_photos(folder)
        )
        photos = [path for path in photos if options.only in path.name]
        bench = Bench(photos, folder, status.update)
        try:
            if options.tune_png:
                tune(photos, status.update)
                return 0
            bench.measure(_rounds(options))
            if not options.quick:
                bench.weigh()
            tables = bench.tables()
            tables += _quality_tables(bench)
        except ContenderFailed as failed:
            print(f"Error: {failed}", file=sys.stderr)
            return 1
    console.print(_machine(bench.versions))
    for table in tables:
        console.print(_rich(table))
    if options.write:
        _write(options.write, bench, tables)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="a folder of photos instead of made ones")
    parser.add_argument("--only", default="", help="of these, those with this in their name")
    parser.add_argument("--job", choices=("small", "full"), help="one job instead of both")
    parser.add_argument("--rounds", type=int, help="of either job, instead of 9 and 3")
    parser.add_argument("--quick", action="store_true", help="no memory")
    parser.add_argument("--write", type=Path, help="the folder of the documentation to write to")
    parser.add_argument(
        "--tune-png", action="store_true", help="find each library's PNG setting anew"
    )
    return parser.parse_args()


def _rounds(options: argparse.Namespace) -> dict[str, int]:
    rounds = {"small": options.rounds or 9, "full": options.rounds or 3}
    return {job: count for job, count in rounds.items() if options.job in {None, job}}


def _of_method[Value](by_label: Mapping[str, Value], method: int) -> dict[str, Value]:
    """Those that tried so hard, and those that cannot be told, in the order of the tables."""
    found = {
        label.split()[0]: value
        for label, value in by_label.items()
        if label.endswith(f" m{method}") or label in _UNTOLD
    }
    return {name: found[name] for name in names() if name in found}


def _quality_tables(bench: Bench) -> list[Table]:
    scores = bench.scores()
    made = []
    if "small" in bench.sizes:
        small = {
            photo: {name: by_name[name] for name in names()} for photo, by_name in scores.items()
        }
        made += [
            score_table("Quality of renditions", small, ("standard", "thumb")),
            size_table("Size of renditions", bench.sizes["small"], ("standard", "thumb")),
        ]
    for method in _METHODS if "full" in bench.sizes else ():
        of_method = {photo: _of_method(by_name, method) for photo, by_name in scores.items()}
        sizes = {
            photo: _of_method(by_name, method) for photo, by_name in bench.sizes["full"].items()
        }
        made += [
            score_table(f"Quality of copies, WebP method {method}", of_method, FORMATS[:2]),
            size_table(f"Size of copies, WebP method {method}", sizes, FORMATS),
        ]
    if bench.peaks:
        made.append(memory_table(bench.peaks))
    return made


def _machine(versions: Mapping[str, str]) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {_processor()}, {os.cpu_count()} cores, "
        f"{platform.system()}, Python {platform.python_version()}, {libraries}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{platform.machine()} ({next(named, 'unknown processor')})"


def _rich(table: Table) -> RichTable:
    shown = RichTable(title=table.title, title_justify="left", box=None, pad_edge=False)
    for number, heading in enumerate(table.header):
        shown.add_column(heading, justify="right" if number else "left")
    for row in table.rows:
        shown.add_row(*row)
    return shown


def _write(docs: Path, bench: Bench, tables: Sequence[Table]) -> None:
    """The page of the documentation, and its plot."""
    panels = {"renditions and model input": bench.costs.get("small", {})}
    for method in _METHODS:
        panels[f"full job, WebP method {method}"] = {
            photo: _of_method(rounds, method)
            for photo, rounds in bench.costs.get("full", {}).items()
        }
    large = {
        title: {photo: rounds for photo, rounds in costs.items() if photo.large}
        for title, costs in panels.items()
    }
    if drawn := {title: costs for title, costs in large.items() if costs}:
        draw(drawn, docs / _PLOT)
    template = Path(__file__).with_name("page.md").read_text()
    page = (
        template.replace("{{machine}}", _machine(bench.versions))
        .replace("{{plot}}", _PLOT)
        .replace("{{png}}", json.dumps(chosen_settings(), indent=2))
        .replace("{{tables}}", "\n\n".join(table.markdown() for table in tables))
    )
    docs.mkdir(parents=True, exist_ok=True)
    (docs / _PAGE).write_text(page)


if __name__ == "__main__":
    sys.exit(main())
