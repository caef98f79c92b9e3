"""Parcels and their updates as clients see them.

Whom a parcel's changes are told to is shown to nobody: the address belongs to the recipient, not to
everyone who may ask for the parcel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from chalicelib.api import exact
from chalicelib.api.image_view import ImageView
from chalicelib.images import Image
from chalicelib.parcels import Location, Parcel, Update, distance_m


@dataclass(frozen=True, kw_only=True)
class TrackingView:
    """Shows parcels.

    Args:
        photos: Shows the photos that prove them.
    """

    photos: ImageView

    def current(
        self, parcel: Parcel, photos: Mapping[str, Image], *, now_ms: int | None
    ) -> dict[str, Any]:
        """How a parcel stands.

        Args:
            parcel: Its state.
            photos: Those that are known, by their ids.
            now_ms: If given, what is shown says how long nothing was heard of it.
        """
        shown: dict[str, Any] = {
            "status": parcel.status.value,
            "location": _place(parcel.location),
            "timestamp": parcel.update_timestamp,
            "occurred_at": parcel.occurred_at,
            "status_changed_at": parcel.status_changed_at,
            **self._proof(parcel.image_id, photos),
        }
        if now_ms is not None:
            shown["seconds_since_last_update"] = max(0, now_ms - parcel.last_update_at) / 1000
        return shown

    def history(
        self, updates: Sequence[Update], photos: Mapping[str, Image], *, enhanced: bool
    ) -> list[dict[str, Any]]:
        """Updates, newest first.

        Args:
            updates: Newest first, without a gap.
            photos: Those that are known, by their ids.
            enhanced: Whether each says how far and how long the step from the one before was.
        """
        shown = []
        for update, before in zip_longest(updates, updates[1:]):
            entry: dict[str, Any] = {
                "timestamp": update.timestamp,
                "occurred_at": update.occurred_at,
                "status": update.status.value,
                "location": _place(update.location),
                **self._proof(update.image_id, photos),
            }
            if update.metadata is not None:
                entry["metadata"] = exact.read(update.metadata)
            if enhanced:
                entry |= step_between(before, update)
            shown.append(entry)
        return shown

    def _proof(self, image_id: str | None, photos: Mapping[str, Image]) -> dict[str, Any]:
        if image_id is None:
            return {}
        # A photo that was deleted since leaves its id.
        photo = photos.get(image_id)
        shown = {} if photo is None else {"image": self.photos.in_brief(photo)}
        return {"image_id": image_id, **shown}


def step_between(before: Update | None, update: Update) -> dict[str, Any]:
    """How far and how long it was from the update received before; nothing for the first."""
    if before is None:
        return {}
    return {
        "distance_m": round(distance_m(before.location, update.location), 1),
        "seconds_since_last_update": (update.timestamp - before.timestamp) / 1000,
    }


def _place(location: Location) -> dict[str, Any]:
    return {"lat": location.lat, "lng": location.lng}
