"""What `app.py` does between API Gateway and the API: bodies in, one shape of errors out."""

import base64
import json
from decimal import Decimal
from typing import Any

import pytest
from chalice.test import Client, HTTPResponse

import app as app_module
from chalicelib.api.exact import ExactAnswer
from chalicelib.api.http import Answer
from chalicelib.errors import (
    ImageNotFound,
    InvalidRequest,
    NotRetryable,
    QuotaExceeded,
    ServiceUnavailable,
)
from tests.handlers.conftest import RecordingContainer

IMAGE = "/images/00000000-0000-4000-8000-000000000000"


def assert_error(response: HTTPResponse, status: int, code: str) -> None:
    """The one shape of all errors, with CORS."""
    assert response.status_code == status, response.body
    body = json.loads(response.body)
    assert set(body) == {"error", "code", "request_id"}
    assert body["code"] == code
    assert body["error"].endswith(".")
    assert body["request_id"]
    assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_each_route_calls_its_function_once(client: Client, container: RecordingContainer) -> None:
    api = container.images_api
    assert client.http.post("/images").status_code == 201
    assert client.http.get("/images?limit=3&limit=4").status_code == 200
    assert client.http.get(IMAGE).status_code == 200
    assert client.http.post(f"{IMAGE}/retry").status_code == 202
    assert client.http.delete(IMAGE).status_code == 204
    parts = [api.create, api.list_images, api.get, api.retry, api.delete]
    for path, its_api in (
        ("/health", container.health_api),
        ("/", container.console_api),
        ("/docs", container.reference_api),
        ("/openapi.json", container.openapi_api),
    ):
        assert client.http.get(path).status_code == 200
        parts.append(its_api.get)
    assert [len(part.calls) for part in parts] == [1] * 9
    assert api.list_images.requests[0].query == {"limit": "4"}


def test_a_page_is_answered_as_html_with_the_form_as_it_was_sent(
    client: Client, container: RecordingContainer
) -> None:
    shown = client.http.get("/unsubscribe?token=a.b-c")
    assert shown.status_code == 200
    assert shown.headers["Content-Type"] == "text/html; charset=utf-8"
    assert shown.body.decode() == "<p>Käfer"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    done = client.http.post(
        "/unsubscribe?token=a.b-c", headers=form, body=b"List-Unsubscribe=One-Click"
    )
    assert done.status_code == 200
    (request,) = container.unsubscribe_api.unsubscribe.requests
    assert request.query == {"token": "a.b-c"}
    assert request.body == b"List-Unsubscribe=One-Click"


def test_the_routes_of_parcels_call_their_functions_once(
    client: Client, container: RecordingContainer
) -> None:
    api = container.tracking_api
    assert client.http.post("/track", body=b'{"a": 1.50}').status_code == 200
    assert client.http.get("/status?tracking_id=P%201%2F%C3%A9&limit=3").status_code == 200
    assert [len(part.calls) for part in (api.track, api.status)] == [1, 1]
    assert api.track.requests[0].body == b'{"a": 1.50}'
    assert api.status.requests[0].query == {"tracking_id": "P 1/é", "limit": "3"}


def test_numbers_reach_the_client_as_the_api_wrote_them(
    client: Client, container: RecordingContainer
) -> None:
    """Defect 50: a Decimal in an answer ended in 500."""
    container.tracking_api.status.answer = ExactAnswer(
        status=200, body={"lat": Decimal("40.71280000000000000000001"), "lng": Decimal("1.0")}
    )
    response = client.http.get("/status?tracking_id=P")
    assert response.body == b'{"lat":40.71280000000000000000001,"lng":1.0}'


def test_wrong_fields_stand_beside_the_one_shape_of_an_error(
    client: Client, container: RecordingContainer
) -> None:
    container.tracking_api.track.answer = InvalidRequest(
        "status is missing.", problems=[("status", "is missing")]
    )
    response = client.http.post("/track", body=b"{}")
    body = json.loads(response.body)
    assert (response.status_code, set(body)) == (400, {"error", "code", "request_id", "errors"})
    assert body["errors"] == [{"field": "status", "message": "is missing"}]
    assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_a_204_has_no_body(client: Client) -> None:
    assert client.http.delete(IMAGE).body == b""


def test_an_error_of_ours_has_the_one_shape(client: Client, container: RecordingContainer) -> None:
    container.images_api.get.answer = ImageNotFound("x")
    assert_error(client.http.get(IMAGE), 404, "image_not_found")
    container.images_api.retry.answer = NotRetryable("completed")
    assert_error(client.http.post(f"{IMAGE}/retry"), 409, "not_retryable")


def test_a_used_up_quota_is_429_and_every_page_may_read_when_to_ask_again(
    client: Client, container: RecordingContainer
) -> None:
    refusal = QuotaExceeded(90, requests=3, seconds=3600)
    container.images_api.create.answer = container.images_api.retry.answer = refusal
    container.tracking_api.track.answer = refusal
    for path in ("/images", f"{IMAGE}/retry", "/track"):
        response = client.http.post(path, body=b"{}")
        assert_error(response, 429, "quota_exceeded")
        assert response.headers["Retry-After"] == "90"
        assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]


