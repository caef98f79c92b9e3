"""Our reading of the JSON Schemas, held to the library that reads all of JSON Schema."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.api import exact, schemas
from chalicelib.api.validation import MAX_PROBLEMS, check, problems_of
from chalicelib.errors import InvalidRequest
from tests.unit.tracking_world import UPDATE

ALL = (
    schemas.TRACKING_UPDATE,
    schemas.TRACKING_BATCH,
    schemas.STATUS_QUERY,
    schemas.LOCATION,
)
KEYWORDS = {
    *("type", "description", "properties", "required", "additionalProperties", "enum"),
    *("minLength", "maxLength", "pattern", "minItems", "maxItems", "minimum", "maximum"),
}

GOOD = exact.read(json.dumps(UPDATE))


def _is_integer(_: Any, value: Any) -> bool:
    if isinstance(value, Decimal):
        return value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


# It knows of Decimals as numbers, but not as integers.
LIBRARY = jsonschema.validators.extend(  # type: ignore[no-untyped-call] # its stubs have no types here
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)

# Python's `$` stands before a line feed at the end, JSON Schema's does not.
texts = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda t: not t.endswith("\n"))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-200, 200)
    | st.integers(0, 10**15)
    | st.decimals(-200, 200, allow_nan=False)
    | texts
    | st.sampled_from(["pending", "delivered", "a@b.example", "PX-1", "x" * 101])
)
anything = scalars | st.lists(scalars, max_size=3) | st.dictionaries(texts, scalars, max_size=3)
updates = st.fixed_dictionaries(
    {},
    optional={
        "tracking_id": anything,
        "status": anything,
        "location": anything
        | st.fixed_dictionaries({}, optional={"lat": scalars, "lng": scalars, "alt": scalars}),
        "occurred_at": anything,
        "metadata": anything,
        "image_id": anything,
        "notify_email": anything,
        "updates": st.lists(scalars, max_size=101),
        "limit": anything,
        "colour": anything,
    },
)


@given(updates | anything, st.sampled_from(ALL))
@example(GOOD, schemas.TRACKING_UPDATE)
@example({"tracking_id": "P", "limit": Decimal("1.0")}, schemas.STATUS_QUERY)
@example({"updates": []}, schemas.TRACKING_BATCH)
def test_it_finds_fault_with_what_the_library_finds_fault_with(
    value: Any, schema: schemas.Schema
) -> None:
    validator = LIBRARY(dict(schema))
    ours = {field for field, _ in problems_of(value, schema)}
    theirs = set()
    for error in validator.iter_errors(value):
        path = [str(part) for part in error.absolute_path]
        if error.validator == "required":
            missing = set(error.validator_value) - set(error.instance)
            theirs |= {".".join([*path, name]) for name in missing}
        elif error.validator == "additionalProperties":
            extra = set(error.instance) - set(error.schema["properties"])
            theirs |= {".".join([*path, name[:64]]) for name in extra}
        else:
            theirs.add(".".join(path) or "body")
    assert ours == theirs


@pytest.mark.parametrize("schema", ALL)
def test_each_schema_is_one_by_the_drafts_that_are_spoken_outside(schema: schemas.Schema) -> None:
    """Draft 4 is what API Gateway's models are of, 2020-12 what OpenAPI 3.1 is of."""
    jsonschema.Draft4Validator.check_schema(dict(schema))
    jsonschema.Draft202012Validator.check_schema(dict(schema))
    json.dumps(schema)


def test_no_schema_says_what_is_not_checked() -> None:
    def keywords(schema: Mapping[str, Any]) -> set[str]:
        inner = [keywords(rule) for rule in schema.get("properties", {}).values()]
        return set(schema).union(*inner)

    for schema in ALL:
        assert keywords(schema) <= KEYWORDS


def test_every_problem_is_named_at_once_with_its_path() -> None:
    body = {
        "tracking_id": "",
        "location": {"lat": 91, "lng": "x"},
        "notify_email": "nobody",
        "colour": 1,
    }
    with pytest.raises(InvalidRequest) as caught:
        check(body, schemas.TRACKING_UPDATE)
    assert dict(caught.value.problems) == {
        "tracking_id": "must be a text of 1 to 100 printable characters",
        "status": "is missing; it must be one of pending, in_transit, delivered, failed",
        "location.lat": "must be a number from -90 to 90, of at most 38 digits",
        "location.lng": "must be a number from -180 to 180, of at most 38 digits",
        "notify_email": "must be an e-mail address such as someone@example.com",
        "colour": "is not a field of this request",
    }
    assert caught.value.public_message.startswith("tracking_id must be a text of 1 to 100")


def test_the_bounds_are_exact() -> None:
    """As floats 90.00000000000000000001 and 90 are the same."""
    schema = schemas.LOCATION
    inside = exact.read('{"lat": 90.0, "lng": -180.00000000000000000000}')
    outside = exact.read('{"lat": 90.00000000000000000001, "lng": -180.0000000000000000001}')
    assert list(problems_of(inside, schema)) == []
    assert [field for field, _ in problems_of(outside, schema)] == ["lat", "lng"]


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e999999", "9" * 5000])
def test_a_number_without_bounds_is_refused_without_being_written_out(number: str) -> None:
    value = exact.read(f'{{"lat": {number}, "lng": {number}}}')
    assert [field for field, _ in problems_of(value, schemas.LOCATION)] == ["lat", "lng"]
    assert list(
        problems_of(exact.read(f'{{"tracking_id": "P", "limit": {number}}}'), schemas.STATUS_QUERY)
    )


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x00", "\x7f", "\x85", "\u2028", "\x1b[31m"])
def test_a_line_end_anywhere_in_an_id_or_an_address_is_refused(end: str) -> None:
    for text in (f"a{end}", f"{end}a", f"a{end}Bcc: x"):
        fields = {
            field
            for field, _ in problems_of(
                {**GOOD, "tracking_id": text, "notify_email": f"{text}@b.example"},
                schemas.TRACKING_UPDATE,
            )
        }
        assert fields == {"tracking_id", "notify_email"}


@pytest.mark.parametrize(
    "address",
    ["a@b.example", "first.last+tag@sub.example.com", "x@xn--bcher-kva.example", "a'b@c-d.example"],
)
def test_common_addresses_are_taken(address: str) -> None:
    assert list(problems_of({**GOOD, "notify_email": address}, schemas.TRACKING_UPDATE)) == []


@pytest.mark.parametrize(
    "address",
    [
        *("", "a", "a@", "@b.example", "a@b", "a@b.", "a@.b", "a b@c.example", "a@b..example"),
        *("a@-b.example", "a@b.example, c@d.example", "A <a@b.example>", "é@b.example"),
        "a" * 65 + "@b.example",
        "a@" + "b." * 130 + "example",
    ],
)
def test_what_is_no_single_address_is_refused(address: str) -> None:
    problems = problems_of({**GOOD, "notify_email": address}, schemas.TRACKING_UPDATE)
    assert [field for field, _ in problems] == ["notify_email"]


def test_a_body_of_nothing_but_wrong_names_is_not_answered_with_a_longer_one() -> None:
    with pytest.raises(InvalidRequest) as caught:
        check({"x" * 1000 + str(n): 1 for n in range(10_000)}, schemas.TRACKING_UPDATE)
    assert len(caught.value.problems) == MAX_PROBLEMS
    assert len(caught.value.public_message) < 20_000
