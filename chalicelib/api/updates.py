"""One update as a client sends it: checked, and ready to be kept."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from chalicelib.api import exact
from chalicelib.api.schemas import LOCATION, MAX_TIME_MS, TRACKING_UPDATE
from chalicelib.api.validation import Problem, check, is_number
from chalicelib.parcels import Location, ParcelStatus, Update, received_at

MAX_METADATA_BYTES = 2048
MAX_METADATA_LEVELS = 5
# How far ahead a device's clock may be. Further, and one report would outrank all to come.
MAX_AHEAD_MS = 5 * 60 * 1000


@dataclass(frozen=True, kw_only=True)
class NewUpdate:
    """A checked request for an update. See `Update` for the fields."""

    tracking_id: str
    status: ParcelStatus
    location: Location
    occurred_at: int | None
    metadata: str | None
    image_id: str | None
    notify_email: str | None

    def received(self, update_id: str) -> Update:
        """The update as it is to be kept, at the time that stands in its id."""
        timestamp = received_at(update_id)
        return Update(
            tracking_id=self.tracking_id,
            update_id=update_id,
            timestamp=timestamp,
            occurred_at=timestamp if self.occurred_at is None else self.occurred_at,
            status=self.status,
            location=self.location,
            metadata=self.metadata,
            image_id=self.image_id,
            notify_email=self.notify_email,
        )


def checked_update(body: Any, received: int) -> NewUpdate:
    """The update in a JSON body.

    Args:
        body: JSON data whose fractions are Decimals.
        received: When it came, in milliseconds since the Unix epoch.

    Raises:
        InvalidRequest: Names every field that is wrong.
    """
    check(body, TRACKING_UPDATE, *_more_problems(body, received))
    metadata = body.get("metadata")
    occurred_at = body.get("occurred_at")
    return NewUpdate(
        tracking_id=body["tracking_id"],
        status=ParcelStatus(body["status"]),
        location=Location(
            lat=Decimal(body["location"]["lat"]), lng=Decimal(body["location"]["lng"])
        ),
        occurred_at=None if occurred_at is None else int(occurred_at),
        metadata=None if metadata is None else exact.write(metadata),
        image_id=body.get("image_id"),
        notify_email=body.get("notify_email"),
    )


def _more_problems(body: Any, received: int) -> Iterator[Problem]:
    """What a schema cannot say."""
    if not isinstance(body, dict):
        return
    location = body.get("location")
    if isinstance(location, dict):
        for name, rule in LOCATION["properties"].items():
            value = location.get(name)
            if not is_number(value) or not rule["minimum"] <= value <= rule["maximum"]:
                continue
            if not exact.is_storable(value):
                yield f"location.{name}", f"must be {rule['description']}"
    occurred_at = body.get("occurred_at")
    if is_number(occurred_at) and received + MAX_AHEAD_MS < occurred_at < MAX_TIME_MS:
        yield "occurred_at", f"must not be more than {MAX_AHEAD_MS // 60_000} minutes ahead"
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and not _is_bounded(metadata):
        yield "metadata", f"must be {TRACKING_UPDATE['properties']['metadata']['description']}"


def _is_bounded(metadata: Mapping[str, Any]) -> bool:
    return (
        all(_is_plain(value, level) for value, level in _values(metadata, 1))
        and len(exact.write(metadata).encode()) <= MAX_METADATA_BYTES
    )


def _is_plain(value: Any, level: int) -> bool:
    if isinstance(value, dict):
        return level <= MAX_METADATA_LEVELS and "" not in value
    if isinstance(value, list):
        return level <= MAX_METADATA_LEVELS
    return not is_number(value) or exact.is_storable(value)


def _values(value: Any, level: int) -> Iterator[tuple[Any, int]]:
    """A value and everything in it, each with its level, down to one level too many."""
    yield value, level
    if level > MAX_METADATA_LEVELS:
        return
    for entry in value.values() if isinstance(value, dict) else value:
        if isinstance(entry, dict | list):
            yield from _values(entry, level + 1)
        else:
            yield entry, level
