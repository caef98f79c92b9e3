"""T9: what a stranger sends neither forges a line of a log nor stands in one that is private."""

import base64
import io
import json
import logging
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from chalicelib import telemetry
from tests.handlers.events import s3_record
from tests.security.conftest import Outside
from tests.unit.pipeline.world import PHOTO

# Every way in which somebody may end a line, or make a terminal do something.
NASTY = 'x\r\ny\nz\x0b\x0c\x1b[2J\x1b]0;t\x07\x85\u2028\u2029\u202e\x00"}\n{"level":"FORGED"}'
ENCODED = base64.b64encode(PHOTO).decode()
UPDATE = {"tracking_id": "PX", "status": "pending", "location": {"lat": 1, "lng": 2}}

IMAGES: Mapping[str, Any] = {
    "filename": {"filename": NASTY},
    "type": {"content_type": NASTY},
    "base64": {"image_base64": NASTY},
    "filename of an image": {"image_base64": ENCODED, "filename": NASTY},
    "name in metadata": {"metadata": {NASTY: "a"}},
    "value in metadata": {"metadata": {"a": NASTY}, "image_base64": ENCODED},
    "outputs": {"outputs": [NASTY]},
    "focal point": {"focal_point": {"x": NASTY, "y": 0}},
    "unknown field": {NASTY: NASTY},
}
UPDATES: Mapping[str, Any] = {
    "id": {"tracking_id": NASTY},
    "status": {"status": NASTY},
    "photo": {"image_id": NASTY},
    "address": {"notify_email": f"{NASTY}@example.com"},
    "metadata": {"metadata": {NASTY: NASTY}},
    "place": {"location": {"lat": NASTY, "lng": NASTY}},
    "time": {"occurred_at": NASTY},
    "unknown field": {NASTY: NASTY},
}
PATHS = (
    *("GET /images/{}", "DELETE /images/{}", "POST /images/{}/retry"),
    "POST /images/00000000-0000-4000-8000-000000000000/retry?model={}",
    *(
        "GET /images?cursor={}",
        "GET /images?status={}",
        "GET /images?limit={}",
        "GET /images?{}={}",
    ),
    *("GET /status?tracking_id={}", "GET /status?tracking_id=PX&last_key={}"),
    *("GET /unsubscribe?token={}", "POST /unsubscribe?token={}", "GET /{}"),
)
HEADERS = ("Idempotency-Key", "User-Agent", "Content-Type", "X-Amzn-Trace-Id", "Origin", "Cookie")
STEPS = {
    "preprocess": "preprocessing",
    "infer": "inference",
    "optimise": "conversion",
    "mail": "notification",
    "feedback": "mail-feedback",
}


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Iterator[io.StringIO]:
    """What the logger writes; metrics go to the output, which nobody may write to otherwise."""
    buffer = io.StringIO()
    handler = telemetry.logger().registered_handler
    assert isinstance(handler, logging.StreamHandler)
    before = handler.setStream(buffer)
    telemetry.logger().info("begun")
    yield buffer
    handler.setStream(before if before is not None else handler.stream)
    # Not `splitlines`, which also ends a line where no log collector does.
    for line in (*buffer.getvalue().split("\n"), *capsys.readouterr().out.split("\n")):
        if line:
            assert json.loads(line).get("level") != "FORGED"
            # A terminal that shows the log does nothing of what stands in it.
            assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202e]", line), ascii(line)


@pytest.mark.parametrize("where", IMAGES)
def test_a_field_of_an_image_forges_no_line(outside: Outside, log: io.StringIO, where: str) -> None:
    answer = outside.ask("POST", "/images", json_body=IMAGES[where])
    assert answer.status_code in {201, 400}, answer.body


@pytest.mark.parametrize("where", UPDATES)
def test_a_field_of_an_update_forges_no_line(
    outside: Outside, log: io.StringIO, where: str
) -> None:
    answer = outside.ask("POST", "/track", json_body={**UPDATE, **UPDATES[where]})
    assert answer.status_code in {200, 400, 404}, answer.body


@pytest.mark.parametrize("path", PATHS)
def test_a_path_or_a_query_forges_no_line(outside: Outside, log: io.StringIO, path: str) -> None:
    method, _, rest = path.partition(" ")
    answer = outside.ask(method, rest.replace("{}", quote(NASTY, safe="")))
    assert answer.status_code < 500, answer.body


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_forges_no_line(outside: Outside, log: io.StringIO, name: str) -> None:
    for body in (b"{}", NASTY.encode(), b""):
        answer = outside.ask("POST", "/images", body=body, headers={name: NASTY})
        assert answer.status_code < 500, answer.body


