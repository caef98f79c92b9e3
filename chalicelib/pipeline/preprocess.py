"""Fetch an original once, check it, decode it once; make renditions and what the model sees."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chalicelib import messages, telemetry
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.object_store import ObjectStore
from chalicelib.aws.queues import Queue
from chalicelib.clock import elapsed_ms, now_ms
from chalicelib.errors import (
    DarkroomError,
    ImageNotFound,
    ImageRejected,
    ObjectMissing,
    Superseded,
)
from chalicelib.images import (
    Failure,
    FocalPoint,
    Image,
    Original,
    Output,
    Status,
    StoredCopy,
    derived_prefixes,
    model_input_key,
)
from chalicelib.imaging.decode import Decoder, Header
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.render import model_input, to_ppm
from chalicelib.imaging.renditions import OVERSAMPLING, Rendition, encoded, rendered
from chalicelib.messages import ImageMessage
from chalicelib.models import ModelInputShape
from chalicelib.pipeline.models import Models

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

# A key carries the version of the upload and of the recipe: what it names never changes.
IMMUTABLE = "public, max-age=31536000, immutable"


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """The step from ``queued`` to ``preprocessed``."""

    images: ImageTable
    uploads: ObjectStore
    renditions: ObjectStore
    inference_queue: Queue
    limits: Limits
    models: Models
    table: tuple[Rendition, ...]
    name: str = "preprocess"

    def __call__(self, message: ImageMessage) -> None:
        """Do the step for one image.

        An image that is at fault itself ends here, in ``preprocessing_failed``.

        Raises:
            Superseded: There is nothing to do any more.
            ServiceUnavailable: AWS did not answer; the message has to come again.
        """
        try:
            if message.remade:
                self._remake(message)
            else:
                self._prepare(message)
        except Superseded as superseded:
            if superseded.gone:
                # Deleted meanwhile, perhaps during an earlier try that died before it noticed.
                for prefix in derived_prefixes(message.image_id):
                    self.uploads.delete_prefix(prefix)
                    self.renditions.delete_prefix(prefix)
            raise

    def _prepare(self, message: ImageMessage) -> None:
        started_ms = now_ms()
        image = self.images.start(message, Status.PREPROCESSING, now_ms=started_ms)
        facts = image.original
        try:
            body = self._fetch(image)
            facts = Original(bytes=len(body), sha256=hashlib.sha256(body).hexdigest())
            decoder = Decoder(self.limits)
            header = decoder.header(body)
            facts = replace(
                facts, content_type=header.media_type, width=header.width, height=header.height
            )
            wanted = self.table if image.wants(Output.RENDITIONS) else ()
            shapes = self._shapes(message) if image.wants(Output.PREDICTIONS) else ()
            picture = decoder.picture(body, at_least=_decode_size(header, (*shapes, *wanted)))
        except (ImageRejected, ObjectMissing) as error:
            self._reject(message, error, facts)
            return
        copies = self._store_renditions(message, picture, header, wanted, focal=image.focal_point)
        keys = self._store_model_inputs(message, picture, shapes)
        self._hand_on(message, keys, facts, copies, started_ms=started_ms)

    def _remake(self, message: ImageMessage) -> None:
        """Make what another model wants to see, of an image that is past this step."""
        try:
            image = self.images.get(message.image_id)
        except ImageNotFound:
            raise Superseded(f"image {message.image_id} was deleted", gone=True) from None
        same = (image.attempt, image.generation) == (message.attempt, message.generation)
        if not same or image.status.final:
            raise Superseded(f"image {message.image_id} is at {image.status} by now")
        try:
            body = self._fetch(image)
            decoder = Decoder(self.limits)
            shapes = self._shapes(message)
            picture = decoder.picture(body, at_least=_decode_size(decoder.header(body), shapes))
        except (ImageRejected, ObjectMissing) as error:
            failure = Failure(code=error.code, message=error.public_message)
            self.images.fail(message, Status.INFERENCE_FAILED, failure, now_ms=now_ms())
            telemetry.count(self.name, ImagesRejected=1)
            return
        (key,) = self._store_model_inputs(message, picture, shapes)
        self.inference_queue.send(messages.encode(replace(message, queued_at_ms=now_ms())))
        # The status stays; the write finds out whether the image was deleted meanwhile.
        self.images.finish(
            message, Status.PREPROCESSED, now_ms=now_ms(), timings_ms={}, model_input_key=key
        )

    def _shapes(self, message: ImageMessage) -> tuple[ModelInputShape, ...]:
        """What the models want to see that will be asked: first the one whose answer counts."""
        if message.model is not None:
            return (self.models.find(message.model).description.input_shape(),)
        shapes = [self.models.active().description.input_shape()]
        try:
            shadow = self.models.shadow(message.image_id)
            if shadow is not None:
                shapes.append(shadow.description.input_shape())
        except DarkroomError as error:
            telemetry.logger().warning("preprocess: nothing for the shadow: %s", error)
        return tuple(dict.fromkeys(shapes))

    def _store_model_inputs(
        self, message: ImageMessage, picture: "PilImage", shapes: Iterable[ModelInputShape]
    ) -> list[str]:
        keys: list[str] = []
        for shape in shapes:
            key = model_input_key(message.image_id, message.generation, shape.fingerprint)
            pixels = to_ppm(model_input(picture, shape))
            self.uploads.put(key, pixels, content_type="image/x-portable-pixmap")
            keys.append(key)
        return keys

    def _fetch(self, image: Image) -> bytes:
        if image.source is None:
            raise ObjectMissing(image.image_id)
        if image.original.bytes is not None:
            # S3 told the size with the event: what is too large is not even fetched.
            self.limits.check_bytes(image.original.bytes)
        return self.uploads.get(image.source.key, version_id=image.source.version_id).body

    def _store_renditions(
        self,
        message: ImageMessage,
        picture: "PilImage",
        header: Header,
        wanted: Iterable[Rendition],
        *,
        focal: FocalPoint,
    ) -> dict[str, StoredCopy]:
        copies: dict[str, StoredCopy] = {}
        for rendition in wanted:
            copy = rendered(picture, rendition, original=(header.width, header.height), focal=focal)
            body = encoded(copy, rendition)
            stored = StoredCopy(
                key=rendition.key(message.image_id, message.generation),
                content_type=rendition.format.media_type,
                bytes=len(body),
                width=copy.width,
                height=copy.height,
            )
            self.renditions.put(
                stored.key, body, content_type=stored.content_type, cache_control=IMMUTABLE
            )
            copies[rendition.name] = stored
        return copies

    def _reject(
        self, message: ImageMessage, error: ImageRejected | ObjectMissing, facts: Original
    ) -> None:
        telemetry.logger().info("preprocess: rejected: %s: %s", error.code, error)
        self.images.fail(
            message,
            Status.PREPROCESSING_FAILED,
            Failure(code=error.code, message=error.public_message),
            now_ms=now_ms(),
            original=facts,
        )
        telemetry.count(self.name, ImagesRejected=1)

    def _hand_on(
        self,
        message: ImageMessage,
        keys: Sequence[str],
        facts: Original,
        copies: dict[str, StoredCopy],
        *,
        started_ms: int,
    ) -> None:
        """Objects first, then the next message, then the row: any of them may come twice."""
        status, key = Status.COMPLETED, None
        if keys:
            status, key = Status.PREPROCESSED, keys[0]
            # From the message on, the image may be completed without this try's last write.
            self.images.describe(message, facts, copies, now_ms=now_ms())
            self.inference_queue.send(messages.encode(replace(message, queued_at_ms=now_ms())))
        took_ms = elapsed_ms(started_ms)
        self.images.finish(
            message,
            status,
            now_ms=now_ms(),
            timings_ms={
                "queued": max(started_ms - message.queued_at_ms, 0),
                "preprocessing": took_ms,
            },
            original=facts,
            renditions=copies,
            model_input_key=key,
        )
        telemetry.count(
            self.name,
            ProcessedImages=1,
            ProcessingTime=took_ms,
            TotalBytesProcessed=facts.bytes or 0,
        )


def _decode_size(header: Header, outputs: Iterable[ModelInputShape | Rendition]) -> tuple[int, int]:
    """Width and height that the largest of all outputs needs, in pixels of the original. Where
    nothing is to be made, the least that still tells whether the file can be decoded.
    """
    scales = [output.scale(header.width, header.height) for output in outputs]
    least = min(OVERSAMPLING * max(scales, default=0.0), 1.0)
    return (max(math.ceil(header.width * least), 1), max(math.ceil(header.height * least), 1))
