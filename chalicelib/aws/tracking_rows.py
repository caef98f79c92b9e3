"""Updates and parcels as items of the tracking table, there and back."""

from collections.abc import Mapping
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from chalicelib.parcels import Location, Parcel, ParcelStatus, Update, shard_of

# The range key of a parcel's own item; every update's is above it.
PARCEL_KEY = 0


def item_of_update(update: Update) -> dict[str, Any]:
    """The item of an update."""
    return _known(
        {
            "tracking_id": update.tracking_id,
            "timestamp": update.timestamp,
            "update_id": update.update_id,
            "occurred_at": update.occurred_at,
            "status": update.status.value,
            "location": {"lat": update.location.lat, "lng": update.location.lng},
            "metadata": update.metadata,
            "image_id": update.image_id,
            "notify_email": update.notify_email,
        }
    )


def update_of(item: Mapping[str, Any]) -> Update:
    """The update of an item."""
    return Update(
        tracking_id=str(item["tracking_id"]),
        timestamp=int(item["timestamp"]),
        update_id=str(item["update_id"]),
        occurred_at=int(item["occurred_at"]),
        status=ParcelStatus(str(item["status"])),
        location=_location(item),
        metadata=_text(item, "metadata"),
        image_id=_text(item, "image_id"),
        notify_email=_text(item, "notify_email"),
    )


def item_of_parcel(parcel: Parcel, *, shards: int) -> dict[str, Any]:
    """The item of a parcel's state."""
    return _known(
        {
            "tracking_id": parcel.tracking_id,
            "timestamp": PARCEL_KEY,
            "status_shard": status_shard(parcel.tracking_id, parcel.status, shards),
            "status": parcel.status.value,
            "location": {"lat": parcel.location.lat, "lng": parcel.location.lng},
            "occurred_at": parcel.occurred_at,
            "update_timestamp": parcel.update_timestamp,
            "status_changed_at": parcel.status_changed_at,
            "change_seq": parcel.change_seq,
            "version": parcel.version,
            "last_update_at": parcel.last_update_at,
            "notify_email": parcel.notify_email,
            "notify_email_at": parcel.notify_email_at,
            "image_id": parcel.image_id,
            "image_at": parcel.image_at,
        }
    )


def parcel_of(item: Mapping[str, Any]) -> Parcel:
    """The parcel of an item with the range key `PARCEL_KEY`."""
    return Parcel(
        tracking_id=str(item["tracking_id"]),
        status=ParcelStatus(str(item["status"])),
        location=_location(item),
        occurred_at=int(item["occurred_at"]),
        update_timestamp=int(item["update_timestamp"]),
        status_changed_at=int(item["status_changed_at"]),
        change_seq=int(item["change_seq"]),
        version=int(item["version"]),
        last_update_at=int(item["last_update_at"]),
        notify_email=_text(item, "notify_email"),
        notify_email_at=_number(item, "notify_email_at"),
        image_id=_text(item, "image_id"),
        image_at=_number(item, "image_at"),
    )


def parcel_in_stream(image: Mapping[str, Any] | None) -> Parcel | None:
    """The parcel in an image of a stream record; None where there is none, or it is an update's.

    Args:
        image: ``NewImage`` or ``OldImage``, in the wire's form.
    """
    if not image or int(image["timestamp"]["N"]) != PARCEL_KEY:
        return None
    deserialize = TypeDeserializer().deserialize
    return parcel_of({name: deserialize(value) for name, value in image.items()})


def status_shard(tracking_id: str, status: ParcelStatus, shards: int) -> str:
    """The hash key of a parcel in the index by status."""
    return f"{status}#{shard_of(tracking_id, shards)}"


def _known(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if value is not None}


def _location(item: Mapping[str, Any]) -> Location:
    return Location(lat=item["location"]["lat"], lng=item["location"]["lng"])


def _text(item: Mapping[str, Any], name: str) -> str | None:
    return None if item.get(name) is None else str(item[name])


def _number(item: Mapping[str, Any], name: str) -> int | None:
    return None if item.get(name) is None else int(item[name])
