"""`/unsubscribe`: a page that asks, and a POST that does it."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.addresses import address_hash, parcel_hash
from chalicelib.api.http import Request
from chalicelib.api.unsubscribe import UnsubscribeApi, form_of
from chalicelib.notifications import Suppression
from chalicelib.unsubscribe_links import Subscriber, UnsubscribeLinks
from tests.fakes import FakeSecret, FakeSuppressionTable

WHO = Subscriber(address_hash=address_hash("a@b.example"), parcel_hash=parcel_hash("PX-1"))
LINKS = UnsubscribeLinks(secret=FakeSecret().value)
TOKEN = LINKS.token(WHO)
FORM = "application/x-www-form-urlencoded"
ONE_CLICK = b"List-Unsubscribe=One-Click"


def request(
    method: str = "POST",
    body: bytes = b"",
    content_type: str = FORM,
    query: Mapping[str, str] | None = None,
) -> Request:
    return Request(
        method=method,
        path="/unsubscribe",
        headers={"content-type": content_type},
        query={"token": TOKEN} if query is None else query,
        body=body,
    )


def multipart(name: str, value: str) -> tuple[bytes, str]:
    """As RFC 8058 asks mail clients to send it."""
    body = f'--xyz\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n--xyz--\r\n'
    return body.encode(), 'Multipart/Form-Data; Boundary="xyz"'


@pytest.fixture
def table() -> FakeSuppressionTable:
    return FakeSuppressionTable()


@pytest.fixture
def api(table: FakeSuppressionTable) -> UnsubscribeApi:
    return UnsubscribeApi(suppressions=table, links=LINKS)


def test_opening_the_link_changes_nothing(api: UnsubscribeApi, table: FakeSuppressionTable) -> None:
    """Scanners of mail servers open every link."""
    answer = api.show(request("GET"))
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert table.trail.calls == []
    page = answer.text()
    assert '<form method="post">' in page
    assert 'value="parcel"' in page
    assert 'value="all"' in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("body", "content_type", "parcel"),
    [
        (ONE_CLICK, FORM, None),
        (ONE_CLICK, f"{FORM}; charset=UTF-8", None),
        (*multipart("List-Unsubscribe", "One-Click"), None),
        (b"scope=all", FORM, None),
        (b"scope=parcel", FORM, WHO.parcel_hash),
    ],
    ids=["one click", "with a charset", "multipart", "all", "this parcel"],
)
def test_a_post_unsubscribes_from_all_or_from_the_parcel(
    api: UnsubscribeApi,
    table: FakeSuppressionTable,
    body: bytes,
    content_type: str,
    parcel: str | None,
) -> None:
    for _ in range(2):
        answer = api.unsubscribe(request(body=body, content_type=content_type))
        assert answer.status == 200
        assert "no more e-mails" in answer.text()
    assert table.rows == {(WHO.address_hash, parcel): Suppression.UNSUBSCRIBED}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", FORM),
        (b"scope=nothing", FORM),
        (b"List-Unsubscribe=No", FORM),
        (b"\xff\xfe\x00", FORM),
        (b"{}", "application/json"),
        (b"no parts", "multipart/form-data; boundary=x"),
        (b"no boundary", "multipart/form-data"),
        (ONE_CLICK + b"&x=" + b"x" * 5000, FORM),
    ],
)
def test_a_post_that_says_nothing_is_asked_what_it_means(
    api: UnsubscribeApi, table: FakeSuppressionTable, body: bytes, content_type: str
) -> None:
    answer = api.unsubscribe(request(body=body, content_type=content_type))
    assert answer.status == 400
    assert '<form method="post">' in answer.text()
    assert table.rows == {}


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "x", "." + TOKEN, "\ud800"])
def test_a_token_that_we_did_not_make_does_nothing(
    api: UnsubscribeApi, table: FakeSuppressionTable, token: str
) -> None:
    for answer in (
        api.show(request("GET", query={"token": token})),
        api.unsubscribe(request(body=ONE_CLICK, query={"token": token})),
    ):
        assert answer.status == 400
        assert "does not work" in answer.text()
        assert "<form" not in answer.text()
    assert table.rows == {}


def test_a_token_of_another_kind_or_of_another_secret_is_none() -> None:
    other = UnsubscribeLinks(secret=lambda: "another")
    assert LINKS.subscriber(other.token(WHO)) is None


def test_a_token_does_not_give_the_address_away() -> None:
    assert LINKS.subscriber(TOKEN) == WHO
    assert len(TOKEN) < 300


@given(st.text(), st.binary(max_size=300), st.text(max_size=60))
def test_no_request_fails(token: str, body: bytes, content_type: str) -> None:
    api = UnsubscribeApi(suppressions=FakeSuppressionTable(), links=LINKS)
    sent = request(body=body, content_type=content_type, query={"token": token})
    assert api.show(sent).status == 400
    assert api.unsubscribe(sent).status == 400


@given(st.binary(max_size=300), st.sampled_from(["", "; boundary=x", '; boundary="', ";;="]))
def test_no_form_fails(body: bytes, parameters: str) -> None:
    form_of(request(body=body, content_type=f"multipart/form-data{parameters}"))
    form_of(
        request(
            body=b"--x\r\n" + body + b"\r\n--x--", content_type="multipart/form-data; boundary=x"
        )
    )


def test_the_page_may_load_and_be_framed_by_nothing(api: UnsubscribeApi) -> None:
    headers = api.show(request("GET")).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["Referrer-Policy"] == "no-referrer"
