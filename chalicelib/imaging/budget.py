"""What one decode may cost: processor time and memory, whatever the file turns out to be.

A header cannot tell everything: a few kilobytes of a progressive JPEG can ask
for minutes of work. The process's own limits hold where a header does not.
"""

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")


class OutOfTime(BaseException):
    """The work took longer than it may.

    No `Exception`, so that nothing in a decoder takes it for a fault of the file and goes on.
    """


@contextmanager
def bounded(*, seconds: int, memory_bytes: int) -> Iterator[None]:
    """Hold the block to a budget.

    Args:
        seconds: Processor time, of user and system, so that a busy machine refuses nothing that
            a quiet one takes. Checked whenever the interpreter gets its turn, which decoders
            give it with every 64 KB that they read. Outside the main thread, where Python lets
            nobody set a timer, there is no bound.
        memory_bytes: What may be allocated beside what the process holds already. Where the
            system does not tell how much that is (it is no Linux), there is no bound.

    Raises:
        OutOfTime: The time is up.
        MemoryError: An allocation was over the bound; decoders may raise errors of their own.
    """
    with _bounded_memory(memory_bytes), _bounded_time(seconds):
        yield


@contextmanager
def _bounded_time(seconds: int) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def _bounded_memory(memory_bytes: int) -> Iterator[None]:
    held_bytes = _held_bytes()
    if held_bytes is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held_bytes + memory_bytes
    narrower = wanted if soft == resource.RLIM_INFINITY else min(wanted, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (narrower, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _held_bytes() -> int | None:
    """The size of the process's data, which is what the kernel holds to ``RLIMIT_DATA``."""
    if not _STATUS.is_file():
        return None
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return None
