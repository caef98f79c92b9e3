"""Child processes that end when the run ends."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from local.errors import StartFailed
from local.places import ROOT

_TERM_SECONDS = 8.0


@dataclass(kw_only=True)
class Process:
    """A child in a process group of its own, with its output in a file.

    ``log`` is the file of its output, ``record`` the one that remembers its process id.

    A group of its own keeps Ctrl-C from it, so that it is stopped in order, and
    lets whatever it started be stopped with it.
    """

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    log: Path
    record: Path
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                list(self.command),
                cwd=ROOT,
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.record.write_text(str(self._child.pid))

    def check(self) -> None:
        """Raise `StartFailed` if it ended."""
        if self._child is not None and self._child.poll() is not None:
            last = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["nothing"]
            raise StartFailed(
                f"{self.name} stopped with exit code {self._child.returncode}; "
                f"it last said: {last[0][:300]} (all of it: {self.log})."
            )

    def stop(self) -> None:
        """Ask it to end, wait, then end it and all that it started."""
        if self._child is None:
            return
        if self._child.poll() is None:
            self._child.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(_TERM_SECONDS)
        _kill_group(self._child.pid)
        self._child.wait()
        self._child = None
        self.record.unlink(missing_ok=True)

    def stop_orphan(self) -> None:
        """End what an earlier run left behind when it was killed; politely, so that it can save."""
        try:
            pid = int(self.record.read_text())
        except (OSError, ValueError):
            return
        # A script's own command stands behind that of its interpreter.
        if _command_of(pid)[-len(self.command) :] == list(self.command):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + _TERM_SECONDS
            while _command_of(pid) and time.monotonic() < deadline:
                time.sleep(0.05)
            _kill_group(pid)
        self.record.unlink(missing_ok=True)


def _command_of(pid: int) -> list[str]:
    """The words of a running process's command; none where it is gone."""
    listed = subprocess.run(
        ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    words = listed.stdout.split()
    return [] if "<defunct>" in words else words


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
    # The members are not our children: wait until the last one is gone.
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.02)
