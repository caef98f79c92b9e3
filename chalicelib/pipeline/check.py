"""Every five minutes: what nobody waits for, and nobody would miss in time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.errors import DarkroomError


class CheckFailed(Exception):
    """Some parts of the check failed; the others were done."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """Runs every part of the check, whatever becomes of the others.

    Args:
        parts: What there is to look after, by name. Each may run twice at once.
    """

    parts: Mapping[str, Callable[[], None]]

    def __call__(self) -> None:
        """Run all parts.

        Raises:
            CheckFailed: At least one could not be done; Lambda tries again.
        """
        failed = []
        for name, part in self.parts.items():
            try:
                part()
            except DarkroomError:
                telemetry.logger().exception("check: %s failed", name)
                failed.append(name)
        if failed:
            raise CheckFailed(f"not done: {', '.join(failed)}")
        telemetry.count("check", Heartbeat=1)
