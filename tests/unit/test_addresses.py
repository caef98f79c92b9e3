"""Which addresses mail is sent to."""

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.addresses import address_hash, checked, parcel_hash
from chalicelib.errors import AddressRejected

GOOD = [
    "someone@example.com",
    "first.last+tag@mail.example.co.uk",
    "o'hara_%&*=?^{|}~!#$/`@example.com",
    "a@xn--kfer-loa.example",
    "1@2.example",
    f"{'l' * 64}@{'d' * 60}.example",
]
BAD = [
    "",
    "someone",
    "@example.com",
    "someone@",
    "someone@localhost",
    "a..b@example.com",
    ".a@example.com",
    "a.@example.com",
    "a b@example.com",
    '"a b"@example.com',
    "a@b@example.com",
    "a@example..com",
    "a@-example.com",
    "a@example-.com",
    "a@example.com.",
    "a@[127.0.0.1]",
    "a@127.0.0.1",
    "a@example.c",
    "a@example.com0",
    "a@ab--cd.example",
    "Someone <a@example.com>",
    "a@example.com, b@example.com",
    "a@example.com;b@example.com",
    "käfer@example.com",
    "a@käfer.example",
    "a@example.com\n",
    "a@example.com\r\nBcc: b@example.com",
    "a\r\nBcc:b@example.com",
    "a@example.com\u2028Bcc: b@example.com",
    "a\x00@example.com",
    f"{'l' * 65}@example.com",
    f"{'l' * 64}@{'.'.join(['d' * 60] * 3)}.example",
]


@pytest.mark.parametrize("address", GOOD)
def test_an_address_is_taken_as_it_is(address: str) -> None:
    assert checked(address) == address


@pytest.mark.parametrize("address", BAD)
def test_anything_else_is_refused_and_does_not_stand_in_the_error(address: str) -> None:
    with pytest.raises(AddressRejected) as caught:
        checked(address)
    assert not address or address not in f"{caught.value} {caught.value.public_message}"


@given(st.emails() | st.from_regex(r"[a-z!'.@-]{1,20}@[a-z0-9.-]{1,30}\.com"))
@example("a@example.com\n")
def test_what_is_taken_the_library_takes_too(text: str) -> None:
    """email-validator as the oracle; it knows what nobody can be reached at, and ships nowhere."""
    try:
        address = checked(text)
    except AddressRejected:
        return
    # Which domains are set aside, and what an encoded one stands for, is no matter of form.
    objection = objection_to(address)
    assert not objection or "special-use" in objection or "xn--" in address.lower(), objection


def objection_to(address: str) -> str:
    """What the library has against an address."""
    try:
        validate_email(address, check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError as error:
        return str(error)
    return ""


@given(st.text())
def test_nothing_that_is_taken_can_end_a_header_or_name_a_second_recipient(text: str) -> None:
    try:
        address = checked(f"{text}@example.com")
    except AddressRejected:
        return
    assert address.isascii()
    assert address.isprintable()
    assert not set(address) & set(' ,;:<>()[]"\\')


def test_an_address_in_other_letters_is_the_same_address() -> None:
    assert address_hash(" A@Example.com ") == address_hash("a@example.com")
    assert address_hash("a@example.com") != address_hash("b@example.com")
    assert "example" not in address_hash("a@example.com")


def test_parcels_have_hashes_of_one_length_whatever_their_ids_are() -> None:
    assert len(parcel_hash("x")) == len(parcel_hash("🪲" * 100)) == 64
    assert parcel_hash("PX") != parcel_hash("px")
