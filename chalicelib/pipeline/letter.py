"""The e-mail about a change, as bytes that can be sent."""

import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.headerregistry import BaseHeader, HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

from chalicelib.addresses import address_hash, checked, parcel_hash
from chalicelib.messages import NotificationMessage
from chalicelib.parcels import Location, ParcelStatus
from chalicelib.templates import rendered
from chalicelib.unsubscribe_links import Subscriber, UnsubscribeLinks

_PHOTO_CID = "photo@darkroom"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A small picture that goes with an e-mail. ``content_type`` is ``image/…``."""

    body: bytes
    content_type: str


@dataclass(frozen=True, kw_only=True)
class Letter:
    """An e-mail that is ready to be sent to one recipient."""

    recipient: str
    raw: bytes


@dataclass(frozen=True, kw_only=True)
class LetterWriter:
    """Writes e-mails from the templates.

    Args:
        sender: What stands in ``From``.
        public_url: Where the API is seen from outside, for the link to unsubscribe.
        history_url: Where a parcel's history is shown; its id is appended. Empty for none.
        links: Makes the tokens of links.
    """

    sender: str
    public_url: str
    history_url: str
    links: UnsubscribeLinks

    def write(
        self, message: NotificationMessage, *, photo: Picture | None, written_at_ms: int
    ) -> Letter:
        """The e-mail about a change.

        Args:
            message: What it is about.
            photo: The one that proves the delivery.
            written_at_ms: The date in its head, in milliseconds since the Unix epoch.

        Raises:
            AddressRejected: Nothing can be sent to the address.
        """
        recipient = checked(message.email)
        token = self.links.token(
            Subscriber(
                address_hash=address_hash(recipient),
                parcel_hash=parcel_hash(message.tracking_id),
            )
        )
        unsubscribe_url = f"{self.public_url.rstrip('/')}/unsubscribe?token={token}"
        values = self._values(message, unsubscribe_url, has_photo=photo is not None)
        folder = f"mail/{message.status.value}"

        mail = EmailMessage(policy=_POLICY)
        mail["From"] = self.sender
        mail["To"] = recipient
        mail["Subject"] = one_line(rendered(f"{folder}/subject.txt", **values))
        mail["Date"] = format_datetime(_utc(written_at_ms))
        # RFC 3834: no vacation notices, please.
        mail["Auto-Submitted"] = "auto-generated"
        # RFC 8058: a client may unsubscribe with one POST, without showing anything.
        mail["List-Unsubscribe"] = f"<{unsubscribe_url}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        mail.set_content(rendered(f"{folder}/body.txt", **values))
        mail.add_alternative(rendered(f"{folder}/body.html", **values), subtype="html")
        if photo is not None:
            # In the e-mail, not behind a link: a signed link ends with the credentials that signed
            # it, hours later, and most clients do not load pictures from elsewhere.
            html: Any = mail.get_payload(1)
            subtype = photo.content_type.partition("/")[2]
            html.add_related(photo.body, "image", subtype, cid=f"<{_PHOTO_CID}>")
        return Letter(recipient=recipient, raw=mail.as_bytes())

    def _values(
        self, message: NotificationMessage, unsubscribe_url: str, *, has_photo: bool
    ) -> dict[str, Any]:
        tracking_id = one_line(message.tracking_id)
        history_url = self.history_url and self.history_url + quote(message.tracking_id, safe="")
        return {
            "tracking_id": tracking_id,
            "when": when(message.occurred_at),
            "place": place(message.location),
            "map_url": map_url(message.location),
            "steps": steps(message.status),
            "history_url": history_url,
            "unsubscribe_url": unsubscribe_url,
            "has_photo": has_photo,
            "photo_cid": _PHOTO_CID,
        }


class _UnfoldedUrl(BaseHeader):
    """A header with one URL, on one line however long.

    The library would break a long word into encoded words (RFC 2047), which no client takes for a
    URL. A line may have 998 characters (RFC 5322, 2.1.1).
    """

    max_count = 1

    @classmethod
    def parse(cls, value: str, kwds: dict[str, Any]) -> None:
        """The value as it is; a line end in it is refused by the policy before."""
        kwds["decoded"] = value
        kwds["parse_tree"] = None

    def fold(self, *, policy: Any) -> str:
        """The header as it is sent."""
        return f"{self.name}: {self}{policy.linesep}"


_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("list-unsubscribe", _UnfoldedUrl)
_POLICY = SMTP.clone(header_factory=_HEADERS)


def one_line(text: str) -> str:
    """The text with nothing in it that ends a line, moves a cursor or turns the writing around."""
    shown = "".join(" " if unicodedata.category(c) in _INVISIBLE else c for c in text)
    return " ".join(shown.split())


# Control and format characters, line and paragraph separators, halves of pairs.
_INVISIBLE = {"Cc", "Cf", "Zl", "Zp", "Cs"}


def when(milliseconds: int) -> str:
    """A moment, for people: ``24 November 2026, 15:22 UTC``."""
    moment = _utc(milliseconds)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def place(location: Location) -> str:
    """A place, for people: ``40.7128° N, 74.006° W``; the fourth decimal is 11 metres."""
    return ", ".join(
        f"{_rounded(abs(degrees))}° {positive if degrees >= 0 else negative}"
        for degrees, positive, negative in (
            (location.lat, "N", "S"),
            (location.lng, "E", "W"),
        )
    )


def map_url(location: Location) -> str:
    """The place on a map."""
    lat, lng = _rounded(location.lat), _rounded(location.lng)
    return f"https://www.openstreetmap.org/?mlat={lat}&mlon={lng}#map=15/{lat}/{lng}"


def steps(status: ParcelStatus) -> list[dict[str, Any]]:
    """The way of a parcel in three steps, and how far it is."""
    last = "Not delivered" if status is ParcelStatus.FAILED else "Delivered"
    reached = 3 if status.final else status.rank + 1
    return [
        {"name": name, "reached": number < reached}
        for number, name in enumerate(("Announced", "On its way", last))
    ]


def _rounded(degrees: Decimal) -> str:
    return f"{degrees.quantize(Decimal('0.0001')):f}"


def _utc(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
