"""A request and an answer, without a framework."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib.errors import (
    DarkroomError,
    InvalidRequest,
    MethodNotAllowed,
    UnsupportedMediaType,
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a client sent.

    Attributes:
        method: In capitals.
        path: The route's pattern, for instance ``/images/{image_id}``.
        headers: Names in lower case.
        query: Each parameter with its last value.
        body: The bytes as they were sent, already decoded from the gateway's base64.
        request_id: What the answer to an error names.
        caller: Who sent it, `chalicelib.api.callers`.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    request_id: str = ""
    caller: str = ""

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case; empty if none was sent."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a client gets. ``body`` is JSON data, or None for no body."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The body as JSON text."""
        return "" if self.body is None else json.dumps(self.body, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Page(Answer):
    """An answer that a browser shows. ``body`` is its HTML."""

    def text(self) -> str:
        """The HTML."""
        return str(self.body)


def error_answer(error: DarkroomError, request_id: str) -> Answer:
    """Any of our errors in the one shape of the contract."""
    body: dict[str, Any] = {
        "error": error.public_message,
        "code": error.code,
        "request_id": request_id,
    }
    if isinstance(error, InvalidRequest) and error.problems:
        body["errors"] = problems_shown(error)
    return Answer(status=error.status, body=body, headers=error.headers)


def problems_shown(error: InvalidRequest) -> list[dict[str, str]]:
    """The wrong fields of a request, as clients see them."""
    return [{"field": field, "message": message} for field, message in error.problems]


def framework_refusal(status: int, *, allowed: str) -> DarkroomError:
    """Our error for what the web framework refused, or failed at, by itself.

    Args:
        status: The HTTP status that it chose.
        allowed: The methods that it says the path takes, with status 405.
    """
    if status == 405:
        return MethodNotAllowed(allowed)
    if status == 415:
        return UnsupportedMediaType("This route does not take that type of body.")
    if status < 500:
        return InvalidRequest("The request could not be understood.")
    return DarkroomError("Something went wrong on our side; try again.")


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; an empty one if there is no body.

    Raises:
        InvalidRequest: The body is no JSON in UTF-8, or no object.
    """
    if not body.strip():
        return {}
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=refuse_constant)
        # 1e400 is read as infinity, and "\\ud800" as half a character: nothing can write them.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not valid JSON in UTF-8.") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object, {...}.")
    return value


def refuse_constant(name: str) -> None:
    """For the JSON parser: refuse NaN and Infinity.

    Raises:
        ValueError: Always.
    """
    # NaN and Infinity are no JSON (RFC 8259, 6), though Python's parser takes them.
    raise ValueError(name)
