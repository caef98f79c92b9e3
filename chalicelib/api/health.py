"""``GET /health``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib import telemetry
from chalicelib.api.http import Answer
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
