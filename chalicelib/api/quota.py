"""How much one caller may ask for: so many requests in each window of time (docs/adr/0019).

Counted before anything that costs is done, and after all that a request can be refused for.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from chalicelib import telemetry
from chalicelib.aws.quota_table import QuotaTable
from chalicelib.clock import now_seconds
from chalicelib.errors import InvalidRequest, QuotaExceeded, ServiceUnavailable

# A row outlives its window by this, for processes whose clocks are late.
_KEPT_SECONDS = 300
# How many callers one process remembers while it has to count by itself.
_MOST_CALLERS = 10_000


@dataclass(kw_only=True)
class OwnCounts:
    """What callers used as far as this process knows: a substitute while DynamoDB is away.

    Of more callers than fit the first are forgotten.
    """

    begins: int = 0
    used: dict[str, int] = field(default_factory=dict)

    def spend(self, caller: str, cost: int, *, begins: int, limit: int) -> bool:
        """As `QuotaTable.spend`, in the window that begins then."""
        if begins != self.begins:
            self.begins, self.used = begins, {}
        used = self.used.pop(caller, 0)
        allowed = used + cost <= limit
        self.used[caller] = used + cost if allowed else used
        if len(self.used) > _MOST_CALLERS:
            del self.used[next(iter(self.used))]
        return allowed


@dataclass(frozen=True, kw_only=True)
class Quota:
    """The quota of every caller.

    Windows begin at multiples of their length, the same for all callers.

    Args:
        table: Where it is counted.
        secret: Keys the hash of callers; asked once, when the first one is counted. The addresses
            of IPv4 are so few that a hash without a key is as good as plain.
        requests: How many a window.
        seconds: Length of a window.
        clock: Unix seconds.
    """

    table: QuotaTable
    secret: Callable[[], str]
    requests: int
    seconds: int
    clock: Callable[[], int] = now_seconds
    own: OwnCounts = field(default_factory=OwnCounts)

    def charge(self, caller: str, cost: int = 1) -> None:
        """Count a request.

        Where DynamoDB does not answer, this process counts by itself: each caller then gets up to
        its quota from each process, and an alarm goes off.

        Args:
            caller: Who asks, `chalicelib.api.callers`.
            cost: For how many requests it counts.

        Raises:
            QuotaExceeded: The caller has not so much left in this window.
            InvalidRequest: No window has room for so much.
        """
        if cost > self.requests:
            raise InvalidRequest(
                f"This counts as {cost} requests, and {self.requests} are allowed in "
                f"{self.seconds} seconds; send fewer at once."
            )
        now = self.clock()
        begins = now - now % self.seconds
        ends = begins + self.seconds
        try:
            allowed = self.table.spend(
                self._key(caller, begins),
                cost,
                limit=self.requests,
                expires_at=ends + _KEPT_SECONDS,
            )
        except ServiceUnavailable as error:
            telemetry.logger().error("the quota is counted in this process alone: %s", error)
            telemetry.count("quota", QuotaUncounted=1)
            allowed = self.own.spend(caller, cost, begins=begins, limit=self.requests)
        if not allowed:
            telemetry.count("quota", QuotaExceeded=1)
            raise QuotaExceeded(ends - now, requests=self.requests, seconds=self.seconds)

    def _key(self, caller: str, begins: int) -> str:
        hashed = hmac.new(self._secret, f"quota\n{caller}".encode(), hashlib.sha256).hexdigest()
        # With its length, so that windows of another setting begin anew.
        return f"{hashed}#{self.seconds}#{begins}"

    @cached_property
    def _secret(self) -> bytes:
        return self.secret().encode()
