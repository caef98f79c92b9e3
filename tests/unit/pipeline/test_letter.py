"""What a recipient gets."""

import re
from dataclasses import replace
from decimal import Decimal
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import templates
from chalicelib.addresses import address_hash, parcel_hash
from chalicelib.errors import AddressRejected
from chalicelib.messages import NotificationMessage
from chalicelib.parcels import Location, ParcelStatus
from chalicelib.pipeline.letter import Picture, map_url, one_line, place, when
from chalicelib.unsubscribe_links import Subscriber
from tests.unit.mail_world import ADDRESS, LINKS, MESSAGE, NOW, SENDER, WRITER, read

PICTURE = Picture(body=b"\xff\xd8 picture", content_type="image/jpeg")
HEADERS = {
    "From",
    "To",
    "Subject",
    "Date",
    "Auto-Submitted",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "MIME-Version",
    "Content-Type",
}


def written(message: NotificationMessage = MESSAGE, photo: Picture | None = None) -> EmailMessage:
    return read(WRITER.write(message, photo=photo, written_at_ms=NOW).raw)


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


class Tags(HTMLParser):
    """The tags of a page that are not closed, and the addresses that it loads or leads to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


SUBJECTS = {
    ParcelStatus.PENDING: "Your parcel PX-1 is announced",
    ParcelStatus.IN_TRANSIT: "Your parcel PX-1 is on its way",
    ParcelStatus.FAILED: "Your parcel PX-1 could not be delivered",
    ParcelStatus.DELIVERED: "Your parcel PX-1 was delivered",
}


@pytest.mark.parametrize("status", ParcelStatus)
def test_each_status_has_an_e_mail_in_text_and_html_that_say_the_same(
    status: ParcelStatus,
) -> None:
    mail = written(replace(MESSAGE, status=status))
    assert mail["Subject"] == SUBJECTS[status]
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    text, html = part(mail, "plain"), part(mail, "html")
    for shown in (
        "PX-1",
        "18 November 2026, 11:05 UTC",
        "40.7128° N, 74.0060° W",
        "https://shop.example/parcels/PX-1",
        "https://api.example/api/unsubscribe?token=",
    ):
        assert shown in text
        assert shown in html
    assert "{{" not in text + html
    assert max(map(len, text.splitlines())) < 400


@pytest.mark.parametrize("status", ParcelStatus)
def test_the_html_is_whole_and_loads_nothing_from_elsewhere(status: ParcelStatus) -> None:
    page = Tags(part(written(replace(MESSAGE, status=status), PICTURE), "html"))
    assert page.open == []
    assert page.names.isdisjoint({"script", "link", "iframe", "form", "input", "video"})
    assert sum(link.startswith("cid:") for link in page.links) == 1
    others = [link for link in page.links if not link.startswith("cid:")]
    assert all(link.startswith("https://") for link in others)


def test_every_status_has_its_three_files() -> None:
    folder = Path(templates.__file__).parent / "mail"
    for status in ParcelStatus:
        names = {path.name for path in (folder / status.value).iterdir()}
        assert names == {"subject.txt", "body.txt", "body.html"}
    folders = {path.name for path in folder.iterdir() if path.is_dir()}
    assert folders == {status.value for status in ParcelStatus}


def test_the_head_says_who_to_whom_and_how_to_get_out() -> None:
    """RFC 8058: one POST to the link, which the client shows as a button."""
    mail = written()
    assert set(mail.keys()) == HEADERS
    assert (mail["From"], mail["To"]) == (SENDER, ADDRESS)
    assert mail["Date"] == "Wed, 18 Nov 2026 11:06:40 +0000"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    found = re.fullmatch(r"<https://api.example/api/unsubscribe\?token=(\S+)>", unfolded(mail))
    assert found is not None
    assert LINKS.subscriber(found[1]) == Subscriber(
        address_hash=address_hash(ADDRESS), parcel_hash=parcel_hash("PX-1")
    )


def unfolded(mail: EmailMessage) -> str:
    """The header as it was sent."""
    return str(mail["List-Unsubscribe"])


def test_the_link_to_unsubscribe_is_one_line_that_a_mail_client_can_read() -> None:
    """The library would make encoded words of it, which are no URL."""
    raw = WRITER.write(
        replace(MESSAGE, tracking_id="🪲" * 100), photo=None, written_at_ms=NOW
    ).raw.decode("ascii")
    (line,) = re.findall(r"^List-Unsubscribe: (.*)\r$", raw, re.MULTILINE)
    assert re.fullmatch(r"<https://api\.example/api/unsubscribe\?token=[\w.-]+>", line)
    assert max(map(len, raw.split("\r\n"))) <= 998


def test_the_address_is_in_the_head_alone() -> None:
    letter = WRITER.write(MESSAGE, photo=PICTURE, written_at_ms=NOW)
    assert letter.raw.decode().count(ADDRESS) == 1


@pytest.mark.parametrize(
    "text", ["X\r\nBcc: all@b.example", "X\nBcc: b@b.example", "X\r\n\r\n<p>", "X\u2028Y", "X\x00Y"]
)
def test_a_line_end_in_a_tracking_id_reaches_no_header(text: str) -> None:
    """T10."""
    mail = written(replace(MESSAGE, tracking_id=text))
    assert set(mail.keys()) == HEADERS
    assert mail["To"] == ADDRESS
    assert mail["Bcc"] is None
    assert mail["Subject"] == f"Your parcel {one_line(text)} was delivered"


@given(
    tracking_id=st.text(min_size=1, max_size=100),
    lat=st.decimals(-90, 90, places=12),
    lng=st.decimals(-180, 180, places=12),
    image_id=st.text(),
    status=st.sampled_from(ParcelStatus),
)
def test_no_field_of_a_user_changes_the_head_the_recipients_or_the_page(
    tracking_id: str, lat: Decimal, lng: Decimal, image_id: str, status: ParcelStatus
) -> None:
    """T10, for every field that a user fills in but the address, which is the next test's."""
    message = replace(
        MESSAGE,
        tracking_id=tracking_id.encode("utf-8", "replace").decode(),
        location=Location(lat=lat, lng=lng),
        image_id=image_id,
        status=status,
    )
    letter = WRITER.write(message, photo=PICTURE, written_at_ms=NOW)
    head, _, _ = letter.raw.partition(b"\r\n\r\n")
    assert re.search(rb"[^\r]\n|\r[^\n]", head) is None
    mail = read(letter.raw)
    assert set(mail.keys()) == HEADERS
    assert (mail["To"], mail["From"]) == (ADDRESS, SENDER)
    page = Tags(part(mail, "html"))
    assert page.open == []
    reference = Tags(part(written(replace(MESSAGE, status=status), PICTURE), "html"))
    assert page.names == reference.names


