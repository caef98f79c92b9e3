"""Anything at all, sent to the routes of parcels: never a fault of ours, always a shape of ours."""

from collections.abc import Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from chalicelib.api import schemas
from tests.system.conftest import Service

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
ERROR = {
    "type": "object",
    "properties": {
        "error": {"type": "string", "minLength": 1},
        "code": {"type": "string", "pattern": "^[a-z_]+$"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                "required": ["field", "message"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["error", "code", "request_id"],
    "additionalProperties": False,
}
STORED = {
    "type": "object",
    "properties": {"tracking_id": {"type": "string"}, "timestamp": {"type": "integer"}},
    "required": ["message", "tracking_id", "timestamp"],
}
HISTORY = {
    "type": "object",
    "properties": {"updates": {"type": "array"}, "count": {"type": "integer", "minimum": 0}},
    "required": ["tracking_id", "current", "updates", "count", "next_key"],
}


def answers(good: Mapping[str, Any], *refusals: str) -> dict[str, Any]:
    """The answers of a route, all of them JSON."""
    return {
        status: {"description": status, "content": {"application/json": {"schema": schema}}}
        for status, schema in {"200": good, **dict.fromkeys(refusals, ERROR)}.items()
    }


def parameter(name: str) -> dict[str, Any]:
    """A parameter of ``GET /status``."""
    return {
        "name": name,
        "in": "query",
        "required": name in schemas.STATUS_QUERY["required"],
        "schema": schemas.STATUS_QUERY["properties"][name],
    }


DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "Parcels", "version": "1"},
    "paths": {
        "/track": {
            "post": {
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": schemas.TRACKING_UPDATE}},
                },
                "responses": answers(STORED, "400", "404", "415"),
            }
        },
        "/status": {
            "get": {
                "parameters": [parameter(name) for name in schemas.STATUS_QUERY["properties"]],
                "responses": answers(HISTORY, "400"),
            }
        },
    },
}


@pytest.mark.parametrize("mode", list(GenerationMode), ids=["good", "bad"])
@pytest.mark.parametrize("route", [("/track", "POST"), ("/status", "GET")], ids=lambda r: r[0])
def test_whatever_is_sent_the_answer_is_one_that_is_documented(
    service: Service, route: tuple[str, str], mode: GenerationMode
) -> None:
    """Bodies and queries that fit the schemas, and such as do not, down to what is no JSON."""
    described = schemathesis.openapi.from_dict(DOCUMENT)
    described.config.update(base_url=service.deployed.places.api_url)
    path, method = route
    seen: set[int] = set()
    cases = described[path][method].as_strategy(generation_mode=mode)

    @settings(suppress_health_check=list(HealthCheck), deadline=None)
    @given(cases)
    def send(case: Any) -> None:
        seen.add(case.call_and_validate(checks=CHECKS).status_code)

    send()
    assert (200 if mode is GenerationMode.POSITIVE else 400) in seen
