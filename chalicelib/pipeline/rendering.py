"""What `preprocess` and `backfill` share: fetching an original, and making its renditions."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from chalicelib.aws.object_store import ObjectStore
from chalicelib.clock import elapsed_ms, now_ms
from chalicelib.errors import ObjectMissing
from chalicelib.images import FocalPoint, Image, StoredCopy
from chalicelib.imaging.decode import Header
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.renditions import Rendition, encoded, rendered
from chalicelib.imaging.scaling import SKETCH_SIDE
from chalicelib.messages import ImageMessage
from chalicelib.models import ModelInputShape

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

# A key carries the version of the upload and of the recipe: what it names never changes.
IMMUTABLE = "public, max-age=31536000, immutable"


def fetch_original(uploads: ObjectStore, limits: Limits, image: Image) -> bytes:
    """The bytes of an image's original, of the one version that counts.

    Raises:
        ObjectMissing: It was never uploaded, or was removed.
        ImageRejected: It has no bytes, or too many.
        ServiceUnavailable: S3 does not answer as it should.
    """
    if image.source is None:
        raise ObjectMissing(image.image_id)
    if image.original.bytes is not None:
        # S3 told the size with the event: what is too large is not even fetched.
        limits.check_bytes(image.original.bytes)
    return uploads.get(image.source.key, version_id=image.source.version_id).body


def decode_size(header: Header, outputs: Iterable[Rendition | ModelInputShape]) -> tuple[int, int]:
    """Width and height, in pixels, of the picture that all outputs can be made from.

    The largest of them is that picture; the others are scaled from it. It is never too small to
    tell how the picture looks.
    """
    scales = [output.picture_scale(header.width, header.height) for output in outputs]
    return header.scaled(max([*scales, SKETCH_SIDE / max(header.width, header.height)]))


def store_renditions(
    store: ObjectStore,
    message: ImageMessage,
    picture: "PilImage",
    header: Header,
    renditions: Iterable[Rendition],
    *,
    focal: FocalPoint,
) -> dict[str, StoredCopy]:
    """Make renditions and put them where they are served from; each by its name.

    Raises:
        ServiceUnavailable: S3 does not answer as it should.
    """
    copies: dict[str, StoredCopy] = {}
    for rendition in renditions:
        started_ms = now_ms()
        copy = rendered(picture, rendition, original=(header.width, header.height), focal=focal)
        body = encoded(copy, rendition)
        stored = StoredCopy(
            key=rendition.key(message.image_id, message.generation),
            content_type=rendition.format.media_type,
            bytes=len(body),
            width=copy.width,
            height=copy.height,
            quality=rendition.quality,
            encoding_ms=elapsed_ms(started_ms),
        )
        store.put(stored.key, body, content_type=stored.content_type, cache_control=IMMUTABLE)
        copies[rendition.name] = stored
    return copies
