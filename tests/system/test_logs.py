"""What the logs of a whole run of these tests hold, and what they do not.

Runs when the others are through: it reads what they made the functions log, too.
"""

import base64
import json
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.system.conftest import UPLOADS_BUCKET, Service, photo

# Every way in which somebody may end a line, or make a terminal do something.
NASTY = 'x\r\ny\nz\x0b\x0c\x1b[2J\x1b]0;t\x07\x85\u2028\u2029\u202e\x00"}\n{"level":"FORGED"}'
# What Lambda writes beside our lines.
_LAMBDA = {"START", "END", "REPORT", "INIT_START", ""}
# What the server of `chalice local` writes of each request; API Gateway has its access log instead.
_ACCESS = re.compile(r'^127\.0\.0\.1 - - \[[^]]+\] "')
_REFUSED_BY_SQS = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd]")
# Of nobody: never in a log, whoever sent it. SigV4's parts, in a header, a form or a link.
_NEVER = re.compile(
    r"AWS4-HMAC-SHA256|X-Amz-Signature|x-amz-signature|X-Amz-Credential|[0-9a-z]@recipient\.example",
    re.IGNORECASE,
)


@pytest.fixture
def gateway(service: Service) -> str:
    """The deployed API, whose lines stand in the log of its function."""
    apis = service.deployed.aws("apigateway").get_rest_apis()["items"]
    (api,) = (api for api in apis if api["name"] == "darkroom-local")
    return f"{service.deployed.places.aws_url}/restapis/{api['id']}/api/_user_request_"


def logged(service: Service, since_ms: int = 0) -> Iterator[str]:
    """Every line that a function wrote, and the API of `chalice local`."""
    logs = service.deployed.aws("logs")
    groups = logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/darkroom-local")["logGroups"]
    assert len(groups) > 5
    for group in groups:
        pages = logs.get_paginator("filter_log_events")
        for page in pages.paginate(logGroupName=group["logGroupName"], startTime=since_ms):
            for event in page["events"]:
                # Not `splitlines`, which also ends a line where no log collector does.
                yield from event["message"].split("\n")
    # Its file has no times; what it holds is of this run anyway.
    for line in (
        (service.deployed.places.logs / "api.log").read_text("utf-8", "replace").split("\n")
    ):
        if not _ACCESS.match(line):
            yield line


def assert_whole(line: str) -> bool:
    """Whether a line is one of ours; it is one JSON object then, and nobody else's words."""
    if not line.startswith("{"):
        assert "FORGED" not in line, line
        return False
    read: dict[str, Any] = json.loads(line)
    assert read.get("level") != "FORGED", line
    # A terminal that shows the log does nothing of what stands in it.
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", line), ascii(line)
    return True


def hostile_requests(base: str, ids: list[str]) -> Iterator[httpx.Response]:
    """The nasty text in each place that a stranger may fill."""
    escaped = quote(NASTY, safe="")
    image = base64.b64encode(photo()).decode()
    place = {"lat": 1, "lng": 2}
    update = {"tracking_id": "PX", "status": "pending", "location": place}
    for body in (
        {"filename": NASTY},
        {"content_type": NASTY},
        {"image_base64": NASTY},
        {"image_base64": image, "filename": NASTY},
        {"metadata": {NASTY: "a"}},
        {"metadata": {"a": NASTY}, "image_base64": image},
        {"outputs": [NASTY]},
        {NASTY: NASTY},
    ):
        yield httpx.post(f"{base}/images", json=body, timeout=60)
    for changed in (
        {"tracking_id": NASTY},
        {"status": NASTY},
        {"image_id": NASTY},
        {"notify_email": NASTY},
        {"notify_email": f"{NASTY}@example.com"},
        {"metadata": {NASTY: NASTY}},
        {"location": {"lat": NASTY, "lng": NASTY}},
        {"occurred_at": NASTY},
        {NASTY: NASTY},
    ):
        yield httpx.post(f"{base}/track", json={**update, **changed}, timeout=60)
    for method, path in (
        ("GET", f"/images/{escaped}"),
        ("DELETE", f"/images/{escaped}"),
        ("POST", f"/images/{escaped}/retry"),
        ("POST", f"/images/{ids[0]}/retry?model={escaped}"),
        ("GET", f"/images?cursor={escaped}"),
        ("GET", f"/images?status={escaped}"),
        ("GET", f"/images?limit={escaped}"),
        ("GET", f"/images?{escaped}={escaped}"),
        ("GET", f"/status?tracking_id={escaped}"),
        ("GET", f"/status?tracking_id=PX&last_key={escaped}"),
        ("GET", f"/unsubscribe?token={escaped}"),
        ("POST", f"/unsubscribe?token={escaped}"),
        ("GET", f"/{escaped}"),
    ):
        yield httpx.request(method, base + path, timeout=60)
    yield httpx.post(f"{base}/images", content=NASTY.encode(), timeout=60)
    for name in ("Idempotency-Key", "User-Agent", "Content-Type", "X-Amzn-Trace-Id", "Referer"):
        # What may stand in a header at all.
        text = 'x\x1b[2J"}{"level":"FORGED"}é'
        headers = {name.encode(): text.encode()}
        yield httpx.post(f"{base}/images", headers=headers, content=b"{}", timeout=60)


