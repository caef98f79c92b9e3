import json

import pytest

from chalicelib.api.http import Answer, Request, error_answer, framework_refusal, json_object
from chalicelib.errors import ImageNotFound, InvalidRequest, MethodNotAllowed, ServiceUnavailable


@pytest.mark.parametrize(
    ("sent", "media_type"),
    [
        ("application/json", "application/json"),
        ("Application/JSON; charset=utf-8", "application/json"),
        (" image/jpeg ;q=1", "image/jpeg"),
        ("", ""),
    ],
)
def test_a_content_type_is_told_without_its_parameters(sent: str, media_type: str) -> None:
    request = Request(method="POST", path="/images", headers={"content-type": sent})
    assert request.content_type == media_type


def test_a_request_without_content_type_has_an_empty_one() -> None:
    assert Request(method="POST", path="/images").content_type == ""


def test_an_answer_without_body_has_no_text() -> None:
    assert Answer(status=204).text() == ""


def test_an_empty_body_is_not_the_same_as_none() -> None:
    assert Answer(status=200, body={}).text() == "{}"


def test_an_answers_text_is_json_with_its_characters_as_they_are() -> None:
    text = Answer(status=200, body={"label": "naïve ☕", "probability": 0.61}).text()
    assert "naïve ☕" in text
    assert json.loads(text) == {"label": "naïve ☕", "probability": 0.61}


def test_an_error_is_answered_in_the_one_shape() -> None:
    answer = error_answer(ImageNotFound("an-id"), "request-1")
    assert answer.status == 404
    assert answer.body == {
        "error": "There is no image with this id.",
        "code": "image_not_found",
        "request_id": "request-1",
    }


def test_an_errors_headers_are_those_of_the_answer() -> None:
    assert error_answer(MethodNotAllowed("GET"), "r").headers == {"Allow": "GET"}
    assert error_answer(ServiceUnavailable("x"), "r").headers["Retry-After"] == "5"


def test_what_belongs_in_the_log_is_not_answered() -> None:
    assert "table-x" not in error_answer(ServiceUnavailable("table-x throttled"), "r").text()


@pytest.mark.parametrize("body", [b"", b" ", b"\r\n\t"])
def test_no_body_is_an_empty_object(body: bytes) -> None:
    assert json_object(body) == {}


def test_a_body_is_read_as_it_was_written() -> None:
    sent = {"filename": "naïve ☕ 😀.jpg", "lat": 40.7128, "outputs": ["formats"], "note": None}
    assert json_object(json.dumps(sent).encode()) == sent
    assert json_object(json.dumps(sent, ensure_ascii=False).encode()) == sent


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": [-1e999]}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b"9" * 5000 + b"}",
        b"hello",
        b"\x00",
    ],
    ids=range(17),
)
def test_what_is_no_json_is_refused_in_our_own_words(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        json_object(body)
    assert caught.value.public_message == "The body is not valid JSON in UTF-8."


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"', b"true", b"[{}]"])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="must be a JSON object"):
        json_object(body)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "invalid_request"),
        (405, "method_not_allowed"),
        (415, "unsupported_media_type"),
        (500, "internal_error"),
    ],
)
def test_what_the_framework_refuses_becomes_an_error_of_ours(status: int, code: str) -> None:
    error = framework_refusal(status, allowed="GET, POST")
    assert (error.status, error.code) == (status, code)
    assert error.public_message.endswith(".")
    assert dict(error.headers) == ({"Allow": "GET, POST"} if status == 405 else {})