@pytest.mark.parametrize("key", [f"uploads/direct/{NASTY}.jpg", f"uploads/{NASTY}/source", NASTY])
def test_the_key_of_an_object_forges_no_line(outside: Outside, log: io.StringIO, key: str) -> None:
    ingest = outside.of("ingest")
    record = s3_record(key)
    record["s3"]["bucket"]["name"] = ingest.owner.settings.uploads_bucket
    # Nothing lies there: whether it is taken in or fails, somebody writes about it.
    with suppress(Exception):
        ingest.run({"Records": [record]})


@pytest.mark.parametrize("step", STEPS)
def test_a_message_that_nobody_can_read_forges_no_line(
    outside: Outside, log: io.StringIO, step: str
) -> None:
    trial = outside.of(step)
    with suppress(Exception):
        trial.run(trial.received(STEPS[step], NASTY.replace("\x00", "")))
    # A step that failed says so.
    assert log.getvalue().count("\n") >= 1


def test_neither_credentials_nor_bodies_nor_links_are_logged(
    outside: Outside, log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """T9 and T14: a day's traffic, good and bad, at the level of logging that tells most."""
    mark = uuid.uuid4().hex
    level = telemetry.logger().log_level
    telemetry.logger().setLevel("DEBUG")
    try:
        kept_back = {mark, ENCODED[40:120], *traffic(outside, mark)}
    finally:
        telemetry.logger().setLevel(level)
    assert all(len(text) > 20 for text in kept_back), kept_back
    written = log.getvalue() + capsys.readouterr().out
    assert "begun" in written
    for text in kept_back:
        assert text not in written


def traffic(outside: Outside, mark: str) -> Iterator[str]:
    """Requests with the mark in all that is private; what else was handed out."""
    secrets = {
        "Authorization": f"Bearer bearer-{mark}",
        "X-Api-Key": f"key-{mark}",
        "Cookie": f"session=cookie-{mark}",
    }
    note = {"note": f"metadata-{mark}"}
    created = outside.ask("POST", "/images", json_body={"metadata": note}, headers=secrets)
    assert created.status_code == 201, created.body
    made = json.loads(created.body)
    yield made["upload"]["fields"]["x-amz-signature"]
    yield made["upload"]["fields"]["policy"]
    yield signature_of(made["upload_url"])
    preprocess = outside.of("preprocess")
    outside.ask("POST", "/images", body=PHOTO, headers={**secrets, "Content-Type": "image/jpeg"})
    for body in preprocess.sent("preprocessing"):
        preprocess.run(preprocess.received("preprocessing", body))
    for wrong in ({"image_base64": f"{ENCODED}*"}, {"metadata": {"note": [f"metadata-{mark}"]}}):
        assert outside.ask("POST", "/images", json_body=wrong).status_code == 400
    update = {
        **UPDATE,
        "tracking_id": f"PX {uuid.uuid4()}",
        "metadata": note,
        "notify_email": f"address-{mark}@recipient.example",
    }
    signed = AWSRequest(
        "POST",
        "https://api.example/track",
        data=json.dumps(update),
        headers={"Content-Type": "application/json"},
    )
    SigV4Auth(Credentials("AKIA", f"secret-{mark}"), "execute-api", "us-east-1").add_auth(signed)
    headers = dict(signed.headers.items())
    answer = outside.ask("POST", "/track", body=json.dumps(update).encode(), headers=headers)
    assert answer.status_code == 200, answer.body
    yield headers["Authorization"].rpartition("Signature=")[2]
    for changed in ({"notify_email": f"address-{mark}@"}, {"status": f"status-{mark}"}):
        assert outside.ask("POST", "/track", json_body={**update, **changed}).status_code == 400
    for query in (f"cursor=cursor-{mark}", f"status=status-{mark}"):
        assert outside.ask("GET", f"/images?{query}").status_code == 400
    assert outside.ask("GET", f"/unsubscribe?token=token-{mark}").status_code == 400
    outside.ask("GET", "/images?limit=1")
    api = outside.of("api_handler").owner
    yield api.clients.ssm.get_parameter(
        Name=api.settings.signing_secret_parameter, WithDecryption=True
    )["Parameter"]["Value"]


def signature_of(url: str) -> str:
    """The signature in a presigned link."""
    (signature,) = parse_qs(urlsplit(url).query)["X-Amz-Signature"]
    return signature
