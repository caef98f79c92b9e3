"""Processes of a contender: start, pause, what they use, end."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

_SAMPLE_SECONDS = 0.02


class Processes:
    """A command and everything that it starts.

    Args:
        command: For this Python.
        environ: Added to the environment.
        log: Where its errors go.
        piped: Whether its input and output are pipes to us, or nothing and the log.
    """

    def __init__(
        self, command: Sequence[str], *, environ: Mapping[str, str], log: Path, piped: bool
    ) -> None:
        self.log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                env={**os.environ, **environ},
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else errors,
                stderr=errors,
                text=True,
                # A group of its own: servers leave children behind when they are ended alone.
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether the command has not ended."""
        return self._process.poll() is None

    @property
    def pipes(self) -> tuple[IO[str], IO[str]]:
        """Its input and its output."""
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("The process was started without pipes.")
        return self._process.stdin, self._process.stdout

    def cpu_seconds(self) -> float:
        """User and system time of all, since they started."""
        total = 0.0
        for process in self._all():
            with suppress(psutil.NoSuchProcess):
                spent = process.cpu_times()
                total += spent.user + spent.system
                total += spent.children_user + spent.children_system
        return total

    def pause(self) -> None:
        """Stop them: a contender that waits for its turn must cost the others nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let them run again."""
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """End them all at once."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    @contextmanager
    def watched(self) -> Iterator[list[float]]:
        """Gathers the memory of all in MB, while the block runs.

        What processes share is counted once (PSS).
        """
        found: list[float] = []
        over = threading.Event()

        def watch() -> None:
            while not over.wait(_SAMPLE_SECONDS):
                found.append(self._memory_mb())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield found
        finally:
            over.set()
            watcher.join()

    def _memory_mb(self) -> float:
        total = 0
        for process in self._all():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                memory = process.memory_full_info()
                # macOS does not tell it; there what is shared is left out.
                total += getattr(memory, "pss", memory.uss)
        return total / 1e6

    def _all(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        return []

    def _signal(self, number: signal.Signals) -> None:
        # Neither alone is enough: BentoML's workers leave the group, and LitServe's lose their
        # parent.
        for process in self._all():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
