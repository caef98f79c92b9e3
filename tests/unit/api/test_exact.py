"""Numbers as they were written."""

from decimal import Decimal

import pytest
from boto3.dynamodb.types import TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.api import exact
from chalicelib.errors import InvalidRequest

json_data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner),
)


@given(json_data)
def test_what_is_written_reads_as_it_was(data: object) -> None:
    text = exact.write(data)
    assert exact.read(text) == data
    assert exact.write(exact.read(text)) == text


@pytest.mark.parametrize(
    "text", ["40.7128", "1.0", "1", "-0.0", "0.1000", "1e2", "123456789012345678901234567890"]
)
def test_a_number_comes_back_with_all_its_digits(text: str) -> None:
    assert exact.write(exact.read(text)).lower().replace("+", "") == text


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"NaN",
        b"[Infinity]",
        b'{"a": -Infinity}',
        b"1e9999999999999999999999",
        b'"\\ud800"',
        b'"\xff"',
        b"[" * 100_000,
        b"01",
    ],
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        exact.read(text)


@pytest.mark.parametrize("body", [b"null", b"[]", b"1", b'"x"', b"true", b"", b"not json"])
def test_a_body_that_is_no_object_is_an_invalid_request_with_its_problem(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        exact.read_object(body)
    assert [field for field, _ in caught.value.problems] == ["body"]


@given(st.decimals(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_number_that_is_said_to_be_storable_is_stored_exactly(number: Decimal | int) -> None:
    """By the serializer of boto3 itself, which raises where it would have to round."""
    if exact.is_storable(number):
        stored = TypeSerializer().serialize(Decimal(number))
        assert Decimal(stored["N"]) == number


@pytest.mark.parametrize("text", ["1e400", "1e-400", "0e-400", "1." + "1" * 38, "9" * 39, "1e126"])
def test_what_dynamodb_cannot_hold_is_not_storable(text: str) -> None:
    assert not exact.is_storable(exact.read(text))


@pytest.mark.parametrize("text", ["0", "40.7128", "-180", "9" * 38, "1e125", "1e-128", "0.0"])
def test_what_dynamodb_holds_is_storable(text: str) -> None:
    assert exact.is_storable(exact.read(text))
