"""Waiting for something to become true, with a deadline instead of luck."""

import time
from collections.abc import Callable


def eventually[T](ask: Callable[[], T | None], *, seconds: float, what: str) -> T:
    """What ``ask`` gives once it gives something; fails after the deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := ask():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")
