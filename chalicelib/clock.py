"""The time, in the units that this service keeps it in."""

import time


def now_seconds() -> int:
    """Whole seconds since the Unix epoch."""
    return int(time.time())


def now_ms() -> int:
    """Whole milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def elapsed_ms(since_ms: int) -> int:
    """Milliseconds since a moment that another machine's clock may have told; never negative."""
    return max(now_ms() - since_ms, 0)