def test_what_costs_is_told_who_asks(client: Client, container: RecordingContainer) -> None:
    client.http.post("/images", headers={"X-Forwarded-For": "203.0.113.7"})
    client.http.post("/track", body=b"{}")
    client.http.post(f"{IMAGE}/retry")
    (created,), (tracked,) = (
        container.images_api.create.requests,
        container.tracking_api.track.requests,
    )
    ((_, retried),) = container.images_api.retry.calls
    assert {created.caller, tracked.caller, retried["caller"]} == {"address 127.0.0.1"}


def test_an_aws_fault_is_503_with_retry_after_and_without_its_words(
    client: Client, container: RecordingContainer
) -> None:
    container.images_api.get.answer = ServiceUnavailable("GetItem: AccessDenied: arn:aws:secret")
    response = client.http.get(IMAGE)
    assert_error(response, 503, "service_unavailable")
    assert "arn:aws" not in response.body.decode()
    assert response.headers["Retry-After"] == "5"


def test_an_unforeseen_exception_is_500_and_says_nothing_of_itself(
    client: Client, container: RecordingContainer, caplog: pytest.LogCaptureFixture
) -> None:
    """Defect 5: the exception's own text reached the client."""
    container.images_api.get.answer = RuntimeError("password=hunter2")
    response = client.http.get(IMAGE)
    assert_error(response, 500, "internal_error")
    assert b"hunter2" not in response.body
    assert caplog.text.count("Traceback") == 1, "it belongs in the log, once"
    assert "hunter2" in caplog.text


def test_a_method_that_a_path_does_not_take_is_405_and_names_those_that_it_takes(
    client: Client,
) -> None:
    response = client.http.put("/images")
    assert_error(response, 405, "method_not_allowed")
    assert set(response.headers["Allow"].split(", ")) == {"GET", "POST"}


@pytest.mark.parametrize("path", ["/nothing", "/images/1/2/3", "/a/b/c/d/e"])
@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
def test_a_path_that_does_not_exist_is_404(client: Client, path: str, method: str) -> None:
    assert_error(getattr(client.http, method)(path), 404, "not_found")


def test_every_answer_forbids_sniffing_and_storing(client: Client) -> None:
    response = client.http.get(IMAGE)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"


def test_json_keeps_its_letters(client: Client, container: RecordingContainer) -> None:
    container.images_api.get.answer = Answer(status=200, body={"filename": "Käfer 🪲.jpg"})
    response = client.http.get(IMAGE)
    assert json.loads(response.body) == {"filename": "Käfer 🪲.jpg"}
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"


def gateway_event(body: Any, *, encoded: bool, content_type: str) -> dict[str, Any]:
    """A request as API Gateway hands it to Lambda."""
    return {
        "resource": "/images",
        "path": "/images",
        "httpMethod": "POST",
        "headers": {"Content-Type": content_type, "IDEMPOTENCY-KEY": "k1"},
        "multiValueHeaders": {"Content-Type": [content_type]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {"httpMethod": "POST", "resourcePath": "/images", "requestId": "g1"},
        "body": body,
        "isBase64Encoded": encoded,
    }


class LambdaContext:
    """What Lambda passes beside an event."""

    aws_request_id = "request-7"

    def get_remaining_time_in_millis(self) -> int:
        """Plenty."""
        return 30_000


def test_a_body_that_the_gateway_encoded_arrives_as_it_was_sent(
    container: RecordingContainer,
) -> None:
    """Defect 16: isBase64Encoded was ignored."""
    event = gateway_event(
        base64.b64encode(b"\xff\xd8\xff\x00").decode(), encoded=True, content_type="image/jpeg"
    )
    assert app_module.app(event, LambdaContext())["statusCode"] == 201
    request = container.images_api.create.requests[0]
    assert request.body == b"\xff\xd8\xff\x00"
    assert request.content_type == "image/jpeg"
    assert request.headers["idempotency-key"] == "k1"
    assert request.request_id == "request-7"


def test_the_path_of_a_named_stage_does_not_matter(container: RecordingContainer) -> None:
    """Defect 29: routing on the raw path failed on every named stage."""
    event = gateway_event(None, encoded=False, content_type="application/json")
    event["path"] = "/prod/images"
    assert app_module.app(event, LambdaContext())["statusCode"] == 201


def test_every_route_answers_a_preflight() -> None:
    for path, methods in app_module.app.routes.items():
        for entry in methods.values():
            assert entry.cors is app_module.CORS, path
    headers = app_module.CORS.get_access_control_headers()
    assert "Idempotency-Key" in headers["Access-Control-Allow-Headers"]
    assert "Idempotent-Replayed" in headers["Access-Control-Expose-Headers"]
