"""From rounds to tables: medians, ratios with their spread, sizes, scores, memory."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

BASE = "naive"
# Of these the README tells the means: what today's telephones make.
LARGE_MEGAPIXELS = 12.0


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times cheaper than the base: of the medians, and of the rounds one by one."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, base: Sequence[float], cost: Sequence[float]) -> "Ratio":
        """Of the rounds of both, which took turns."""
        rounds = [one / other for one, other in zip(base, cost, strict=True)]
        return cls(
            median=statistics.median(base) / statistics.median(cost),
            low=min(rounds),
            high=max(rounds),
        )

    def __str__(self) -> str:
        return f"{self.median:.1f}x ({self.low:.1f} to {self.high:.1f})"


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photo that was measured."""

    name: str
    megapixels: float

    def __str__(self) -> str:
        return f"{self.name}, {self.megapixels:.1f} MP"

    @property
    def large(self) -> bool:
        """Whether it counts as one of a telephone's."""
        return round(self.megapixels) >= LARGE_MEGAPIXELS


# CPU milliseconds of every round, by contender.
type Rounds = Mapping[str, Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a heading, for a terminal or a page."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """As GitHub shows it; figures to the right."""
        heading, *body = ["| " + " | ".join(line) + " |" for line in (self.header, *self.rows)]
        rule = "|---|" + "---:|" * (len(self.header) - 1)
        return "\n".join([f"### {self.title}", "", heading, rule, *body])


def cost_table(title: str, costs: Mapping[Photo, Rounds]) -> Table:
    """CPU milliseconds, and how many times cheaper than the naive pipeline."""
    names = _names(costs.values())
    rows = [
        [str(photo), *(_cost(rounds, name) for name in names)] for photo, rounds in costs.items()
    ]
    large = {photo: rounds for photo, rounds in costs.items() if photo.large}
    if large:
        means = [f"{mean_ratio(large, name):.1f}x" if name != BASE else "1x" for name in names]
        rows.append([f"mean of {LARGE_MEGAPIXELS:.0f} MP", *means])
    return Table(title=title, header=["CPU ms", *names], rows=rows)


def mean_ratio(costs: Mapping[Photo, Rounds], name: str) -> float:
    """The geometric mean over photos."""
    return statistics.geometric_mean(
        Ratio.of(rounds[BASE], rounds[name]).median for rounds in costs.values()
    )


def size_table(
    title: str, sizes: Mapping[Photo, Mapping[str, Mapping[str, int]]], outputs: Sequence[str]
) -> Table:
    """The bytes of each output: kilobytes of the naive pipeline, percent of that of the others."""
    names = _names(sizes.values())
    rows = [
        [f"{photo}: {output}", *(_size(by_name, name, output) for name in names)]
        for photo, by_name in sizes.items()
        for output in outputs
    ]
    return Table(title=title, header=["kB", *names], rows=rows)


def score_table(
    title: str, scores: Mapping[Photo, Mapping[str, Mapping[str, float]]], outputs: Sequence[str]
) -> Table:
    """SSIMULACRA 2 of each output; a picture that is not the photo is called wrong."""
    names = _names(scores.values())
    rows = [
        [f"{photo}: {output}", *(_score(by_name.get(name, {}).get(output)) for name in names)]
        for photo, by_name in scores.items()
        for output in outputs
    ]
    return Table(title=title, header=["SSIMULACRA 2", *names], rows=rows)


def memory_table(peaks: Mapping[str, Mapping[str, int]]) -> Table:
    """Peak memory of a process above what it held before the job, by job and contender."""
    names = _names(peaks.values())
    rows = [
        [job, *(f"{by_name[name] / 1e6:.0f}" if name in by_name else "-" for name in names)]
        for job, by_name in peaks.items()
    ]
    return Table(title="Peak memory", header=["MB", *names], rows=rows)


def _names(tables: Iterable[Mapping[str, object]]) -> list[str]:
    """The contenders, in the order in which they come."""
    return list(dict.fromkeys(name for table in tables for name in table))


def _cost(rounds: Rounds, name: str) -> str:
    if name not in rounds:
        return "-"
    median = statistics.median(rounds[name])
    return (
        f"{median:.0f}" if name == BASE else f"{median:.0f}, {Ratio.of(rounds[BASE], rounds[name])}"
    )


def _size(by_name: Mapping[str, Mapping[str, int]], name: str, output: str) -> str:
    if output not in by_name.get(name, {}):
        return "-"
    base, size = by_name[BASE][output], by_name[name][output]
    return f"{size / 1000:.0f}" if name == BASE else f"{size / base:.0%}"


def _score(score: float | None) -> str:
    if score is None:
        return "-"
    return "wrong" if math.isinf(score) or score < 0 else f"{score:.1f}"
