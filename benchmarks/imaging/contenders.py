"""The processes of the contenders, which live for the whole benchmark and take turns."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.imaging.jobs import Effort

_ROOT = Path(__file__).resolve().parent.parent.parent
_SHARP = Path(__file__).with_name("sharp.mjs")
# One thread each: what is compared is work, not how many cores there are.
_ONE_THREAD = {
    "VIPS_CONCURRENCY": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "UV_THREADPOOL_SIZE": "1",
}


class ContenderFailed(Exception):
    """A contender did not start, or did not do a job; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One job done.

    Attributes:
        cpu_ms: User and system time of all threads.
        bytes: Size of each output.
        peak_bytes: Memory above what the process held before.
    """

    cpu_ms: float
    bytes: Mapping[str, int]
    peak_bytes: int


class Process:
    """A contender that is running."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command,
            cwd=_ROOT,
            env=os.environ | _ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        hello = self._answer()
        self.versions: Mapping[str, str] = hello["versions"]
        self.png_settings: Sequence[Mapping[str, Any]] = hello["png_settings"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Its input ends, and with that it does.
        self._process.__exit__(kind, error, trace)

    def do(
        self, photo: Path, jobs: Sequence[str], effort: Effort, *, keep: Path | None = None
    ) -> Result:
        """Do jobs, and keep what they make in a folder if one is told.

        Raises:
            ContenderFailed: It could not.
        """
        request = {
            "photo": str(photo.resolve()),
            "jobs": jobs,
            "effort": effort.as_request(),
            "keep": None if keep is None else str(keep.resolve()),
        }
        if self._process.stdin is None:
            raise ContenderFailed(f"{self.name} takes no requests.")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            raise ContenderFailed(f"{self.name}, {photo.name}: {answer['error']}")
        return Result(**answer)

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self._process.communicate()
            raise ContenderFailed(f"{self.name} ended with code {self._process.returncode}.")
        answer: dict[str, Any] = json.loads(line)
        return answer


def names() -> tuple[str, ...]:
    """The contenders in the order of the tables; sharp only where there is Node.js."""
    found = ["naive", "ours", "libvips", "opencv"]
    if shutil.which("node") and (_SHARP.parent / "node_modules" / "sharp").exists():
        found.insert(2, "sharp")
    return tuple(found)


def started(name: str) -> Process:
    """A new process of a contender.

    Raises:
        ContenderFailed: It does not start.
    """
    if name == "sharp":
        return Process(name, ["node", str(_SHARP)])
    return Process(name, [sys.executable, "-m", "benchmarks.imaging.worker", name])


@contextmanager
def running(wanted: Sequence[str]) -> Iterator[Mapping[str, Process]]:
    """A process of each contender, until the end of the block."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(started(name)) for name in wanted}
