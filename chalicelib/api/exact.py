"""JSON whose numbers are kept as they were written: fractions are Decimals, never floats."""

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from chalicelib.api.http import Answer, refuse_constant
from chalicelib.errors import InvalidRequest

# What DynamoDB can hold: 38 digits, and exponents that boto3 takes without rounding.
MAX_DIGITS = 38
_EXPONENTS = range(-128, 126)
# The longest integer that any JSON writer takes as an int; longer ones are Decimals too.
_INT_DIGITS = 18

_encoder = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, kw_only=True)
class ExactAnswer(Answer):
    """An answer with Decimals in its body."""

    def text(self) -> str:
        """The body as JSON text."""
        return "" if self.body is None else write(self.body)


def read(text: str | bytes) -> Any:
    """The data of a JSON text.

    Raises:
        ValueError: It is no JSON in UTF-8, or holds what no JSON text can be written of.
    """
    try:
        value = json.loads(
            text if isinstance(text, str) else text.decode("utf-8"),
            parse_float=Decimal,
            parse_int=_integer,
            parse_constant=refuse_constant,
        )
        # "\\ud800" is half a character: nothing can write it.
        write(value)
    except (InvalidOperation, RecursionError) as error:
        raise ValueError(str(error)) from None
    return value


def write(value: Any) -> str:
    """Data as JSON text. Raises ValueError where it cannot be written."""
    return _encoder.encode(value).decode()


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a request's body.

    Raises:
        InvalidRequest: The body is no JSON in UTF-8, or no object.
    """
    try:
        value = read(body)
    except ValueError:
        raise _not_an_object("is not valid JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise _not_an_object("must be a JSON object, {...}")
    return value


def is_storable(value: int | Decimal) -> bool:
    """Whether DynamoDB keeps a number exactly as it is."""
    parts = Decimal(value).as_tuple()
    return (
        len(parts.digits) <= MAX_DIGITS
        and isinstance(parts.exponent, int)
        and parts.exponent in _EXPONENTS
        and parts.exponent + len(parts.digits) - 1 in _EXPONENTS
    )


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= _INT_DIGITS else Decimal(text)


def _not_an_object(problem: str) -> InvalidRequest:
    return InvalidRequest(f"The body {problem}.", problems=[("body", problem)])