@given(st.text())
def test_an_address_with_anything_odd_in_it_is_refused_before_a_head_is_made(text: str) -> None:
    try:
        letter = WRITER.write(
            replace(MESSAGE, email=f"{text}@b.example"), photo=None, written_at_ms=NOW
        )
    except AddressRejected:
        return
    assert read(letter.raw)["To"] == letter.recipient == f"{text}@b.example"


def test_html_in_a_tracking_id_is_text() -> None:
    html = part(written(replace(MESSAGE, tracking_id="<b onclick=x>&'\"")), "html")
    assert "<b onclick" not in html
    assert "&lt;b onclick=x&gt;&amp;" in html


def test_a_line_has_nothing_invisible_in_it() -> None:
    assert one_line(" a\r\n\tb\u202ec\u200bd\u2028e\ud800f  ") == "a b c d e f"
    assert one_line("Käfer 🪲") == "Käfer 🪲"


def test_places_and_times_are_for_people() -> None:
    assert when(NOW) == "18 November 2026, 11:06 UTC"
    south = Location(lat=Decimal("-33.86882"), lng=Decimal("151.2"))
    assert place(south) == "33.8688° S, 151.2000° E"
    assert place(Location(lat=Decimal(0), lng=Decimal("-0E-20"))) == "0.0000° N, 0.0000° E"
    assert map_url(south).startswith("https://www.openstreetmap.org/?mlat=-33.8688&mlon=151.2000")


def test_without_a_page_about_parcels_there_is_no_link_to_one() -> None:
    letter = replace(WRITER, history_url="").write(MESSAGE, photo=None, written_at_ms=NOW)
    mail = read(letter.raw)
    assert "whole way" not in part(mail, "html") + part(mail, "plain")


def test_the_id_in_the_link_to_the_history_is_encoded() -> None:
    mail = written(replace(MESSAGE, tracking_id="a/b?c&d e#f"))
    assert "https://shop.example/parcels/a%2Fb%3Fc%26d%20e%23f" in part(mail, "plain")


def test_a_picture_keeps_its_own_type() -> None:
    png = Picture(body=b"\x89PNG", content_type="image/png")
    (shown,) = (p for p in written(photo=png).walk() if p.get_content_maintype() == "image")
    assert shown.get_content_type() == "image/png"
    assert shown.get_content() == b"\x89PNG"
    assert shown.get_content_disposition() == "inline"
