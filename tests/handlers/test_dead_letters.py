"""The routes of dead letters, behind the gateway."""

import json

import pytest
from chalice.test import Client

import app as app_module
from tests.handlers.conftest import RecordingContainer


def test_each_route_calls_its_function_once(client: Client, container: RecordingContainer) -> None:
    api = container.dead_letters_api
    assert client.http.get("/dead-letters?step=infer").status_code == 200
    body = json.dumps({"step": "infer"}).encode()
    headers = {"Content-Type": "application/json"}
    answer = client.http.post("/dead-letters/redrive", headers=headers, body=body)
    assert answer.status_code == 200
    assert [request.query for request in api.list_letters.requests] == [{"step": "infer"}]
    assert [request.body for request in api.redrive.requests] == [body]


@pytest.mark.parametrize("path", ["/dead-letters", "/dead-letters/redrive"])
def test_they_take_signed_requests_alone(path: str) -> None:
    (entry,) = app_module.app.routes[path].values()
    assert type(entry.authorizer).__name__ == "IAMAuthorizer"
