"""Parcels: what is reported of them, and which report says how a parcel stands.

Pure: no AWS, no clock, no I/O.

    update ─► history (every one, under its own timestamp)
         └──► the parcel's current state, if nothing that happened later is known

One item an update, and one for the parcel, lie under the same ``tracking_id`` in
the tracking table, and are written in one transaction:

- an update: range key ``timestamp``, the server's milliseconds, unique within the parcel;
  ``status``, ``location`` ``{lat, lng}``, ``occurred_at``, ``update_id``, and where given
  ``metadata`` (JSON text), ``image_id``, ``notify_email``;
- the parcel: range key 0, which no update can have; the fields of `Parcel` by their names, and
  ``status_shard`` and ``last_update_at`` for the index. ``version`` rises at every write, so that
  two updates at once are taken in one after the other. ``change_seq`` rises by 1 where the current
  status becomes another, and nowhere else: a record of the table's stream whose new image has
  range key 0 and a higher ``change_seq`` than its old one (or no old one) is one change of status,
  and ``tracking_id#change_seq`` names it for ever.

What counts as later: the update with the higher ``occurred_at``; at the same ``occurred_at`` the
one with the status that is further along: pending, in_transit, failed, delivered. So the same
updates give the same current status in whatever order they arrive. A parcel that is delivered or
failed goes back on its way only by something that happened at least a millisecond later. An update
with the same time and the same status replaces what the parcel says of the place.
"""

import math
import uuid
import zlib
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum


class ParcelStatus(StrEnum):
    """Where a parcel is on its way."""

    PENDING = "pending"
    IN_TRANSIT = "in_transit"
    FAILED = "failed"
    DELIVERED = "delivered"

    @property
    def rank(self) -> int:
        """How far along; decides between updates that happened at the same time."""
        return list(ParcelStatus).index(self)

    @property
    def final(self) -> bool:
        """Whether nothing is expected to follow."""
        return self in {ParcelStatus.FAILED, ParcelStatus.DELIVERED}


@dataclass(frozen=True, kw_only=True)
class Location:
    """A place: degrees north and east, exactly as they were sent."""

    lat: Decimal
    lng: Decimal


@dataclass(frozen=True, kw_only=True)
class Update:
    """One report about a parcel.

    Attributes:
        tracking_id: Whose.
        update_id: Of this report; the same when a request is tried again.
        timestamp: When it was received, in milliseconds since the Unix epoch; unique in a parcel.
        occurred_at: When it happened, likewise.
        metadata: A JSON object as text, exactly as it was sent.
        image_id: The photo that proves it.
        notify_email: Who is told when the status changes.
    """

    tracking_id: str
    update_id: str
    timestamp: int
    occurred_at: int
    status: ParcelStatus
    location: Location
    metadata: str | None = None
    image_id: str | None = None
    notify_email: str | None = None


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """How a parcel stands: the range key 0 under its ``tracking_id``.

    Attributes:
        status: By the latest update.
        location: Likewise.
        occurred_at: When that update happened, in milliseconds since the Unix epoch.
        update_timestamp: The key of that update.
        status_changed_at: The ``occurred_at`` of the update that made the status what it is.
        change_seq: How often the status became another; the first one counts.
        version: How many updates were taken in.
        last_update_at: When the last update of any kind was received, in milliseconds.
        notify_email: The address given last, in the order of ``occurred_at``.
        notify_email_at: The ``occurred_at`` of the update that gave it.
        image_id: The photo given last, likewise.
        image_at: The ``occurred_at`` of the update that gave it.
    """

    tracking_id: str
    status: ParcelStatus
    location: Location
    occurred_at: int
    update_timestamp: int
    status_changed_at: int
    change_seq: int
    version: int
    last_update_at: int
    notify_email: str | None = None
    notify_email_at: int | None = None
    image_id: str | None = None
    image_at: int | None = None


def taken_in(parcel: Parcel | None, update: Update) -> Parcel:
    """How a parcel stands after an update, or how it begins with its first."""
    if parcel is None:
        return Parcel(
            tracking_id=update.tracking_id,
            status=update.status,
            location=update.location,
            occurred_at=update.occurred_at,
            update_timestamp=update.timestamp,
            status_changed_at=update.occurred_at,
            change_seq=1,
            version=1,
            last_update_at=update.timestamp,
            notify_email=update.notify_email,
            notify_email_at=None if update.notify_email is None else update.occurred_at,
            image_id=update.image_id,
            image_at=None if update.image_id is None else update.occurred_at,
        )
    parcel = replace(
        parcel,
        version=parcel.version + 1,
        last_update_at=max(parcel.last_update_at, update.timestamp),
    )
    if update.notify_email is not None and update.occurred_at >= (parcel.notify_email_at or 0):
        parcel = replace(
            parcel, notify_email=update.notify_email, notify_email_at=update.occurred_at
        )
    if update.image_id is not None and update.occurred_at >= (parcel.image_at or 0):
        parcel = replace(parcel, image_id=update.image_id, image_at=update.occurred_at)
    if not is_later(update, parcel):
        return parcel
    changed = update.status is not parcel.status
    return replace(
        parcel,
        status=update.status,
        location=update.location,
        occurred_at=update.occurred_at,
        update_timestamp=update.timestamp,
        status_changed_at=update.occurred_at if changed else parcel.status_changed_at,
        change_seq=parcel.change_seq + changed,
    )


def is_later(update: Update, parcel: Parcel) -> bool:
    """Whether an update says how the parcel stands now: see the order at the top."""
    return (update.occurred_at, update.status.rank) >= (parcel.occurred_at, parcel.status.rank)


def new_update_id(received_at: int) -> str:
    """An id for a request that came at this millisecond, which stands in it.

    So whoever takes the request up again after a crash knows under which timestamp to look for
    what the first try wrote.
    """
    return f"{received_at:013d}-{uuid.uuid4().hex}"


def part_of(update_id: str, number: int) -> str:
    """The id of one of the updates of a request, each a millisecond after the one before."""
    received, _, rest = update_id.partition("-")
    return f"{int(received) + number:013d}-{rest}-{number}"


def received_at(update_id: str) -> int:
    """The millisecond in an id."""
    return int(update_id.partition("-")[0])


# The mean radius of the Earth, R1 of the IUGG (H. Moritz, Geodetic Reference System 1980,
# Journal of Geodesy 74, 2000).
_EARTH_RADIUS_M = 6_371_008.8


def distance_m(one: Location, other: Location) -> float:
    """Metres between two places along the surface, on a sphere: within 0.6 % of the truth.

    The haversine formula, as in R. W. Sinnott, Virtues of the Haversine, Sky and Telescope 68,
    1984: unlike the law of cosines it keeps its precision over a few metres.
    """
    lat1, lat2 = math.radians(one.lat), math.radians(other.lat)
    half_lat = (lat2 - lat1) / 2
    half_lng = math.radians(other.lng - one.lng) / 2
    haversine = math.sin(half_lat) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin(half_lng) ** 2
    # Rounding may carry the haversine of opposite points beyond 1.
    return 2 * _EARTH_RADIUS_M * math.asin(math.sqrt(min(1.0, haversine)))


def shard_of(tracking_id: str, shards: int) -> int:
    """Which of the index's hash keys a parcel falls under; one a status would be too hot."""
    return zlib.crc32(tracking_id.encode()) % shards


def change_id(parcel: Parcel) -> str:
    """The name of the change that made the parcel's status what it is; the same for ever."""
    return f"{parcel.tracking_id}#{parcel.change_seq}"
