"""What was made of the same bytes before, copied instead of made again (docs/adr/0017)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from chalicelib import telemetry
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.object_store import ObjectStore
from chalicelib.errors import ObjectMissing
from chalicelib.images import Image, StoredCopy
from chalicelib.messages import ImageMessage

# Of images with the same bytes, the newest. Only those that were worked out stand in the index.
_LOOKED_AT = 3


@dataclass(frozen=True, kw_only=True)
class Reuse:
    """Finds an earlier image of the same bytes, and copies what was made of it.

    Args:
        images: The rows.
        renditions: Where everything lies that is copied.
        enabled: Whether anything is reused at all.
    """

    images: ImageTable
    renditions: ObjectStore
    enabled: bool

    def earlier(
        self, message: ImageMessage, image: Image, sha256: str, usable: Callable[[Image], bool]
    ) -> Image | None:
        """An image of the same bytes whose results can be had, None where there is none.

        A retry, and a question to a certain model, are to be worked out: whoever asks again
        wants to know.

        Raises:
            ServiceUnavailable: DynamoDB does not answer as it should.
        """
        if not self.enabled or not image.reuse or message.attempt > 1 or message.model is not None:
            return None
        for other in self.images.same_content(sha256, limit=_LOOKED_AT):
            if other.image_id != image.image_id and usable(other):
                return other
        return None

    def copied(
        self, copies: Mapping[str, StoredCopy], key_of: Callable[[str, StoredCopy], str]
    ) -> dict[str, StoredCopy] | None:
        """Copies of copies, by name, under new keys; None where one of them is gone by now.

        Raises:
            ServiceUnavailable: S3 does not answer as it should.
        """
        made: dict[str, StoredCopy] = {}
        for name, copy in copies.items():
            key = key_of(name, copy)
            try:
                self.renditions.copy(copy.key, key)
            except ObjectMissing:
                # Deleted meanwhile, or past the bucket's days.
                telemetry.logger().info("reuse: %s is gone", name)
                return None
            made[name] = replace(copy, key=key)
        return made
