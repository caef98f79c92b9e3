"""What the pipeline takes: ``python -m operations.capacity``, from `costs.yaml`.

Two things: how much of each limit a rate of images uses up, and how the queues
go through a day with a spike, by a discrete-event simulation.

Convention: times and durations are seconds, rates are images a second.
"""

import argparse
import heapq
import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from operations.cost import FIGURES

PLOT = Path(__file__).parents[1] / "docs" / "images" / "capacity.svg"
RATES = (10, 100, 1000)
# Lambda reads a queue with five calls at once, and adds 300 a minute while messages wait:
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
_FIRST_CALLS = 5
_CALLS_A_MINUTE = 300
_MINUTE = 60.0
_DAY = 86_400.0
# Of the cohorts, one a minute is as much as the picture shows.
_SAMPLE = 60


# --- Limits -----------------------------------------------------------------------------------


def call_seconds(figures: Mapping[str, Any], photo: Mapping[str, Any], function: str) -> float:
    """How long a call of a function takes, with all images that come in one."""
    each = figures["per_image"]
    images = each["images_per_call"].get(function, 1)
    milliseconds = photo["cpu_ms"][function] * images + each["waiting_ms"][function]
    return float(milliseconds) / 1000


def calls_at_once(
    figures: Mapping[str, Any], photo: Mapping[str, Any], function: str, rate: float
) -> float:
    """How many calls of a function run at once (Little's law)."""
    each = figures["per_image"]
    calls: float = each["invocations"][function] / each["images_per_call"].get(function, 1)
    return rate * calls * call_seconds(figures, photo, function)


def used(figures: Mapping[str, Any], photo: Mapping[str, Any], rate: float) -> dict[str, float]:
    """What a rate of images takes of each limit in `costs.yaml`, in the limit's own unit."""
    each = figures["per_image"]
    at_once = {name: calls_at_once(figures, photo, name, rate) for name in each["invocations"]}
    return {
        "ApiRateLimit": rate * each["api_requests"],
        "PreprocessConcurrency": at_once["preprocess"],
        "InferConcurrency": at_once["infer"],
        "OptimiseConcurrency": at_once["optimise"],
        "Lambda: calls at once": sum(at_once.values()),
        "DynamoDB: write units of a table": rate * each["dynamodb_writes"],
        "DynamoDB: write units of a key": rate
        * each["index_writes_per_status"]
        / each["index_shards"],
        "S3: requests that write, under a prefix": rate * each["s3_puts_under_formats"],
        "API Gateway: requests": rate * each["api_requests"],
    }


