"""What stands in the queues: frozen, versioned, to and from JSON."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chalicelib.errors import MessageRejected
from chalicelib.images import Image
from chalicelib.models import REFERENCE_PATTERN
from chalicelib.parcels import Location, ParcelStatus

# Where messages lie that were given up (docs/adr/0001).
LETTERS_PREFIX = "dead-letters/"


@dataclass(frozen=True, kw_only=True)
class ImageMessage:
    """One image, one step, one attempt.

    Attributes:
        image_id: The row that this is about.
        generation: The object version that the work is for.
        attempt: The attempt that the work belongs to.
        queued_at_ms: When it was sent, in milliseconds since the Unix epoch.
        renditions: Names of renditions to make of an image that is long done; none in the
            ordinary way of an image.
        model: Which model is to answer, ``NAME@VERSION`` or ``default``; None for the active one.
        remade: Whether the model's input is made anew for an image that was prepared before.
        version: Of this format. A reader refuses what it does not know.
    """

    image_id: str
    generation: str
    attempt: int
    queued_at_ms: int
    renditions: tuple[str, ...] = ()
    model: Annotated[str, Meta(pattern=REFERENCE_PATTERN)] | None = None
    remade: bool = False
    version: Literal[1] = 1

    @property
    def about(self) -> Mapping[str, str]:
        """What log lines about it carry."""
        return {"image_id": self.image_id}


@dataclass(frozen=True, kw_only=True)
class NotificationMessage:
    """One change of a parcel's status that somebody wants to be told of.

    It holds what the e-mail says: by the time it is sent the parcel may be further.

    Attributes:
        tracking_id: Whose status changed.
        change_seq: Which of its changes this is.
        status: What it became.
        location: Where.
        occurred_at: When, in milliseconds since the Unix epoch.
        email: Who is told.
        image_id: The photo that proves it.
        queued_at_ms: When it was first sent, in milliseconds since the Unix epoch.
        waits: How often it was put back to wait for the photo.
        version: Of this format. A reader refuses what it does not know.
    """

    tracking_id: str
    change_seq: int
    status: ParcelStatus
    location: Location
    occurred_at: int
    email: str
    image_id: str | None = None
    queued_at_ms: int
    waits: int = 0
    version: Literal[1] = 1

    @property
    def notification_id(self) -> str:
        """The name of the change: `chalicelib.parcels.change_id`."""
        return f"{self.tracking_id}#{self.change_seq}"

    @property
    def about(self) -> Mapping[str, str]:
        """What log lines about it carry; never the address."""
        return {"tracking_id": self.tracking_id}


def message_about(image: Image, *, now_ms: int, attempt: int | None = None) -> ImageMessage:
    """The message that an image needs to go on from where it stands.

    Args:
        image: An image whose upload was accepted.
        now_ms: Milliseconds since the Unix epoch.
        attempt: The one that it opens, where that is not the image's own.
    """
    return ImageMessage(
        image_id=image.image_id,
        generation=image.generation or "",
        attempt=image.attempt if attempt is None else attempt,
        queued_at_ms=now_ms,
        model=image.model,
    )


def dead_letter_key(step: str, message_id: str) -> str:
    """Where a dead letter is kept; the same letter always in the same place."""
    return f"{LETTERS_PREFIX}{step}/{re.sub(r'[^A-Za-z0-9-]', '_', message_id)}.json"


def encode(message: ImageMessage | NotificationMessage) -> str:
    """The message as JSON text."""
    # In ASCII: SQS refuses a body with U+FFFE or U+FFFF in it, which a tracking_id may have.
    return json.dumps(msgspec.to_builtins(message), separators=(",", ":"))


def decode(body: str) -> ImageMessage:
    """The message about an image in a queue message's body.

    Raises:
        MessageRejected: The body is no JSON, or not of this format and version.
    """
    return _decoded(body, ImageMessage)


def decode_notification(body: str) -> NotificationMessage:
    """The notification in a queue message's body.

    Raises:
        MessageRejected: The body is no JSON, or not of this format and version.
    """
    return _decoded(body, NotificationMessage)


def _decoded[M](body: str, kind: type[M]) -> M:
    try:
        return msgspec.json.decode(body, type=kind)
    # Half a character cannot be encoded, and nesting without end is no message either.
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise MessageRejected(
            "The queue message could not be read.", detail=f"unreadable message: {error}"
        ) from None