def test_whatever_is_sent_each_line_of_a_log_stays_one_json_object(
    service: Service, gateway: str
) -> None:
    """T9: with line ends, escape sequences and foreign alphabets in every field."""
    since_ms = time.time_ns() // 1_000_000
    known = [service.api.post("/images", content=photo(), headers={"Content-Type": "image/jpeg"})]
    ids = [known[0].json()["image_id"]]
    for base in (gateway, service.deployed.places.api_url):
        statuses = [answer.status_code for answer in hostile_requests(base, ids)]
        assert len(statuses) > 30
        assert max(statuses) < 500, statuses
    for key in ("uploads/direct/x\u2028\u202e\x1b[2J.jpg", 'uploads/"}{"level":"FORGED"}.jpg'):
        service.deployed.aws("s3").put_object(Bucket=UPLOADS_BUCKET, Key=key, Body=b"no image")
    sqs = service.deployed.aws("sqs")
    # Not into `mail-feedback`: what cannot be read there waits six timeouts before each try.
    for queue in ("preprocessing", "inference", "conversion", "notification"):
        url = sqs.get_queue_url(QueueName=f"darkroom-local-{queue}")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody=_REFUSED_BY_SQS.sub("", NASTY))
    service.until_quiet()
    assert sum(assert_whole(line) for line in logged(service, since_ms)) > 10


def test_no_log_of_all_these_tests_holds_what_was_sent_in_confidence(
    service: Service, gateway: str
) -> None:
    """T9, T14: credentials, signatures, addresses, bodies."""
    mark = uuid.uuid4().hex
    body = photo(width=321, height=123)
    created = httpx.post(
        f"{gateway}/images",
        json={"filename": "private.jpg", "metadata": {"note": f"metadata-{mark}"}},
        headers={
            "Authorization": f"Bearer bearer-{mark}",
            "X-Api-Key": f"key-{mark}",
            "Cookie": f"session=cookie-{mark}",
        },
        timeout=60,
    ).json()
    form = created["upload"]
    httpx.post(form["url"], data=form["fields"], files={"file": body}).raise_for_status()
    image = service.finished(created["image_id"])
    encoded = base64.b64encode(body).decode()
    for wrong in ({"image_base64": f"{encoded}*"}, {"metadata": {"note": [f"metadata-{mark}"]}}):
        assert httpx.post(f"{gateway}/images", json=wrong, timeout=60).status_code == 400
    address = f"address-{mark}@recipient.example"
    update = {
        "tracking_id": f"PX {uuid.uuid4()}",
        "status": "delivered",
        "location": {"lat": 12.3456, "lng": 65.4321},
        "metadata": {"note": f"parcel-{mark}"},
        "notify_email": address,
    }
    signed = AWSRequest(
        "POST",
        f"{gateway}/track",
        data=json.dumps(update),
        headers={"Content-Type": "application/json"},
    )
    SigV4Auth(Credentials("test", f"secret-{mark}"), "execute-api", "us-east-1").add_auth(signed)
    answer = httpx.post(
        f"{gateway}/track", content=signed.body, headers=dict(signed.headers.items()), timeout=60
    )
    assert answer.status_code == 200, answer.text
    for wrong in ({"notify_email": f"{address}."}, {"status": f"parcel-{mark}"}):
        assert httpx.post(f"{gateway}/track", json={**update, **wrong}, timeout=60).is_client_error
    service.until_quiet()
    secret = service.deployed.aws("ssm").get_parameter(
        Name="/darkroom/local/signing-secret", WithDecryption=True
    )["Parameter"]["Value"]
    kept_back = {
        # What was sent under a mark: credentials, cookies, bodies, the address.
        mark,
        encoded[40:120],
        secret,
        form["fields"]["x-amz-signature"],
        form["fields"]["policy"],
        signature_of(created["upload_url"]),
        signature_of(image["results_url"]),
        signature_of(image["renditions"]["thumb"]["url"]),
        signed.headers["Authorization"].rpartition("Signature=")[2],
    }
    assert all(len(text) > 20 for text in kept_back)
    lines = list(logged(service))
    assert len(lines) > 20
    for line in lines:
        assert not [text for text in kept_back if text in line], line
        assert not _NEVER.search(line), line
    # And what it is there for: who looks for an image finds it.
    assert any(image["image_id"] in line for line in lines)


def signature_of(url: str) -> str:
    """The signature in a presigned link."""
    (signature,) = parse_qs(urlsplit(url).query)["X-Amz-Signature"]
    return signature
