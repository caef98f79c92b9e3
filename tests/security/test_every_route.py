"""Whatever is sent to whichever route: never a fault of ours, and a status that is described."""

import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.core import NotSet

import app as app_module
from chalicelib.api.operations import OPERATIONS
from tests.security.conftest import Outside

ROUTES = {f"{method.upper()} {path}": each for (path, method), each in OPERATIONS.items()}
# Of the others nothing can be wrong: any text may stand in their paths.
WRONG = [
    route
    for route, each in ROUTES.items()
    if each.body or any(parameter["in"] != "path" for parameter in each.parameters)
]
CASES = [(route, GenerationMode.POSITIVE) for route in ROUTES] + [
    (route, GenerationMode.NEGATIVE) for route in WRONG
]


def test_these_are_all_routes_that_there_are() -> None:
    assert set(ROUTES) == {
        f"{method} {path}"
        for path, methods in app_module.app.routes.items()
        for method in methods
        # Where `chalice local` answers what leads nowhere.
        if "part0" not in path
    }


@pytest.fixture(scope="module")
def document(outside: Outside) -> Any:
    """What the service says of itself."""
    return json.loads(outside.ask("GET", "/openapi.json").body)


def body_of(case: Any) -> bytes:
    if isinstance(case.body, NotSet):
        return b""
    if isinstance(case.body, bytes):
        return case.body
    return json.dumps(case.body).encode()


def query_of(case: Any) -> str:
    pairs = [
        (name, one)
        for name, value in (case.query or {}).items()
        for one in (value if isinstance(value, list) else [value])
    ]
    return f"?{urlencode(pairs)}" if pairs else ""


@pytest.mark.parametrize(("route", "mode"), CASES, ids=str)
def test_no_request_makes_a_fault_of_ours(
    outside: Outside, document: Any, route: str, mode: GenerationMode
) -> None:
    method, path = route.split(" ")
    operation = schemathesis.openapi.from_dict(document)[path][method]
    described = set(document["paths"][path][method.lower()]["responses"])
    cases = operation.as_strategy(generation_mode=mode)

    @settings(suppress_health_check=list(HealthCheck), deadline=None, database=None)
    @given(cases)
    def send(case: Any) -> None:
        values = {name: quote(str(value), safe="") for name, value in case.path_parameters.items()}
        answer = outside.ask(
            method,
            path.format(**values) + query_of(case),
            body=body_of(case),
            headers={
                **{name: str(value) for name, value in (case.headers or {}).items()},
                **({"Content-Type": case.media_type} if case.media_type else {}),
            },
        )
        status = str(answer.status_code)
        assert status < "500", answer.body
        assert status in described or f"{status[0]}XX" in described, (status, answer.body)

    send()
