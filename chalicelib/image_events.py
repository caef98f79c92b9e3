"""What is announced of an image, and in which form: CloudEvents 1.0, as docs/events.md describes.

Pure. What happened is told by one write to the image's row, from what stood there before and after:

    on its way ─► completed, preprocessing_failed, inference_failed    completed, failed
    copies pending ─► completed, failed, skipped                       conversion_ended

A write that leaves the status as it was announces nothing, whatever else it changes: what a slower
step found out, a rendition of a back-fill, a retry of the copies alone. Nor does one that takes the
row away. Where preparing an image fails, its copies fail in the same write; ``failed`` says so.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from chalicelib.images import ConversionStatus, Failure, Image, Status

SPEC_VERSION = "1.0"
# Of ``data``. A change that old readers would stumble over is a new number.
DATA_SCHEMA = "urn:darkroom:image-event-data:1"
_TYPE_PREFIX = "darkroom.image."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(StrEnum):
    """What happened."""

    COMPLETED = "completed"
    FAILED = "failed"
    CONVERSION_ENDED = "conversion_ended"


@dataclass(frozen=True, kw_only=True)
class ImageEvent:
    """One end of one attempt of an image.

    Attributes:
        kind: Which end.
        image: The row as the write left it that this is about.
    """

    kind: Kind
    image: Image

    @property
    def event_id(self) -> str:
        """Always the same for the same end, so that whoever gets it twice can tell."""
        image = self.image
        named = (image.image_id, image.generation, str(image.attempt), self.kind, self._outcome)
        return hashlib.sha256("\n".join(map(str, named)).encode()).hexdigest()[:32]

    @property
    def type(self) -> str:
        """Its type, as subscribers name it."""
        return f"{_TYPE_PREFIX}{self.kind}"

    @property
    def attributes(self) -> Mapping[str, str]:
        """What a filter policy can go by."""
        about = "conversion_status" if self.kind is Kind.CONVERSION_ENDED else "status"
        return {"type": self.type, about: self._outcome}

    def envelope(self, stage: str) -> dict[str, Any]:
        """The event as JSON data.

        Args:
            stage: Whose image it is.
        """
        return {
            "specversion": SPEC_VERSION,
            "id": self.event_id,
            "source": f"/darkroom/{stage}/images",
            "type": self.type,
            "subject": self.image.image_id,
            "time": _rfc3339(self.image.updated_at_ms),
            "datacontenttype": "application/json",
            "dataschema": DATA_SCHEMA,
            "data": _data_of(self.image),
        }

    @property
    def _outcome(self) -> str:
        if self.kind is Kind.CONVERSION_ENDED:
            return self.image.conversion_status.value
        return self.image.status.value


def events_of(before: Image | None, after: Image | None) -> list[ImageEvent]:
    """What one write to an image's row has to be announced for; mostly nothing.

    Args:
        before: The image until then; None where there was none.
        after: The image from then on; None where it was deleted.
    """
    if before is None or after is None:
        return []
    found = []
    ended = after.status is not before.status and not before.status.final
    if ended and after.status is Status.COMPLETED:
        found.append(ImageEvent(kind=Kind.COMPLETED, image=after))
    elif ended and after.status.failed:
        found.append(ImageEvent(kind=Kind.FAILED, image=after))
    was_pending = before.conversion_status is ConversionStatus.PENDING
    if was_pending and after.conversion_status is not ConversionStatus.PENDING and not found:
        found.append(ImageEvent(kind=Kind.CONVERSION_ENDED, image=after))
    return found


def encode(envelope: Mapping[str, Any]) -> str:
    """An event as JSON text."""
    # In ASCII: SNS and SQS refuse a body with U+FFFE or U+FFFF in it, which a file's name may have.
    return json.dumps(envelope, separators=(",", ":"))


def _data_of(image: Image) -> dict[str, Any]:
    """The image in the words of ``GET /images/{image_id}``, without links: those run out."""
    data: dict[str, Any] = {
        "image_id": image.image_id,
        "generation": image.generation,
        "attempt": image.attempt,
        "status": image.status.value,
        "conversion_status": image.conversion_status.value,
        "created_at": image.created_at_ms // 1000,
        "original": {
            name: value
            for name, value in msgspec.to_builtins(image.original).items()
            if value is not None
        },
        "metadata": dict(image.metadata),
        "renditions": sorted(image.renditions),
        "formats": sorted(image.formats),
    }
    for name, failure in (("error", image.error), ("conversion_error", image.conversion_error)):
        if failure is not None:
            data[name] = _failure(failure)
    prediction = image.prediction
    # That of an earlier attempt says nothing of one that failed.
    if image.status is Status.COMPLETED and prediction is not None:
        data["results"] = {
            "classes": list(prediction.classes),
            "probabilities": list(prediction.probabilities),
            "confidence": prediction.probabilities[0],
        }
        data["model"] = {"name": prediction.model_name, "version": prediction.model_version}
    return data


def _failure(failure: Failure) -> dict[str, str]:
    return {"code": failure.code, "message": failure.message}


def _rfc3339(milliseconds: int) -> str:
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
