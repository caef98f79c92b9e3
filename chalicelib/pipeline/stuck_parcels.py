"""Parcels in transit that nothing was heard of for days."""

from collections.abc import Callable
from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.aws.event_bus import EventBus
from chalicelib.aws.parcel_index import ParcelIndex
from chalicelib.clock import now_ms
from chalicelib.flags import Config
from chalicelib.parcels import Parcel, ParcelStatus

EVENT = "Parcel Stuck"

_DAY_MS = 86_400_000
# Longer than one report takes, and less than the 5 minutes to the next check.
_LEASE_MS = 120_000


@dataclass(frozen=True, kw_only=True)
class StuckParcels:
    """Reports each of them once a day.

    A parcel is marked before its event goes out, for two minutes, and after it, for the day. So two
    checks at once send one event, and a check that dies in between is made good by the next. Dies
    it after the event and before the second mark, the event goes out twice, with the same
    ``event_id``.

    Args:
        index: Finds and marks parcels.
        bus: Takes the events.
        config: The numbers in force.
        now_ms: The time, in milliseconds since the Unix epoch.
    """

    index: ParcelIndex
    bus: EventBus
    config: Callable[[], Config]
    now_ms: Callable[[], int] = now_ms

    def __call__(self) -> None:
        """Report all that were not reported today; none where `stuck_parcel_days` is 0.

        Raises:
            ServiceUnavailable: AWS did not answer; what is left is reported next time.
        """
        days = self.config().stuck_parcel_days
        if not days:
            return
        started = self.now_ms()
        before, today = started - days * _DAY_MS, started // _DAY_MS
        for tracking_id in self.index.silent(ParcelStatus.IN_TRANSIT, before_ms=before):
            parcel = self.index.claim_report(
                tracking_id,
                ParcelStatus.IN_TRANSIT,
                before_ms=before,
                day=today,
                now_ms=self.now_ms(),
                lease_ms=_LEASE_MS,
            )
            if parcel is not None:
                self._report(parcel, days=days, today=today)

    def _report(self, parcel: Parcel, *, days: int, today: int) -> None:
        self.bus.publish(
            EVENT,
            {
                "event_id": f"{parcel.tracking_id}#{today}",
                "tracking_id": parcel.tracking_id,
                "status": parcel.status.value,
                "last_update_at": parcel.last_update_at,
                "stuck_parcel_days": days,
            },
        )
        self.index.settle_report(parcel.tracking_id, day=today)
        telemetry.count("check", StuckParcels=1)
        telemetry.logger().warning(
            "nothing was heard of a parcel for %s days", days, tracking_id=parcel.tracking_id
        )
