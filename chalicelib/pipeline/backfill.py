"""Make renditions of images that were taken in before those were in the table."""

from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.aws.conversion_rows import ConversionRows
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.object_store import ObjectStore
from chalicelib.clock import now_ms
from chalicelib.errors import ImageNotFound, ImageRejected, ObjectMissing, Superseded
from chalicelib.images import Image, Output, Status, StoredCopy, derived_prefixes
from chalicelib.imaging.decode import Decoder
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.renditions import Rendition
from chalicelib.messages import ImageMessage
from chalicelib.pipeline.rendering import decode_size, fetch_original, store_renditions

# Images whose renditions were made, so that one that is missing came into the table later.
_PREPARED = frozenset({Status.COMPLETED, Status.INFERENCE_FAILED})


@dataclass(frozen=True, kw_only=True)
class Backfill:
    """Adds renditions to images that are long done; their statuses stay as they are."""

    images: ImageTable
    conversions: ConversionRows
    uploads: ObjectStore
    renditions: ObjectStore
    limits: Limits
    table: tuple[Rendition, ...]
    name: str = "backfill"

    def __call__(self, message: ImageMessage) -> None:
        """Make the renditions that the message names, as far as the image lacks them.

        Raises:
            Superseded: The image was deleted, or is not what the message speaks of.
            ServiceUnavailable: AWS did not answer; the message has to come again.
        """
        try:
            image = self.images.get(message.image_id)
        except ImageNotFound:
            raise Superseded(f"image {message.image_id} was deleted", gone=True) from None
        wanted = tuple(
            rendition
            for rendition in self.table
            if rendition.name in message.renditions and lacks(image, rendition)
        )
        if image.generation != message.generation or not wanted:
            raise Superseded(f"image {message.image_id} has no need of {message.renditions}")
        try:
            copies = self._made(message, image, wanted)
        except (ImageRejected, ObjectMissing) as error:
            # An original that was removed, or that today's limits refuse: nothing to be done.
            telemetry.logger().warning("backfill: not made: %s: %s", error.code, error)
            telemetry.count(self.name, ImagesRejected=1)
            return
        try:
            self.conversions.add_renditions(message, copies, now_ms=now_ms())
        except Superseded as superseded:
            if superseded.gone:
                for prefix in derived_prefixes(message.image_id):
                    self.renditions.delete_prefix(prefix)
            raise
        telemetry.count(self.name, ProcessedImages=1)

    def _made(
        self, message: ImageMessage, image: Image, wanted: tuple[Rendition, ...]
    ) -> dict[str, StoredCopy]:
        body = fetch_original(self.uploads, self.limits, image)
        decoder = Decoder(self.limits)
        header = decoder.header(body)
        # As large as for all of them, or these would be other bytes than those of new images.
        picture = decoder.picture(body, size=decode_size(header, self.table))
        return store_renditions(
            self.renditions, message, picture, header, wanted, focal=image.focal_point
        )


def lacks(image: Image, rendition: Rendition) -> bool:
    """Whether a finished image is to have a rendition and has none, or one of another recipe."""
    if image.generation is None or image.status not in _PREPARED:
        return False
    if not image.wants(Output.RENDITIONS):
        return False
    known = image.renditions.get(rendition.name)
    return known is None or known.key != rendition.key(image.image_id, image.generation)
