"""``GET /``: the console, under the strictest policy that lets it work."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from chalicelib import console
from chalicelib.api.http import Answer, Page
from chalicelib.api.pages import hash_of, page_headers
from chalicelib.aws.object_store import ObjectStore


@dataclass(frozen=True, kw_only=True)
class ConsoleApi:
    """The page for people.

    Args:
        stage: Name of the stage, to show.
        signed: Whether the routes of parcels take signed requests alone.
        uploads: Where the page sends photos.
        renditions: Where the pictures that it shows lie.
    """

    stage: str
    signed: bool
    uploads: ObjectStore
    renditions: ObjectStore

    def get(self) -> Answer:
        """The page.

        Raises:
            ServiceUnavailable: No link to a bucket could be made.
        """
        # Asked of real links, so that the policy fits whatever they lead to: a region's address of
        # S3, the local AWS, or one day a CDN.
        form = self.uploads.upload_form("console", content_type=None, max_bytes=1, expires_in=1)
        picture = self.renditions.download_url("console", content_type="image/jpeg", expires_in=1)
        policy = {
            "script-src": hash_of(console.script()),
            "style-src": hash_of(console.style()),
            # blob: is a photo that was chosen and not sent yet, data: the page's own icon.
            "img-src": f"blob: data: {_origin(picture)}",
            "connect-src": f"'self' {_origin(form.url)}",
            "require-trusted-types-for": "'script'",
            "trusted-types": "'none'",
        }
        return Page(
            status=200,
            body=console.page(stage=self.stage, signed=self.signed),
            headers=page_headers(policy),
        )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
