"""An image as clients see it."""

from dataclasses import dataclass
from typing import Any

import msgspec

from chalicelib.aws.object_store import ObjectStore
from chalicelib.images import Image, Status, StoredCopy

# Shown of a copy where they are known.
_DETAILS = ("quality", "encoder", "encoding_ms", "bytes_saved", "frames")


@dataclass(frozen=True, kw_only=True)
class ImageView:
    """Shows images.

    Args:
        renditions: Where results lie.
        link_seconds: How long a link to them works.
        cdn_url: Where a CDN serves them; signed links to the bucket where there is none.
    """

    renditions: ObjectStore
    link_seconds: int
    cdn_url: str = ""

    def shown(self, image: Image) -> dict[str, Any]:
        """The JSON of ``GET /images/{image_id}``; what is not known yet is left out."""
        shown: dict[str, Any] = {
            "image_id": image.image_id,
            "status": image.status.value,
            "conversion_status": image.conversion_status.value,
            "created_at": image.created_at_ms // 1000,
            "last_updated": image.updated_at_ms // 1000,
            "attempts": image.attempt,
            "links": {"self": self.link(image.image_id)},
        }
        if original := _known(image.original):
            shown["original"] = original
        if image.info is not None:
            shown["info"] = _known(image.info)
        if image.metadata:
            shown["metadata"] = dict(image.metadata)
        if image.timings_ms:
            shown["timings_ms"] = dict(image.timings_ms)
        if image.renditions:
            shown["renditions"] = {
                name: self._copy(copy) for name, copy in image.renditions.items()
            }
        if image.formats:
            shown["formats"] = {name: self._copy(copy) for name, copy in image.formats.items()}
            if self.cdn_url:
                shown["links"]["auto"] = self._negotiated(image)
        if image.error is not None:
            shown["error"] = {"code": image.error.code, "message": image.error.message}
        if image.conversion_error is not None:
            shown["conversion_error"] = {
                "code": image.conversion_error.code,
                "message": image.conversion_error.message,
            }
        if image.status is Status.COMPLETED and image.prediction is not None:
            shown |= self._prediction(image)
        return shown

    def in_brief(self, image: Image) -> dict[str, Any]:
        """How far an image is, its thumb and what was seen in it, as far as they are known."""
        shown: dict[str, Any] = {
            "image_id": image.image_id,
            "status": image.status.value,
            "links": {"self": self.link(image.image_id)},
        }
        thumb = image.renditions.get("thumb")
        if thumb is not None:
            shown["thumb"] = self._copy(thumb)
        if image.status is Status.COMPLETED and image.prediction is not None:
            shown["top_prediction"] = image.prediction.classes[0]
            shown["confidence"] = image.prediction.probabilities[0]
        return shown

    def link(self, image_id: str) -> str:
        """The path of an image in this API."""
        return f"/images/{image_id}"

    def _copy(self, copy: StoredCopy) -> dict[str, Any]:
        return {
            "url": self._url(copy),
            "width": copy.width,
            "height": copy.height,
            "bytes": copy.bytes,
            "content_type": copy.content_type,
            **{name: value for name in _DETAILS if (value := getattr(copy, name)) is not None},
        }

    def _url(self, copy: StoredCopy) -> str:
        if self.cdn_url:
            return f"{self.cdn_url}/{copy.key}"
        return self.renditions.download_url(
            copy.key, content_type=copy.content_type, expires_in=self.link_seconds
        )

    def _negotiated(self, image: Image) -> str:
        """One link for all browsers: the CDN gives each the smallest copy that it takes.

        It knows nothing of images, so the link says which copies there are
        (infrastructure/negotiate.js).
        """
        copies = sorted(image.formats.values(), key=lambda copy: copy.bytes)
        names = ",".join(copy.key.rpartition("/")[2] for copy in copies)
        generation = copies[0].key.split("/")[2]
        return f"{self.cdn_url}/images/{image.image_id}/auto?g={generation}&c={names}"

    def _prediction(self, image: Image) -> dict[str, Any]:
        prediction = image.prediction
        if prediction is None:
            return {}
        confidence = prediction.probabilities[0]
        shown: dict[str, Any] = {
            "results": {
                "classes": list(prediction.classes),
                "probabilities": list(prediction.probabilities),
                "confidence": confidence,
            },
            "top_prediction": prediction.classes[0],
            "confidence": confidence,
            "model": {"name": prediction.model_name, "version": prediction.model_version},
        }
        if prediction.model_sha256 is not None:
            shown["model"]["sha256"] = prediction.model_sha256
        if image.results_key is not None:
            shown["results_url"] = self.renditions.download_url(
                image.results_key, content_type="application/json", expires_in=self.link_seconds
            )
        return shown


def _known(facts: Any) -> dict[str, Any]:
    """A record's fields that are known, and those of the records in it."""
    shown = msgspec.to_builtins(facts) if not isinstance(facts, dict) else facts
    return {
        name: _known(value) if isinstance(value, dict) else value
        for name, value in shown.items()
        if value is not None
    }
