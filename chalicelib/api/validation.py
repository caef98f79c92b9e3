"""Data against a JSON Schema: every problem at once, in our own words.

The part of JSON Schema that `chalicelib/api/schemas.py` speaks; a test holds it to the library
`jsonschema`. That is not shipped: it takes 100 ms to load, and 0.5 MB of a layer with 2 to spare.
msgspec stops at the first problem and compares Decimals as floats.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, TypeIs

from chalicelib.api.schemas import Schema
from chalicelib.errors import InvalidRequest

# Enough to mend a request by; a body of nothing but wrong names must not come back as a longer one.
MAX_PROBLEMS = 100
_SHOWN_NAME = 64

type Problem = tuple[str, str]


def check(value: Any, schema: Schema, *more: Problem) -> None:
    """Refuse data that does not fit a schema.

    Args:
        value: JSON data as `exact.read` reads it.
        schema: What it has to be.
        more: Problems that were found by other means.

    Raises:
        InvalidRequest: Names every field that is wrong.
    """
    refuse([*problems_of(value, schema), *more])


def refuse(problems: list[Problem]) -> None:
    """Raise `InvalidRequest` if there are problems."""
    if problems:
        shown = problems[:MAX_PROBLEMS]
        sentence = "; ".join(f"{field} {message}" for field, message in shown)
        raise InvalidRequest(f"{sentence}.", problems=shown)


def problems_of(value: Any, schema: Schema, field: str = "") -> Iterator[Problem]:
    """Each wrong field by its path with dots, and what is wrong with it."""
    if not _fits(value, schema):
        yield field or "body", f"must be {schema['description']}"
    elif isinstance(value, dict):
        yield from _problems_of_fields(value, schema, field)


def _problems_of_fields(value: Mapping[str, Any], schema: Schema, field: str) -> Iterator[Problem]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    for name, rule in properties.items():
        path = f"{field}.{name}" if field else name
        if name in value:
            yield from problems_of(value[name], rule, path)
        elif name in schema.get("required", ()):
            yield path, f"is missing; it must be {rule['description']}"
    if schema.get("additionalProperties") is False:
        for name in value:
            if name not in properties:
                shown = name[:_SHOWN_NAME]
                yield f"{field}.{shown}" if field else shown, "is not a field of this request"


def _fits(value: Any, schema: Schema) -> bool:
    """Whether a value, apart from the fields of an object, is what its schema says."""
    kinds = schema["type"]
    if not any(_KINDS[kind](value) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, str):
        return _within(len(value), schema, "minLength", "maxLength") and (
            # Not `search`: to Python a `$` stands before a line feed at the end as well.
            "pattern" not in schema or re.fullmatch(schema["pattern"], value) is not None
        )
    if isinstance(value, list):
        return _within(len(value), schema, "minItems", "maxItems")
    if is_number(value):
        return _within(value, schema, "minimum", "maximum")
    return True


def _within(value: Any, schema: Schema, lowest: str, highest: str) -> bool:
    return bool(
        (lowest not in schema or value >= schema[lowest])
        and (highest not in schema or value <= schema[highest])
    )


def is_number(value: Any) -> TypeIs[int | Decimal]:
    """Whether a value is a number as `exact.read` reads it; Python counts true as one as well."""
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    # To JSON Schema 1.0 and 1e3 are integers. Made an int, 1e999999 would be a million digits.
    if isinstance(value, Decimal):
        return value == value.to_integral_value()
    return is_number(value)


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": is_number,
    "integer": _is_integer,
    "null": lambda value: value is None,
}
