from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from itsdangerous import URLSafeSerializer

from chalicelib.api.cursors import Cursors
from chalicelib.errors import InvalidCursor

QUERY = "images?status=completed"
PLACE = '{"created_at": 1795000000, "image_id": "0f0e0d0c"}'
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@dataclass
class CountingSecret:
    """A secret that counts how often it was asked for."""

    text: str
    asked: list[str] = field(default_factory=list)

    def __call__(self) -> str:
        self.asked.append(self.text)
        return self.text


def cursors(signed_with: str = "first") -> Cursors:
    return Cursors(secret=CountingSecret(signed_with))


@pytest.fixture
def sealed() -> str:
    return cursors().seal(QUERY, PLACE)


def test_a_cursor_leads_back_to_its_place(sealed: str) -> None:
    assert cursors().open(QUERY, sealed) == PLACE


@pytest.mark.parametrize("place", ["", " ", "ü ☕", "x" * 5000, '"', "a.b.c"])
def test_any_text_can_be_a_place(place: str) -> None:
    assert cursors().open(QUERY, cursors().seal(QUERY, place)) == place


def test_a_cursor_can_stand_in_a_link_as_it_is(sealed: str) -> None:
    assert set(sealed) <= set(ALPHABET + ".")


def test_a_cursor_shows_nothing_readable_of_its_place(sealed: str) -> None:
    assert "image_id" not in sealed


def test_altering_any_one_character_is_noticed(sealed: str) -> None:
    accepted = []
    for position, character in enumerate(sealed):
        for other in (*ALPHABET, ".", "=", "!", " ", "ü"):
            if other == character:
                continue
            altered = sealed[:position] + other + sealed[position + 1 :]
            try:
                cursors().open(QUERY, altered)
            except InvalidCursor:
                continue
            accepted.append(altered)
    assert accepted == []


@pytest.mark.parametrize(
    "alter",
    [
        lambda cursor: cursor + "=",
        lambda cursor: cursor + "!",
        lambda cursor: cursor + "\n",
        lambda cursor: " " + cursor,
        lambda cursor: cursor[:-1],
        lambda cursor: cursor[1:],
        lambda cursor: cursor.rpartition(".")[0],
        lambda cursor: cursor + cursor,
        lambda cursor: cursor.swapcase(),
    ],
)
def test_a_longer_or_shorter_cursor_is_refused(sealed: str, alter: Callable[[str], str]) -> None:
    with pytest.raises(InvalidCursor):
        cursors().open(QUERY, alter(sealed))


@pytest.mark.parametrize(
    "query", ["", "images", "images?status=queued", QUERY + " ", QUERY.upper()]
)
def test_a_cursor_of_another_query_is_refused(sealed: str, query: str) -> None:
    with pytest.raises(InvalidCursor):
        cursors().open(query, sealed)


@pytest.mark.parametrize(
    "garbage",
    ["", ".", "..", "null", "abc.def", "\x00", "\ud800", "é", "{}", ".eJw.x", "A" * 100_000],
    ids=range(11),
)
def test_garbage_is_refused_and_nothing_else_escapes(garbage: str) -> None:
    with pytest.raises(InvalidCursor):
        cursors().open(QUERY, garbage)


def test_a_cursor_signed_with_another_secret_is_refused(sealed: str) -> None:
    with pytest.raises(InvalidCursor):
        cursors("second").open(QUERY, sealed)


def test_what_the_same_secret_signed_for_another_purpose_is_refused() -> None:
    foreign = URLSafeSerializer("first", salt="other").dumps([QUERY, PLACE])
    with pytest.raises(InvalidCursor):
        cursors().open(QUERY, str(foreign))


@pytest.mark.parametrize("content", [None, 7, "ab", [QUERY], [QUERY, PLACE, 1], {"a": 1}])
def test_signed_content_of_another_shape_is_refused(content: object) -> None:
    odd = URLSafeSerializer("first", salt="cursor").dumps(content)
    with pytest.raises(InvalidCursor):
        cursors().open(QUERY, str(odd))


def test_the_secret_is_asked_for_once_and_only_when_needed() -> None:
    secret = CountingSecret("first")
    signer = Cursors(secret=secret)
    assert secret.asked == []
    signer.open(QUERY, signer.seal(QUERY, PLACE))
    assert secret.asked == ["first"]
