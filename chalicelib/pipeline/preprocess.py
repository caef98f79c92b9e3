"""Fetch an original once, check it, decode it once; make renditions and what the model sees."""

import hashlib
from dataclasses import dataclass, replace

from chalicelib import messages, telemetry
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.object_store import ObjectStore
from chalicelib.aws.queues import Queue
from chalicelib.clock import elapsed_ms, now_ms
from chalicelib.errors import ImageRejected, ObjectMissing, Superseded
from chalicelib.images import (
    ConversionStatus,
    Failure,
    Image,
    Original,
    Output,
    Status,
    StoredCopy,
    derived_prefixes,
    model_input_key,
)
from chalicelib.imaging.decode import Decoder
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.render import ModelInputShape, model_input, to_ppm
from chalicelib.imaging.renditions import Rendition
from chalicelib.messages import ImageMessage
from chalicelib.pipeline.rendering import decode_size, fetch_original, store_renditions


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """The step from ``queued`` to ``preprocessed``."""

    images: ImageTable
    uploads: ObjectStore
    renditions: ObjectStore
    inference_queue: Queue
    conversion_queue: Queue
    limits: Limits
    shape: ModelInputShape
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
            body = fetch_original(self.uploads, self.limits, image)
            facts = Original(bytes=len(body), sha256=hashlib.sha256(body).hexdigest())
            decoder = Decoder(self.limits)
            header = decoder.header(body)
            facts = replace(
                facts,
                content_type=header.media_type,
                width=header.width,
                height=header.height,
                orientation=header.orientation,
                mode=header.mode,
                color_profile=header.profile,
                frames=header.frames if header.frames > 1 else None,
            )
            wanted = self.table if image.wants(Output.RENDITIONS) else ()
            scale = self.shape.scale(header.width, header.height)
            picture = decoder.picture(body, size=decode_size(header, wanted, scales=[scale]))
        except (ImageRejected, ObjectMissing) as error:
            self._reject(message, error, facts)
            return
        copies = store_renditions(
            self.renditions, message, picture, header, wanted, focal=image.focal_point
        )
        pixels = to_ppm(model_input(picture, self.shape))
        self._hand_on(message, image, pixels, facts, copies, started_ms=started_ms)

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
        image: Image,
        pixels: bytes,
        facts: Original,
        copies: dict[str, StoredCopy],
        *,
        started_ms: int,
    ) -> None:
        """Objects first, then the next messages, then the row: any of them may come twice."""
        if image.conversion_status is ConversionStatus.PENDING:
            # First, because `infer` may end the image before this step is tried again.
            self.conversion_queue.send(messages.encode(replace(message, queued_at_ms=now_ms())))
        status, key = Status.COMPLETED, None
        if image.wants(Output.PREDICTIONS):
            status, key = (
                Status.PREPROCESSED,
                model_input_key(message.image_id, message.generation),
            )
            self.uploads.put(key, pixels, content_type="image/x-portable-pixmap")
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
