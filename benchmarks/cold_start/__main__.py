"""What the first call of each packaged function costs: ``make bench-cold-start``.

Each start is a new process: Lambda's own runtime client (awslambdaric) with boto3, the unpacked
zips of a package, a small Runtime API, and an AWS that knows one image and answers at once. Init
ends when the function asks for an event; the first response is the answer to that event. Getting
the zips onto a machine, which Lambda does before, is not in it.

Shares are those of ``python -X importtime`` in starts of their own, which it slows down.
The tables are Markdown, for docs/benchmarks-cold-start.md.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks.cold_start.events import event_of
from benchmarks.cold_start.imports import GROUPS
from benchmarks.cold_start.one_image import OneImage
from benchmarks.cold_start.start import Function, Package, Start, StartFailed


def main() -> int:
    """The command line; exit code 1 where a function does not start."""
    options = _options()
    shown = Console(stderr=True)
    aws = OneImage()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="darkroom-cold-start-") as temporary,
            shown.status("unpacking") as status,
        ):
            package = Package(
                options.folder, Path(temporary), python=options.runtime.absolute(), aws_url=aws.url
            )
            plain = _starts(package, options.rounds, status.update, profiled=False)
            profiled = _starts(package, options.rounds, status.update, profiled=True)
            compiled: list[list[Start]] = []
            if options.bytecode:
                package.compile()
                compiled = _starts(package, options.rounds, status.update, profiled=False)
    except StartFailed as failure:
        shown.print(f"Error: {failure}", markup=False)
        return 1
    finally:
        aws.close()
    parts = [_machine(options.rounds), times_table(package.functions, plain)]
    parts += ["Made of, in % of the time until the first response:"]
    parts += [shares_table(package.functions, profiled, lambda start: start.first)]
    parts += ["Of init alone:"]
    parts += [shares_table(package.functions, profiled, None)]
    if compiled:
        parts += ["With bytecode in the package:", times_table(package.functions, compiled)]
    sys.stdout.write("\n\n".join(parts) + "\n")
    return 0


def times_table(functions: Sequence[Function], starts: Sequence[Sequence[Start]]) -> str:
    """Medians of all starts of each function, in ms."""
    lines = [
        "| function | MB | first event | init | first response | both | lowest to highest | CPU |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for function, own in zip(functions, starts, strict=True):
        both = sorted(start.init + start.first for start in own)
        cells = [
            function.name,
            str(function.memory_mb),
            event_of(function.handler)[0],
            _median([start.init for start in own]),
            _median([start.first for start in own]),
            _median(both),
            f"{both[0]:.0f} to {both[-1]:.0f}",
            _median([start.init_cpu + start.first_cpu for start in own]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def shares_table(
    functions: Sequence[Function],
    starts: Sequence[Sequence[Start]],
    after_init: Callable[[Start], float] | None,
) -> str:
    """What the time is made of, in %: importing each library, and everything else.

    Args:
        functions: In the order of the rows.
        starts: Of each, profiled.
        after_init: The time after init that is looked at too; None for init alone.
    """
    lines = [
        f"| function | {' | '.join(GROUPS)} | not imports |",
        "|---|" + "---:|" * (len(GROUPS) + 1),
    ]
    for function, own in zip(functions, starts, strict=True):
        cells = [function.name]
        imported = [start.imports if after_init else start.init_imports for start in own]
        whole = [start.init + (after_init(start) if after_init else 0) for start in own]
        for group in GROUPS:
            shares = [100 * one[group] / time for one, time in zip(imported, whole, strict=True)]
            cells.append(_median(shares))
        rest = [
            100 * (1 - sum(one.values()) / time) for one, time in zip(imported, whole, strict=True)
        ]
        lines.append(f"| {' | '.join([*cells, _median(rest)])} |")
    return "\n".join(lines)


def _starts(
    package: Package, rounds: int, progress: Callable[[str], None], *, profiled: bool
) -> list[list[Start]]:
    """Rounds in which each function is started once, so that noise falls on all alike."""
    starts: list[list[Start]] = [[] for _ in package.functions]
    # The first start of all reads the files from the disk; it is not counted.
    package.start(package.functions[0])
    for number in range(rounds):
        for function, own in zip(package.functions, starts, strict=True):
            progress(f"round {number + 1} of {rounds}: {function.name}")
            own.append(package.start(function, profiled=profiled))
    return starts


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f}"


def _machine(rounds: int) -> str:
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}; medians of {rounds} starts, ms"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-cold-start",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="a package of infrastructure.package")
    parser.add_argument("--runtime", type=Path, required=True, help="Python with awslambdaric")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--bytecode", action="store_true", help="also with compiled modules in the package"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
