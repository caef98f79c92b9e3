"""The OpenAPI 3.1 document: every route, every answer, every code of an error.

What a request may hold comes from the rules that check it, and each error is one that is really
raised: both are asked, and not written down again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from chalicelib.api.answers import SCHEMAS, ref
from chalicelib.api.http import Answer, error_answer
from chalicelib.api.images import FIELDS, RULES
from chalicelib.api.operations import ANYWHERE, OPERATIONS, UNSIGNED, GatewayRefusal, Operation
from chalicelib.api.schemas import REDRIVE, TRACKING_BATCH, TRACKING_UPDATE
from chalicelib.errors import DarkroomError, MethodNotAllowed, RouteNotFound, ServiceUnavailable

VERSION = "1.0.0"
_REQUEST_ID = "7c4e2f0a-3d4b-4c8e-9a52-0f3b7a0f6f1d"


_FAULT = DarkroomError("Something went wrong on our side; try again.")
_BUSY = ServiceUnavailable("")


@dataclass(frozen=True, kw_only=True)
class Description:
    """``GET /openapi.json``.

    Args:
        signed: Whether the routes of parcels take signed requests alone, as they do when deployed.
    """

    signed: bool

    def get(self) -> Answer:
        """The document."""
        return Answer(status=200, body=self.document())

    def document(self) -> dict[str, Any]:
        """The document as JSON data."""
        paths: dict[str, dict[str, Any]] = {}
        for (path, method), operation in OPERATIONS.items():
            paths.setdefault(path, {})[method] = _described(operation, signed=self.signed)
        document: dict[str, Any] = {
            "openapi": "3.1.0",
            "info": {
                "title": "Darkroom",
                "version": VERSION,
                "summary": "Photos in; predictions, renditions and optimised copies out.",
                "description": _INTRODUCTION,
            },
            "servers": [{"url": ".", "description": "Where this document lies."}],
            "tags": [
                {"name": "Images", "description": "Photos, and what is made of them."},
                {"name": "Parcels", "description": "Where parcels are, proven by photos."},
                {"name": "Service", "description": "About the service itself."},
            ],
            "paths": paths,
            "components": {
                "schemas": {**SCHEMAS, "NewImage": _new_image(), **_updates()},
                "responses": {
                    "NotFound": _refused([RouteNotFound()]),
                    "MethodNotAllowed": _refused([MethodNotAllowed("GET, POST")]),
                },
            },
        }
        if self.signed:
            document["components"]["securitySchemes"] = {
                "sigv4": {
                    "type": "apiKey",
                    "name": "Authorization",
                    "in": "header",
                    "description": "A signature of AWS credentials, Signature Version 4.",
                    "x-amazon-apigateway-authtype": "awsSigv4",
                }
            }
        return document


_INTRODUCTION = """\
JSON in UTF-8 both ways; times in seconds since the Unix epoch, those of parcels in milliseconds.
Every error is one sentence, a code and the request's id. A path that does not exist answers
`404 not_found`, a method that a path does not take `405 method_not_allowed`. CORS headers stand on
every answer, and `OPTIONS` answers for every route.
"""


def _described(operation: Operation, *, signed: bool) -> dict[str, Any]:
    gateway = [*ANYWHERE, *(UNSIGNED if operation.signed and signed else ())]
    by_status: dict[str, list[DarkroomError | GatewayRefusal]] = {}
    for refusal in (*operation.refusals, *gateway, _FAULT, _BUSY):
        by_status.setdefault(str(refusal.status), []).append(refusal)
    good: dict[str, Any] = {"description": operation.meaning}
    if operation.headers:
        good["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}}
            for name, meaning in operation.headers.items()
        }
    if operation.content is not None:
        good["content"] = operation.content
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": {
            str(operation.status): good,
            **{status: _refused(refusals) for status, refusals in sorted(by_status.items())},
            **operation.others,
        },
    }
    if operation.description:
        described["description"] = operation.description
    if operation.parameters:
        described["parameters"] = list(operation.parameters)
    if operation.body is not None:
        described["requestBody"] = operation.body
    if operation.signed and signed:
        described["security"] = [{"sigv4": []}]
    return described


def _refused(refusals: Sequence[DarkroomError | GatewayRefusal]) -> dict[str, Any]:
    """The errors of one status: each code with an example."""
    bodies: dict[str, Any] = {}
    headers: dict[str, Any] = {}
    for refusal in refusals:
        if isinstance(refusal, GatewayRefusal):
            body = {"error": refusal.sentence, "code": refusal.code, "request_id": _REQUEST_ID}
        else:
            answer = error_answer(refusal, _REQUEST_ID)
            body = answer.body
            headers |= {
                name: {"description": _HEADERS[name], "schema": {"type": "string"}}
                for name in answer.headers
            }
        bodies[body["code"]] = {"summary": body["error"], "value": body}
    described: dict[str, Any] = {
        "description": "; ".join(f"`{code}`" for code in bodies),
        "content": {"application/json": {"schema": ref("Error"), "examples": bodies}},
    }
    if headers:
        described["headers"] = headers
    return described


_HEADERS = {
    "Retry-After": "Seconds after which to ask again.",
    "Allow": "The methods that the path takes.",
}


def _new_image() -> dict[str, Any]:
    """The body of ``POST /images``, from the types that check it. Null counts as not set."""
    # The types have names of their own only where they are classes; there is one, and it is put in.
    schemas, named = msgspec.json.schema_components(
        FIELDS.values(), ref_template="#/components/schemas/{name}"
    )
    properties = {
        name: {
            "anyOf": [_put_in(schema, named), {"type": "null"}],
            "description": RULES[name].removeprefix("must be ").capitalize() + ".",
        }
        for name, schema in zip(FIELDS, schemas, strict=True)
    }
    return {
        "type": "object",
        "description": "Nothing has to be there. With `image_base64` the image comes with the "
        "request; without it the answer has a link for the upload.",
        "properties": properties,
        "additionalProperties": False,
        "examples": [{"filename": "cat.jpg", "outputs": ["predictions", "renditions"]}],
    }


def _updates() -> dict[str, Any]:
    """The bodies of ``POST /track``."""
    batch = {**TRACKING_BATCH["properties"]["updates"], "items": ref("NewUpdate")}
    return {
        "Redrive": REDRIVE,
        "NewUpdate": TRACKING_UPDATE,
        "NewUpdates": {**TRACKING_BATCH, "properties": {"updates": batch}},
    }


def _put_in(schema: Mapping[str, Any], named: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    # msgspec's title is the name of a class, which says nothing to a client.
    found = named[reference.rpartition("/")[2]]
    return {name: value for name, value in found.items() if name not in {"title", "description"}}
