"""Somebody has an upload form, and wants to do something else with it than it was given for.

The local AWS holds a form to its policy as S3 does, but does not look at its signature: that is
computed here. A form that ran out is refused in `tests/contract/test_object_store.py`.
"""

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from local.aws import CREDENTIALS
from tests.security.conftest import Outside
from tests.unit.pipeline.world import PHOTO


@pytest.fixture
def form(outside: Outside) -> dict[str, Any]:
    """A form as a client gets it, for a JPEG."""
    return form_for(outside, {"filename": "cat.jpg", "content_type": "image/jpeg"})


def form_for(outside: Outside, wanted: Mapping[str, str]) -> dict[str, Any]:
    answer = outside.ask("POST", "/images", json_body=dict(wanted))
    assert answer.status_code == 201, answer.body
    upload: dict[str, Any] = json.loads(answer.body)["upload"]
    return upload


def sent(
    outside: Outside,
    form: Mapping[str, Any],
    body: bytes = PHOTO,
    *,
    url: str | None = None,
    **changed: str | None,
) -> tuple[int, str]:
    """Send the form with fields changed, or left out (None); status and text of the answer."""
    fields = {
        name: value for name, value in {**form["fields"], **changed}.items() if value is not None
    }
    request = httpx.Request(
        "POST", url or form["url"], data=fields, files={"file": ("cat.jpg", body, "image/jpeg")}
    )
    status, _, text = outside.stage.aws.request(
        "POST", str(request.url), dict(request.headers), request.read()
    )
    return status, text.decode()


def altered_policy(form: Mapping[str, Any], change: Any) -> str:
    """The form's policy with one thing changed, which its signature does not cover."""
    policy = json.loads(base64.b64decode(form["fields"]["policy"]))
    change(policy)
    return base64.b64encode(json.dumps(policy).encode()).decode()


def stored(outside: Outside, form: Mapping[str, Any]) -> list[str]:
    return outside.keys(form["fields"]["key"])


def test_what_it_was_given_for_works(outside: Outside, form: dict[str, Any]) -> None:
    assert sent(outside, form)[0] == 204
    assert len(stored(outside, form)) == 1


@pytest.mark.parametrize("size_bytes", [0, 52_428_801], ids=["nothing", "a byte too many"])
def test_the_size_is_bounded_on_both_sides(
    outside: Outside, form: dict[str, Any], size_bytes: int
) -> None:
    policy = json.loads(base64.b64decode(form["fields"]["policy"]))
    assert ["content-length-range", 1, 52_428_800] in policy["conditions"]
    assert sent(outside, form, bytes(size_bytes))[0] == 400
    assert stored(outside, form) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"key": "uploads/00000000-0000-4000-8000-000000000000/source"},
        {"key": "processed/forged.json"},
        {"key": "uploads/${filename}"},
        {"Content-Type": "image/png"},
        {"Content-Type": "text/html"},
        {"Content-Type": None},
        {"acl": "public-read"},
        {"x-amz-acl": "public-read"},
        {"x-amz-meta-note": "more than was asked for"},
        {"success_action_redirect": "https://attacker.example/"},
        {"success_action_status": "201"},
        {"Cache-Control": "public"},
        {"Content-Disposition": "attachment"},
        {"x-amz-storage-class": "GLACIER"},
        {"x-amz-signature": None},
        {"x-amz-date": "20200101T000000Z"},
        {"x-amz-credential": "somebody/20261124/us-east-1/s3/aws4_request"},
        {"x-amz-algorithm": "none"},
        {"policy": None},
    ],
    ids=str,
)
def test_a_field_that_was_changed_added_or_left_out_is_refused(
    outside: Outside, form: dict[str, Any], changed: dict[str, str | None]
) -> None:
    status, text = sent(outside, form, PHOTO, **changed)
    assert status in {400, 403}, text
    assert stored(outside, form) == []
    if key := changed.get("key"):
        assert outside.keys(key.replace("${filename}", "cat.jpg")) == []


def signature_of(policy: str, fields: Mapping[str, str]) -> str:
    """Signature Version 4 over a policy, as S3 computes it: of the secret key of the local AWS."""
    _, day, region, service, end = fields["x-amz-credential"].split("/")
    key = f"AWS4{CREDENTIALS['AWS_SECRET_ACCESS_KEY']}".encode()
    for part in (day, region, service, end):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, policy.encode(), "sha256").hex()


def test_the_signature_is_over_the_whole_policy(form: dict[str, Any]) -> None:
    """Computed here, for the local AWS takes any signature unless it enforces IAM."""
    fields = form["fields"]
    assert fields["x-amz-algorithm"] == "AWS4-HMAC-SHA256"
    assert signature_of(fields["policy"], fields) == fields["x-amz-signature"]


@pytest.mark.parametrize(
    "change",
    [
        lambda policy: policy.update(expiration="2099-01-01T00:00:00Z"),
        lambda policy: policy["conditions"].clear(),
        lambda policy: policy["conditions"].append(["starts-with", "$key", ""]),
        lambda policy: policy["conditions"].remove(["content-length-range", 1, 52_428_800]),
        lambda policy: policy["conditions"].remove({"Content-Type": "image/jpeg"}),
    ],
    ids=["later", "without conditions", "one more", "without a size", "without a type"],
)
def test_a_policy_that_was_changed_is_not_the_one_that_was_signed(
    form: dict[str, Any], change: Any
) -> None:
    policy = altered_policy(form, change)
    assert signature_of(policy, form["fields"]) != form["fields"]["x-amz-signature"]


def test_every_field_of_a_form_is_bound_by_its_policy(form: dict[str, Any]) -> None:
    """S3 refuses what has no condition; so nothing may be sent but this, and only like this."""
    policy = json.loads(base64.b64decode(form["fields"]["policy"]))
    exact = {
        name: value
        for condition in policy["conditions"]
        if isinstance(condition, dict)
        for name, value in condition.items()
    }
    unbound = {"policy", "x-amz-signature"}
    assert {n: v for n, v in form["fields"].items() if n not in unbound} == {
        name: value for name, value in exact.items() if name != "bucket"
    }
    ranges = [condition for condition in policy["conditions"] if isinstance(condition, list)]
    assert ranges == [["content-length-range", 1, 52_428_800]]


def test_it_is_good_for_its_own_bucket_alone(outside: Outside, form: dict[str, Any]) -> None:
    settings = outside.of("api_handler").owner.settings
    assert settings.uploads_bucket in form["url"]
    other = form["url"].replace(settings.uploads_bucket, settings.renditions_bucket)
    assert sent(outside, form, url=other)[0] == 403
    assert stored(outside, form) == []


def test_one_images_form_is_no_form_for_another(outside: Outside, form: dict[str, Any]) -> None:
    other = form_for(outside, {"filename": "dog.jpg"})
    assert other["fields"]["key"] != form["fields"]["key"]
    assert sent(outside, form, key=other["fields"]["key"])[0] == 403
    assert stored(outside, other) == []


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/x-sh", ""])
def test_no_form_is_given_out_for_anything_but_an_image(outside: Outside, kind: str) -> None:
    answer = outside.ask("POST", "/images", json_body={"content_type": kind})
    if kind.startswith("image/"):
        # It says so, and is refused for what it is once it is there.
        policy = json.loads(base64.b64decode(json.loads(answer.body)["upload"]["fields"]["policy"]))
        assert {"Content-Type": kind} in policy["conditions"]
    else:
        assert answer.status_code == 400, answer.body
