"""What stands in the queues: frozen, versioned, to and from JSON."""

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chalicelib.errors import MessageRejected
from chalicelib.models import REFERENCE_PATTERN


@dataclass(frozen=True, kw_only=True)
class ImageMessage:
    """One image, one step, one attempt.

    Attributes:
        image_id: The row that this is about.
        generation: The object version that the work is for.
        attempt: The attempt that the work belongs to.
        queued_at_ms: When it was sent, in milliseconds since the Unix epoch.
        model: Which model is to answer, ``NAME@VERSION`` or ``default``; None for the active one.
        remade: Whether the model's input is made anew for an image that was prepared before.
        version: Of this format. A reader refuses what it does not know.
    """

    image_id: str
    generation: str
    attempt: int
    queued_at_ms: int
    model: Annotated[str, Meta(pattern=REFERENCE_PATTERN)] | None = None
    remade: bool = False
    version: Literal[1] = 1


def encode(message: ImageMessage) -> str:
    """The message as JSON text."""
    return msgspec.json.encode(message).decode()


def decode(body: str) -> ImageMessage:
    """The message in a queue message's body.

    Raises:
        MessageRejected: The body is no JSON, or not of this format and version.
    """
    try:
        return msgspec.json.decode(body, type=ImageMessage)
    # Half a character cannot be encoded, and nesting without end is no message either.
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise MessageRejected(
            "The queue message could not be read.", detail=f"unreadable message: {error}"
        ) from None
