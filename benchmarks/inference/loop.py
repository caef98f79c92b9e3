"""A contender without HTTP, in a process of its own: orders come in as lines, figures go out.

What the contender itself writes to its output, our stages' metrics and logs, costs what it costs
and goes nowhere.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

type Answers = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a contender does.

    Attributes:
        event: Works on an event of this many photos, each time on the next ones.
        answers: What the contender says of each photo.
    """

    event: Callable[[int], None]
    answers: Callable[[], Answers]


def serve(prepare: Callable[[], Work]) -> None:
    """Get ready, then work through the orders that come in, until there are no more."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    work = prepare()
    work.event(1)
    for line in sys.stdin:
        order = json.loads(line)
        reply = work.answers() if order["do"] == "answer" else run(work.event, **order["with"])
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def run(event: Callable[[int], None], *, size: int, seconds: float) -> dict[str, Any]:
    """Events of a size, one after the other, for so long; what `load.Slice` holds."""
    latencies_ms: list[float] = []
    cpu_from, wall_from = time.process_time(), time.perf_counter()
    now = wall_from
    while now - wall_from < seconds:
        before = now
        event(size)
        now = time.perf_counter()
        # Each photo has waited for the whole event.
        latencies_ms += [(now - before) * 1000] * size
    return {
        "wall_seconds": now - wall_from,
        "cpu_seconds": time.process_time() - cpu_from,
        "latencies_ms": latencies_ms,
    }


def rounds_of[T](items: Sequence[T]) -> Callable[[int], list[T]]:
    """Gives the next so many items, and begins anew at the end."""
    endless: Iterator[T] = itertools.cycle(items)
    return lambda count: list(itertools.islice(endless, count))