def first_to_bind(figures: Mapping[str, Any], photo: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The limits, by the rate at which each is used up."""
    at_one = used(figures, photo, 1)
    rates = {name: entry["limit"] / at_one[name] for name, entry in figures["limits"].items()}
    return sorted(rates.items(), key=lambda found: found[1])


def limits_table(figures: Mapping[str, Any]) -> str:
    """How much of each limit is used, in percent, as a table in Markdown."""
    photos = figures["photos"]
    columns = [(name, rate) for rate in RATES for name in photos]
    lines = [
        f"| | limit | {' | '.join(f'{name}, {rate:,}/s' for name, rate in columns)} | to raise |",
        f"|---|---:|{'---:|' * len(columns)}---|",
    ]
    for limit, entry in figures["limits"].items():
        shares = [
            used(figures, photos[name], rate)[limit] / entry["limit"] for name, rate in columns
        ]
        cells = " | ".join(
            f"**{share:,.0%}**" if share > 1 else f"{share:,.0%}" for share in shares
        )
        lines.append(f"| {limit} | {entry['limit']:,} | {cells} | {entry['raise']} |")
    return "\n".join(lines)


# --- A day ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cohort:
    """Images that came in the same second.

    Args:
        arrived: When they came into the pipeline.
        images: How many they are.
    """

    arrived: float
    images: float


@dataclass(kw_only=True)
class Stage:
    """A queue and the function that reads it.

    Args:
        name: The function's.
        seconds: How long one call takes.
        images: How many images one call takes.
        calls: How many calls may run at once.
    """

    name: str
    seconds: float
    images: int
    calls: int
    waiting: deque[Cohort] = field(default_factory=deque)
    backlog: float = 0
    running: float = _FIRST_CALLS
    busy: bool = False

    def __post_init__(self) -> None:
        """A stage begins as Lambda does."""
        self.running = min(_FIRST_CALLS, self.calls)

    @property
    def rate(self) -> float:
        """What the calls that run now do."""
        return self.running * self.images / self.seconds

    def grow(self) -> None:
        """A second later: more calls while messages wait, fewer when none do."""
        if self.backlog > self.rate:
            self.running = min(self.calls, self.running + _CALLS_A_MINUTE / _MINUTE)
        elif not self.waiting:
            self.running = max(min(_FIRST_CALLS, self.calls), self.running - 1)


@dataclass
class Day:
    """What was seen: once a minute, and of each cohort.

    Args:
        backlog: Of each stage: the minute, and the images that wait.
        latency: Of each stage that ends: when images came, and how long they took.
    """

    backlog: dict[str, list[tuple[float, float]]]
    latency: dict[str, list[tuple[Cohort, float]]]

    def most(self, stage: str) -> float:
        """The longest backlog."""
        return max(images for _, images in self.backlog[stage])

    def slowest(self, stage: str) -> float:
        """The longest that an image took."""
        return max(seconds for _, seconds in self.latency[stage])

    def usual(self, stage: str) -> float:
        """What half of the images took at most."""
        found = sorted((seconds, cohort.images) for cohort, seconds in self.latency[stage])
        half = sum(images for _, images in found) / 2
        for seconds, images in found:
            half -= images
            if half <= 0:
                return seconds
        return 0

    def cleared(self, stage: str, spike: tuple[float, float]) -> float:
        """How long after the spike the backlog was as in the hour before; infinite if never."""
        began, ended = spike
        before = [images for at, images in self.backlog[stage] if began - 3600 <= at < began]
        for at, images in self.backlog[stage]:
            if at >= ended and images <= max(before):
                return at - ended
        return float("inf")


def stages(
    figures: Mapping[str, Any], photo: Mapping[str, Any], calls: Mapping[str, int]
) -> dict[str, Stage]:
    """The stages that read queues, at the concurrency that is given."""
    return {
        name: Stage(
            name=name,
            seconds=call_seconds(figures, photo, name),
            images=figures["per_image"]["images_per_call"].get(name, 1),
            calls=most,
        )
        for name, most in calls.items()
    }


def simulate(
    parts: Mapping[str, Stage],
    arrivals: Iterable[Cohort],
    follows: Mapping[str, Iterable[str]],
    until: float,
) -> Day:
    """Send cohorts through the stages.

    An event is a cohort that comes to a queue, a cohort that its function is
    done with, or a second that passes. A function takes up one cohort after
    the other, each for as long as its calls together need.

    Args:
        parts: By name; arrivals go to the first.
        arrivals: In order of time.
        follows: To which stages a stage sends what it is done with.
        until: When it ends.
    """
    first = next(iter(parts))
    order = itertools.count()
    events: list[tuple[float, int, Callable[[float], None]]] = []
    day = Day(
        backlog={name: [] for name in parts},
        latency={name: [] for name in parts if not follows.get(name)},
    )

    def at(when: float, what: Callable[[float], None]) -> None:
        heapq.heappush(events, (when, next(order), what))

    def come(name: str, cohort: Cohort) -> Callable[[float], None]:
        def happens(now: float) -> None:
            stage = parts[name]
            stage.waiting.append(cohort)
            stage.backlog += cohort.images
            begin(stage, now)

        return happens

    def begin(stage: Stage, now: float) -> None:
        if stage.busy or not stage.waiting:
            return
        stage.busy = True
        at(now + stage.waiting[0].images / stage.rate, lambda then: end(stage, then))

    def end(stage: Stage, now: float) -> None:
        cohort = stage.waiting.popleft()
        stage.backlog -= cohort.images
        stage.busy = False
        # The last of them began now, and its call takes its time.
        done = now + stage.seconds
        for name in follows.get(stage.name, ()):
            at(done, come(name, cohort))
        if stage.name in day.latency:
            day.latency[stage.name].append((cohort, done - cohort.arrived))
        begin(stage, now)

    def pass_second(now: float) -> None:
        for stage in parts.values():
            stage.grow()
            if now % _MINUTE == 0:
                day.backlog[stage.name].append((now, stage.backlog))
        if now < until:
            at(now + 1, pass_second)

    def arrive(source: Iterator[Cohort]) -> None:
        cohort = next(source, None)
        if cohort is not None:

            def happens(now: float) -> None:
                come(first, cohort)(now)
                arrive(source)

            at(cohort.arrived, happens)

    at(0.0, pass_second)
    arrive(iter(arrivals))
    while events and events[0][0] <= until:
        now, _, what = heapq.heappop(events)
        what(now)
    return day


FOLLOWS = {"preprocess": ("infer", "optimise")}


def a_day(day: Mapping[str, Any]) -> Iterator[Cohort]:
    """The second by second arrivals of the day in `costs.yaml`."""
    for second in range(int(_DAY)):
        spiking = day["spike_from"] <= second < day["spike_until"]
        yield Cohort(float(second), day["spike_rate"] if spiking else day["rate"])


def day_table(figures: Mapping[str, Any], days: Mapping[str, Day]) -> str:
    """Backlog and latency of each run, as a table in Markdown."""
    spike = figures["day"]["spike_from"], figures["day"]["spike_until"]
    heads = (
        "concurrency",
        "function",
        "longest backlog, images",
        "gone after the spike, minutes",
        "a result takes, median",
        "at worst",
    )
    lines = [f"| {' | '.join(heads)} |", "|---|---|---:|---:|---:|---:|"]
    for name, day in days.items():
        for stage in day.backlog:
            cleared = day.cleared(stage, spike)
            gone = "never" if cleared == float("inf") else f"{cleared / _MINUTE:.0f}"
            took = (
                f"{_duration(day.usual(stage))} | {_duration(day.slowest(stage))}"
                if stage in day.latency
                else " | "
            )
            lines.append(f"| {name} | {stage} | {day.most(stage):,.0f} | {gone} | {took} |")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 2 * _MINUTE:
        return f"{seconds:.1f} s"
    return f"{seconds / _MINUTE:.0f} min"


def days(figures: Mapping[str, Any]) -> dict[str, Day]:
    """The day, with each setting of concurrency."""
    photo = figures["photos"][figures["day"]["photo"]]
    return {
        name: simulate(stages(figures, photo, calls), a_day(figures["day"]), FOLLOWS, until=_DAY)
        for name, calls in figures["day"]["concurrency"].items()
    }


def plot(found: Mapping[str, Day], path: Path) -> None:
    """Draw backlog and latency of each run over the day."""
    import matplotlib as mpl  # noqa: PLC0415 the tables need no plotting library

    mpl.use("svg")
    import matplotlib.pyplot as plt  # noqa: PLC0415 after the backend was chosen

    mpl.rcParams.update({"svg.hashsalt": "darkroom", "font.size": 8})
    figure, axes = plt.subplots(2, len(found), figsize=(10, 5), sharex=True, squeeze=False)
    for column, (name, day) in enumerate(found.items()):
        above, below = axes[0][column], axes[1][column]
        above.set_title(name)
        for number, (stage, seen) in enumerate(day.backlog.items()):
            spans = list(itertools.batched(seen, 5))
            hours = [span[0][0] / 3600 for span in spans]
            most = [max(1, *(images for _, images in span)) for span in spans]
            above.semilogy(hours, most, color=f"C{number}", label=stage)
            if stage in day.latency:
                sampled = day.latency[stage][::_SAMPLE]
                hours = [cohort.arrived / 3600 for cohort, _ in sampled]
                took = [seconds for _, seconds in sampled]
                # Dashed for copies, so that the line of predictions shows through.
                style = "-" if stage == "infer" else "--"
                below.semilogy(hours, took, style, color=f"C{number}", label=stage)
        above.set_ylabel("images that wait, most in 5 min")
        below.set_ylabel("seconds until the result")
        below.set_xlabel("hour of the day")
        above.legend()
        below.legend()
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})


def main() -> int:
    """Print the tables, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, default=PLOT, help="where the picture goes")
    arguments = parser.parse_args()
    figures = yaml.safe_load(FIGURES.read_text())
    print(limits_table(figures), end="\n\n")
    for name, photo in figures["photos"].items():
        limit, rate = first_to_bind(figures, photo)[0]
        print(f"{name}: {limit} binds first, at {rate:,.0f} images a second.")
    found = days(figures)
    print(f"\n{day_table(figures, found)}")
    plot(found, arguments.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
