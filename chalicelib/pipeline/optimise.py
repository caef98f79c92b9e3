"""Make the copies of an original at full size, in the formats of the web."""

import hashlib
from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.aws.conversion_rows import ConversionRows
from chalicelib.aws.object_store import ObjectStore
from chalicelib.clock import elapsed_ms, now_ms
from chalicelib.errors import ImageRejected, ObjectMissing, Superseded
from chalicelib.images import (
    ConversionStatus,
    Failure,
    Image,
    Original,
    StoredCopy,
    derived_prefixes,
)
from chalicelib.imaging.decode import Decoder
from chalicelib.imaging.formats import CopyFormat, FullSize, Recipe, wanted_formats
from chalicelib.imaging.kinds import Kind
from chalicelib.imaging.limits import Limits
from chalicelib.messages import ImageMessage
from chalicelib.pipeline.rendering import IMMUTABLE, fetch_original
from chalicelib.pipeline.reuse import Reuse


@dataclass(frozen=True, kw_only=True)
class Optimise:
    """The step from ``conversion_status: pending`` to ``completed``.

    It runs beside the way to the predictions, which takes a tenth of its time or less.
    """

    conversions: ConversionRows
    uploads: ObjectStore
    renditions: ObjectStore
    limits: Limits
    recipe: Recipe
    reuse: Reuse
    name: str = "optimise"

    def __call__(self, message: ImageMessage) -> None:
        """Do the step for one image.

        An image that is at fault itself ends here, with its copies ``failed``.

        Raises:
            Superseded: There is nothing to do any more.
            ServiceUnavailable: AWS did not answer; the message has to come again.
        """
        try:
            self._convert(message)
        except Superseded as superseded:
            if superseded.gone:
                # Deleted meanwhile, perhaps during an earlier try that died before it noticed.
                for prefix in derived_prefixes(message.image_id):
                    self.renditions.delete_prefix(prefix)
            raise

    def _convert(self, message: ImageMessage) -> None:
        started_ms = now_ms()
        image = self.conversions.start(message, now_ms=started_ms)
        try:
            body = fetch_original(self.uploads, self.limits, image)
            sha256 = hashlib.sha256(body).hexdigest()
            if self._take_over(message, image, sha256, len(body), started_ms=started_ms):
                return
            source = FullSize.read(body, Decoder(self.limits))
        except (ImageRejected, ObjectMissing) as error:
            telemetry.logger().info("optimise: rejected: %s: %s", error.code, error)
            failure = Failure(code=error.code, message=error.public_message)
            self.conversions.fail(message, failure, now_ms=now_ms())
            telemetry.count(self.name, ImagesRejected=1)
            return
        # One after the other: each is stored before the next is made, and takes no memory then.
        copies = {
            str(chosen): self._store(message, source, chosen)
            for chosen in wanted_formats(source, self.recipe)
        }
        took_ms = elapsed_ms(started_ms)
        self.conversions.finish(
            message,
            ConversionStatus.COMPLETED if copies else ConversionStatus.SKIPPED,
            now_ms=now_ms(),
            took_ms=took_ms,
            original=Original(bytes=len(body), sha256=sha256, kind=source.kind),
            formats=copies,
        )
        telemetry.count(
            self.name,
            ProcessedImages=1,
            ProcessingTime=took_ms,
            TotalBytesProcessed=len(body),
            BytesSaved=max((copy.bytes_saved or 0 for copy in copies.values()), default=0),
        )

    def _take_over(
        self, message: ImageMessage, image: Image, sha256: str, size_bytes: int, *, started_ms: int
    ) -> bool:
        """Copy what was made of the same bytes before; whether there was something."""
        other = self.reuse.earlier(message, image, sha256, self._is_usable)
        if other is None:
            return False

        def key_of(name: str, copy: StoredCopy) -> str:
            return self._key(message.image_id, message.generation, name, copy)

        copies = self.reuse.copied(other.formats, key_of)
        if copies is None:
            return False
        self.conversions.finish(
            message,
            ConversionStatus.COMPLETED,
            now_ms=now_ms(),
            took_ms=elapsed_ms(started_ms),
            original=Original(bytes=size_bytes, sha256=sha256, kind=other.original.kind),
            formats=copies,
        )
        telemetry.count(
            self.name,
            ProcessedImages=1,
            ResultsReused=1,
            ProcessingTime=elapsed_ms(started_ms),
            TotalBytesProcessed=size_bytes,
            BytesSaved=max((copy.bytes_saved or 0 for copy in copies.values()), default=0),
        )
        return True

    def _is_usable(self, other: Image) -> bool:
        """Whether an image has just the copies that are to be made, by the same recipe."""
        if other.conversion_status is not ConversionStatus.COMPLETED or not other.original.kind:
            return False
        chosen = self.recipe.formats_for(Kind(other.original.kind))
        return set(other.formats) == set(map(str, chosen)) and all(
            copy.key == self._key(other.image_id, other.generation or "", name, copy)
            for name, copy in other.formats.items()
        )

    def _key(self, image_id: str, generation: str, name: str, copy: StoredCopy) -> str:
        animated = copy.frames is not None
        return self.recipe.key(image_id, generation, CopyFormat(name), animated=animated)

    def _store(self, message: ImageMessage, source: FullSize, chosen: CopyFormat) -> StoredCopy:
        started_ms = now_ms()
        copy = source.copy(chosen, self.recipe)
        encoding_ms = elapsed_ms(started_ms)
        stored = StoredCopy(
            key=self.recipe.key(
                message.image_id, message.generation, chosen, animated=copy.frames > 1
            ),
            content_type=chosen.media_type,
            bytes=len(copy.body),
            width=source.whole.picture.width,
            height=source.whole.picture.height,
            quality=copy.quality,
            encoder=copy.encoder,
            encoding_ms=encoding_ms,
            bytes_saved=len(source.body) - len(copy.body),
            frames=copy.frames if copy.frames > 1 else None,
        )
        self.renditions.put(
            stored.key, copy.body, content_type=stored.content_type, cache_control=IMMUTABLE
        )
        return stored
