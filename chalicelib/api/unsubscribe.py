"""``/unsubscribe``: one page, and what its buttons and mail clients send.

``GET`` changes nothing: scanners of mail servers open every link. ``POST`` does it, from the page's
form, or from a mail client that was told so by the header List-Unsubscribe-Post (RFC 8058). Works
without JavaScript.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qsl

from chalicelib import telemetry
from chalicelib.api.http import Answer, Page, Request
from chalicelib.aws.suppression_table import SuppressionTable
from chalicelib.clock import now_seconds
from chalicelib.notifications import Suppression
from chalicelib.templates import rendered
from chalicelib.unsubscribe_links import UnsubscribeLinks

# More than any form that this page or a mail client sends.
_MAX_FORM_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class UnsubscribeApi:
    """The route ``/unsubscribe``.

    Args:
        suppressions: Where it is written down.
        links: Reads the tokens of links.
    """

    suppressions: SuppressionTable
    links: UnsubscribeLinks

    def show(self, request: Request) -> Answer:
        """The page that asks."""
        if self.links.subscriber(request.query.get("token", "")) is None:
            return _invalid()
        return _page(200, "Unsubscribe", asks=True)

    def unsubscribe(self, request: Request) -> Answer:
        """Do it: for all parcels, or for the one of the link where the form says so.

        Doing it twice is as good as once.

        Raises:
            ServiceUnavailable: DynamoDB did not answer.
        """
        subscriber = self.links.subscriber(request.query.get("token", ""))
        if subscriber is None:
            return _invalid()
        sent = form_of(request)
        everything = sent.get("List-Unsubscribe") == "One-Click" or sent.get("scope") == "all"
        if not everything and sent.get("scope") != "parcel":
            return _page(400, "Unsubscribe", asks=True)
        self.suppressions.add(
            subscriber.address_hash,
            Suppression.UNSUBSCRIBED,
            parcel_hash=None if everything else subscriber.parcel_hash,
            now=now_seconds(),
        )
        telemetry.count("unsubscribe", Unsubscribed=1)
        what = "any parcel" if everything else "this parcel"
        return _page(200, "Done", text=f"You get no more e-mails about {what}.")


def form_of(request: Request) -> Mapping[str, str]:
    """The fields of a form, in either of the two forms that RFC 8058 has; nothing if it is none."""
    if len(request.body) > _MAX_FORM_BYTES:
        return {}
    if request.content_type != "multipart/form-data":
        return dict(parse_qsl(request.body.decode("utf-8", "replace")))
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode("utf-8", "replace")
    parsed = BytesParser(policy=HTTP).parsebytes(head + request.body)
    parts: Any = parsed.iter_parts() if parsed.is_multipart() else ()
    return {
        str(part.get_param("name", header="content-disposition")): str(part.get_payload()).strip()
        for part in parts
    }


def _invalid() -> Page:
    text = (
        "This link is not complete. Open it from the e-mail once more, or answer to the e-mail's "
        "sender."
    )
    return _page(400, "This link does not work", text=text)


def _page(status: int, title: str, *, asks: bool = False, text: str = "") -> Page:
    return Page(
        status=status,
        body=rendered("unsubscribe.html", title=title, asks=asks, text=text),
        headers={
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": (
                "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
                "frame-ancestors 'none'; base-uri 'none'"
            ),
            # The token is in the address.
            "Referrer-Policy": "no-referrer",
        },
    )
