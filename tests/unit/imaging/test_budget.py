"""What a block may cost: processor time and memory, and nothing of it is left afterwards."""

import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from chalicelib.imaging import budget
from chalicelib.imaging.budget import OutOfTime, bounded

MIB = 1024 * 1024
PLENTY = 4096 * MIB
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is held")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    limits, handler = resource.getrlimit(resource.RLIMIT_DATA), signal.getsignal(signal.SIGPROF)
    yield
    assert resource.getrlimit(resource.RLIMIT_DATA) == limits
    assert signal.getsignal(signal.SIGPROF) == handler
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def spin() -> None:
    """Busy for a minute of processor time, or until someone ends it."""
    started = time.process_time()
    while time.process_time() - started < 60:
        sum(range(1000))


def test_a_block_within_its_budget_does_what_it_does() -> None:
    with bounded(seconds=5, memory_bytes=PLENTY):
        assert len(bytes(MIB)) == MIB


def test_a_busy_block_is_ended_once_its_time_is_up() -> None:
    with pytest.raises(OutOfTime), bounded(seconds=1, memory_bytes=PLENTY):
        spin()


def test_the_time_of_one_block_is_not_taken_from_the_next() -> None:
    for _ in range(2):
        with bounded(seconds=1, memory_bytes=PLENTY):
            started = time.process_time()
            while time.process_time() - started < 0.6:
                sum(range(1000))


def test_what_takes_every_exception_for_a_fault_of_the_file_does_not_take_this_one() -> None:
    assert not issubclass(OutOfTime, Exception)

    def like_a_decoder() -> None:
        with suppress(Exception):
            spin()

    with pytest.raises(OutOfTime), bounded(seconds=1, memory_bytes=PLENTY):
        like_a_decoder()


@ON_LINUX
def test_an_allocation_over_the_bound_is_a_memory_error_and_one_below_is_not() -> None:
    with bounded(seconds=5, memory_bytes=256 * MIB):
        assert np.empty(128 * MIB, np.uint8).size
        with pytest.raises(MemoryError):
            np.empty(512 * MIB, np.uint8)
        assert np.empty(128 * MIB, np.uint8).size
    assert np.empty(512 * MIB, np.uint8).size


@ON_LINUX
def test_what_the_process_holds_already_does_not_count() -> None:
    held = bytearray(512 * MIB)
    with bounded(seconds=5, memory_bytes=64 * MIB):
        assert np.empty(32 * MIB, np.uint8).size
    assert len(held) == 512 * MIB


@ON_LINUX
def test_many_small_allocations_count_together() -> None:
    with pytest.raises(MemoryError), bounded(seconds=20, memory_bytes=128 * MIB):
        [bytearray(MIB) for _ in range(4096)]


@ON_LINUX
def test_a_narrower_limit_of_the_process_stays() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    held = budget._held_bytes()
    assert held is not None
    narrow = held + 128 * MIB
    resource.setrlimit(resource.RLIMIT_DATA, (narrow, before[1]))
    try:
        with bounded(seconds=5, memory_bytes=PLENTY):
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] == narrow
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] == narrow
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError, OutOfTime])
def test_both_bounds_are_lifted_whatever_the_block_raises(error: type[BaseException]) -> None:
    with pytest.raises(error), bounded(seconds=5, memory_bytes=PLENTY):
        raise error


def test_a_profiler_gets_its_signal_back() -> None:
    def profiler(*_: Any) -> None:
        """Of someone else."""

    before = signal.signal(signal.SIGPROF, profiler)
    try:
        with bounded(seconds=5, memory_bytes=PLENTY):
            assert signal.getsignal(signal.SIGPROF) is not profiler
        assert signal.getsignal(signal.SIGPROF) is profiler
    finally:
        signal.signal(signal.SIGPROF, before)


def test_outside_the_main_thread_only_memory_is_bounded() -> None:
    """Python lets no other thread set a timer."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            with bounded(seconds=1, memory_bytes=64 * MIB):
                started = time.thread_time()
                while time.thread_time() - started < 1.3:
                    sum(range(1000))
                np.empty(512 * MIB, np.uint8)
        except BaseException as error:  # noqa: BLE001 # seen by the thread that asks
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(raised) == (sys.platform == "linux")
    assert all(isinstance(error, MemoryError) for error in raised)


def test_where_nobody_tells_what_is_held_memory_has_no_bound(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for status in (tmp_path / "missing", tmp_path / "empty"):
        monkeypatch.setattr(budget, "_STATUS", status)
        with bounded(seconds=5, memory_bytes=1):
            assert np.empty(64 * MIB, np.uint8).size
        (tmp_path / "empty").write_text("Name:\tpython\n")
