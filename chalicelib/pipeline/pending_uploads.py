"""Images that wait for an upload: it came and nobody was told, or it never will."""

from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.object_store import ObjectStore
from chalicelib.errors import Superseded
from chalicelib.images import Image, Status, source_key
from chalicelib.pipeline.check import NAME, Round
from chalicelib.pipeline.ingest import Ingest, Upload

# An upload that began while the link was good may take longer than the link.
_LATE_SECONDS = 900


@dataclass(frozen=True, kw_only=True)
class PendingUploads:
    """Takes in uploads whose event was lost, and marks links that were never used.

    What is taken in goes through `ingest` itself, so that an event that comes after all finds it
    done. An image that is marked ``expired`` still accepts its upload.

    Args:
        images: The rows.
        uploads: Where uploads arrive.
        ingest: Takes them in.
        lost_seconds: After how long an event counts as lost; S3 takes a minute at times.
        link_seconds: How long a link works, for rows that do not say.
    """

    images: ImageTable
    uploads: ObjectStore
    ingest: Ingest
    lost_seconds: int
    link_seconds: int

    def __call__(self, this: Round) -> None:
        """Go through all images that wait for an upload.

        Raises:
            ServiceUnavailable: AWS did not answer; what is left is looked at next time.
        """
        status = Status.PENDING_UPLOAD
        for page in this.pages(status, lambda after: self.images.oldest(status, after=after)):
            for image in page:
                if this.now_ms() - image.created_at_ms > self.lost_seconds * 1000:
                    self._look(image, this)

    def _look(self, image: Image, this: Round) -> None:
        first = self.uploads.oldest_version(source_key(image.image_id))
        if first is not None:
            self.ingest.take_in(
                Upload(
                    bucket=self.uploads.bucket,
                    key=first.key,
                    version_id=first.version_id,
                    etag=first.etag,
                    size_bytes=first.size_bytes,
                )
            )
            this.count("recovered_uploads")
            telemetry.count(NAME, UploadsRecovered=1)
            telemetry.logger().warning(
                "check: the event of an upload never came", image_id=image.image_id
            )
        elif self._unused(image, now_ms=this.now_ms()):
            try:
                self.images.expire(image, now_ms=this.now_ms())
            except Superseded as superseded:
                telemetry.logger().info("check: not expired: %s", superseded)
                return
            this.count("expired_uploads")
            telemetry.count(NAME, UploadsExpired=1)

    def _unused(self, image: Image, *, now_ms: int) -> bool:
        until = image.link_expires_at or image.created_at_ms // 1000 + self.link_seconds
        return now_ms > (until + _LATE_SECONDS) * 1000
