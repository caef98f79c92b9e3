"""Every five minutes: what nobody waits for, and nobody would miss in time."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from chalicelib import telemetry
from chalicelib.aws.check_log import CheckLog, Heartbeat
from chalicelib.clock import now_ms
from chalicelib.errors import DarkroomError, ServiceUnavailable
from chalicelib.images import Image

NAME = "check"


class CheckFailed(Exception):
    """Some parts of the check failed; the others were done."""


@dataclass(kw_only=True)
class Round:
    """One run of the check, as its parts see it.

    Args:
        places: Where earlier runs stopped, by the name of what they went through.
        now_ms: The time, in milliseconds since the Unix epoch.
        deadline_ms: When the part that runs has to stop.
    """

    places: dict[str, str]
    now_ms: Callable[[], int]
    deadline_ms: int = 0
    found: dict[str, int] = field(default_factory=dict)

    def pages(
        self, name: str, read: Callable[[str | None], tuple[list[Image], str | None]]
    ) -> Iterator[list[Image]]:
        """Go through a list from where the last run stopped, until its end or out of time.

        A page that could not be worked on is where the next run begins.

        Args:
            name: Of the list.
            read: Reads the page after a place, None for the first.
        """
        place = self.places.get(name)
        while self.now_ms() < self.deadline_ms:
            page, place = read(place)
            yield page
            if place is None:
                self.places.pop(name, None)
                return
            self.places[name] = place
        telemetry.logger().warning("check: out of time in %s; the next run goes on", name)

    def count(self, name: str, times: int = 1) -> None:
        """Remember that something was found."""
        self.found[name] = self.found.get(name, 0) + times


type Part = Callable[[Round], None]


@dataclass(frozen=True, kw_only=True)
class Check:
    """Runs every part of the check, whatever becomes of the others.

    Args:
        parts: What there is to look after, by name. Each may run twice at once.
        log: Where the run is recorded, for whoever looks after the check itself.
        seconds: How long a run may take. What a part does not use is left to those after it.
        now_ms: The time, in milliseconds since the Unix epoch.
    """

    parts: Mapping[str, Part]
    log: CheckLog
    seconds: int
    now_ms: Callable[[], int] = now_ms

    def __call__(self) -> None:
        """Run all parts, then record that they ran.

        Raises:
            CheckFailed: At least one could not be done; Lambda tries again.
            ServiceUnavailable: The run could not be recorded.
        """
        started = self.now_ms()
        this = Round(places=self._places(), now_ms=self.now_ms)
        not_done = []
        for place, (name, part) in enumerate(self.parts.items()):
            now = self.now_ms()
            left = max(started + self.seconds * 1000 - now, 0)
            this.deadline_ms = now + left // (len(self.parts) - place)
            try:
                part(this)
            except DarkroomError:
                telemetry.logger().exception("check: %s failed", name)
                not_done.append(name)
        ended = self.now_ms()
        self.log.write(
            Heartbeat(
                at_ms=ended,
                took_ms=ended - started,
                found=this.found,
                not_done=tuple(not_done),
                places=this.places,
            )
        )
        telemetry.count(NAME, Heartbeat=1)
        if not_done:
            raise CheckFailed(f"not done: {', '.join(not_done)}")

    def _places(self) -> dict[str, str]:
        try:
            last = self.log.last()
        except ServiceUnavailable as error:
            # Begins at the beginning: better than not at all.
            telemetry.logger().warning("check: where the last run stopped is not known: %s", error)
            return {}
        return {} if last is None else dict(last.places)
