"""``GET /health``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib import telemetry
from chalicelib.api.http import Answer
from chalicelib.aws.check_log import INTERVAL_SECONDS, CheckLog
from chalicelib.aws.queues import Queue
from chalicelib.clock import now_ms
from chalicelib.errors import ServiceUnavailable


@dataclass(frozen=True, kw_only=True)
class HealthApi:
    """Asks everything that the service depends on.

    Args:
        checks: Each raises `ServiceUnavailable` where its part is down, and
            may return facts to show.
    """

    checks: Mapping[str, Callable[[], Mapping[str, Any] | None]]

    def get(self) -> Answer:
        """200 where all is well, else 503 with the failing checks named."""
        results: dict[str, Any] = {}
        for name, check in self.checks.items():
            try:
                results[name] = {"status": "ok", **(check() or {})}
            except ServiceUnavailable as error:
                telemetry.logger().warning("health: %s: %s", name, error)
                results[name] = {"status": "failing"}
        failing = [name for name, result in results.items() if result["status"] != "ok"]
        body: dict[str, Any] = {"status": "degraded" if failing else "ok", "checks": results}
        if failing:
            body["failing"] = failing
        return Answer(status=503 if failing else 200, body=body)


@dataclass(frozen=True, kw_only=True)
class QueueFacts:
    """How full a queue is, and how many letters of its own nobody has taken in.

    Args:
        queue: The queue.
        dead_letters: Where its letters wait to be buried.
    """

    queue: Queue
    dead_letters: Queue

    def __call__(self) -> Mapping[str, Any]:
        """What `HealthApi` shows. Raises `ServiceUnavailable` where SQS does not answer."""
        level, letters = self.queue.level(), self.dead_letters.level()
        return {
            "waiting": level.waiting,
            "in_flight": level.in_flight,
            "dead_letters": letters.waiting + letters.in_flight,
        }


@dataclass(frozen=True, kw_only=True)
class CheckFacts:
    """When the scheduled check last ran, and what it found.

    Args:
        log: Where it is recorded.
        overdue_after: How many intervals after the last run it counts as failing; None where that
            says nothing, because the service itself stands still at times.
        now_ms: The time, in milliseconds since the Unix epoch.
    """

    log: CheckLog
    overdue_after: int | None
    now_ms: Callable[[], int] = now_ms

    def __call__(self) -> Mapping[str, Any]:
        """What `HealthApi` shows; a stack whose check never ran is new, and is well."""
        last = self.log.last()
        if last is None:
            return {"last_run": None}
        facts: dict[str, Any] = {
            "last_run": last.at_ms // 1000,
            "took_ms": last.took_ms,
            "found": dict(last.found),
        }
        if last.not_done:
            facts["not_done"] = list(last.not_done)
        age_seconds = (self.now_ms() - last.at_ms) / 1000
        if self.overdue_after is not None and age_seconds > self.overdue_after * INTERVAL_SECONDS:
            facts["status"] = "failing"
        return facts
