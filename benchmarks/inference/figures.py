"""From slices to rows: medians, spreads, percentiles, and whether all said the same."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from benchmarks.inference.load import Slice


class Disagreement(Exception):
    """Contenders gave different answers, so their times say nothing."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The median of all rounds, and the lowest and the highest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(median=statistics.median(values), low=min(values), high=max(values))

    def text(self, digits: int) -> str:
        """For a table: ``12.3 (11.9 to 14.0)``."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contender under one load, over all rounds.

    Attributes:
        load: Photos at a time.
        cpu_ms: CPU time of an image, over its processes.
        images_a_second: Throughput.
        p50_ms: What half of all images took at most.
        p99_ms: What 99 of 100 images took at most.
        memory_mb: The most that its processes held.
    """

    contender: str
    load: int
    cpu_ms: Spread
    images_a_second: Spread
    p50_ms: float
    p99_ms: float
    memory_mb: float


def row_of(contender: str, load: int, slices: Sequence[Slice], memory_mb: float) -> Row:
    """The row of a contender's rounds; latencies of all rounds are one population."""
    latencies = sorted(latency for one in slices for latency in one.latencies_ms)
    return Row(
        contender=contender,
        load=load,
        cpu_ms=Spread.of([one.cpu_ms_an_image for one in slices]),
        images_a_second=Spread.of([one.images_a_second for one in slices]),
        p50_ms=percentile(latencies, 50),
        p99_ms=percentile(latencies, 99),
        memory_mb=memory_mb,
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed (nearest rank).

    Raises:
        ValueError: There is no value, or they are not in order.
    """
    if not ordered:
        raise ValueError("There is nothing to take a percentile of.")
    if any(left > right for left, right in pairwise(ordered)):
        raise ValueError("The values are not in order.")
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]


def ratios(upper: Sequence[Slice], lower: Sequence[Slice]) -> Spread:
    """CPU time of an image, one contender over another, round by round.

    Both ran within a second of each other in each round, so what disturbs the machine for longer
    than that is in both.
    """
    return Spread.of(
        [
            one.cpu_ms_an_image / other.cpu_ms_an_image
            for one, other in zip(upper, lower, strict=True)
        ]
    )


def check_agreement(answers: Mapping[str, Mapping[str, Any]], *, tolerance: float) -> None:
    """Compare what each contender said of each photo with what the first said.

    Args:
        answers: Of each contender, the result document of each photo.
        tolerance: How far the probability of the best class may be off. Reduced decoding and
            another order of scaling and cutting move it a little.

    Raises:
        Disagreement: Another model, another best class or another probability.
    """
    (first, expected), *others = answers.items()
    problems: list[str] = []
    for name, found in others:
        if set(found) != set(expected):
            problems.append(f"{name} answered for other photos than {first}")
            continue
        for photo, document in expected.items():
            same = (
                _identity(found[photo]) == _identity(document)
                and abs(found[photo]["probabilities"][0] - document["probabilities"][0])
                <= tolerance
            )
            if not same:
                problems.append(
                    f"{photo}: {first} says {_short(document)}, {name} {_short(found[photo])}"
                )
    if problems:
        raise Disagreement("; ".join(problems))


def table_of(rows: Sequence[Row], *, load: str) -> str:
    """The rows as a Markdown table."""
    cells = [
        [
            "contender",
            load,
            "CPU ms an image",
            "images/s",
            "p50 ms",
            "p99 ms",
            "peak MB",
        ],
        *(
            [
                row.contender,
                str(row.load),
                row.cpu_ms.text(2),
                row.images_a_second.text(0),
                f"{row.p50_ms:.1f}",
                f"{row.p99_ms:.1f}",
                f"{row.memory_mb:.0f}",
            ]
            for row in rows
        ),
    ]
    heading, *body = ["| " + " | ".join(line) + " |" for line in cells]
    return "\n".join([heading, "|---|" + "---:|" * (len(cells[0]) - 1), *body])


def _identity(document: Mapping[str, Any]) -> tuple[Any, ...]:
    model = document["model"]
    return (model["name"], model["version"], document["classes"][0])


def _short(document: Mapping[str, Any]) -> str:
    return f"{document['classes'][0]} {document['probabilities'][0]:.3f}"
