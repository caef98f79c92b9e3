"""Somebody has an upload form, and wants to do something else with it than it was given for.

The local AWS checks a form's signature and its policy as S3 does (the policy itself is read in
`tests/contract/test_object_store.py`, in case that it ever stops; a form that ran out is refused
there, too).
"""

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from tests.system.conftest import RENDITIONS_BUCKET, UPLOADS_BUCKET, Service, photo


@pytest.fixture
def form(service: Service) -> dict[str, Any]:
    """A form as a client gets it, for a JPEG."""
    answer = service.api.post("/images", json={"filename": "cat.jpg", "content_type": "image/jpeg"})
    assert answer.status_code == 201, answer.text
    upload: dict[str, Any] = answer.json()["upload"]
    return upload


def sent(
    form: Mapping[str, Any], body: bytes, *, url: str | None = None, **changed: str | None
) -> httpx.Response:
    """Send the form with fields changed, or left out (None)."""
    fields = {**form["fields"], **changed}
    return httpx.post(
        url or form["url"],
        data={name: value for name, value in fields.items() if value is not None},
        files={"file": ("cat.jpg", body, "image/jpeg")},
        timeout=60,
    )


def altered_policy(form: Mapping[str, Any], change: Any) -> str:
    """The form's policy with one thing changed, which its signature does not cover."""
    policy = json.loads(base64.b64decode(form["fields"]["policy"]))
    change(policy)
    return base64.b64encode(json.dumps(policy).encode()).decode()


def stored(service: Service, form: Mapping[str, Any]) -> list[str]:
    return service.keys(UPLOADS_BUCKET, form["fields"]["key"])


def test_what_it_was_given_for_works(service: Service, form: dict[str, Any]) -> None:
    assert sent(form, photo()).status_code == 204
    assert len(stored(service, form)) == 1


@pytest.mark.parametrize("size_bytes", [0, 52_428_801], ids=["nothing", "a byte too many"])
def test_the_size_is_bounded_on_both_sides(
    service: Service, form: dict[str, Any], size_bytes: int
) -> None:
    policy = json.loads(base64.b64decode(form["fields"]["policy"]))
    assert ["content-length-range", 1, 52_428_800] in policy["conditions"]
    assert sent(form, bytes(size_bytes)).status_code == 400
    assert stored(service, form) == []


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
        {"x-amz-signature": "0" * 64},
        {"x-amz-signature": None},
        {"x-amz-date": "20200101T000000Z"},
        {"x-amz-credential": "somebody/20261124/us-east-1/s3/aws4_request"},
        {"x-amz-algorithm": "none"},
        {"policy": None},
    ],
    ids=str,
)
def test_a_field_that_was_changed_added_or_left_out_is_refused(
    service: Service, form: dict[str, Any], changed: dict[str, str | None]
) -> None:
    answer = sent(form, photo(), **changed)
    assert answer.status_code in {400, 403}, answer.text
    assert stored(service, form) == []
    if key := changed.get("key"):
        assert service.keys(UPLOADS_BUCKET, key.replace("${filename}", "cat.jpg")) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda policy: policy.update(expiration="2099-01-01T00:00:00Z"),
        lambda policy: policy["conditions"].clear(),
        lambda policy: policy["conditions"].append(["starts-with", "$key", ""]),
        lambda policy: policy["conditions"].remove(["content-length-range", 1, 52_428_800]),
    ],
    ids=["later", "without conditions", "one more", "without a size"],
)
def test_a_policy_that_was_changed_is_not_the_one_that_was_signed(
    service: Service, form: dict[str, Any], change: Any
) -> None:
    assert sent(form, photo(), policy=altered_policy(form, change)).status_code == 403
    assert stored(service, form) == []


def test_it_is_good_for_its_own_bucket_alone(service: Service, form: dict[str, Any]) -> None:
    parts = urlsplit(form["url"])
    assert UPLOADS_BUCKET in parts.netloc + parts.path
    other = urlunsplit(
        parts._replace(
            netloc=parts.netloc.replace(UPLOADS_BUCKET, RENDITIONS_BUCKET),
            path=parts.path.replace(UPLOADS_BUCKET, RENDITIONS_BUCKET),
        )
    )
    assert sent(form, photo(), url=other).status_code == 403
    assert service.keys(RENDITIONS_BUCKET, form["fields"]["key"]) == []


def test_one_images_form_is_no_form_for_another(service: Service, form: dict[str, Any]) -> None:
    other = service.api.post("/images", json={"filename": "dog.jpg"}).json()["upload"]
    assert other["fields"]["key"] != form["fields"]["key"]
    assert sent(form, photo(), key=other["fields"]["key"]).status_code == 403
    assert stored(service, other) == []


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/x-sh", ""])
def test_no_form_is_given_out_for_anything_but_an_image(service: Service, kind: str) -> None:
    answer = service.api.post("/images", json={"content_type": kind})
    if kind.startswith("image/"):
        # It says so, and is refused for what it is once it is there.
        policy = json.loads(base64.b64decode(answer.json()["upload"]["fields"]["policy"]))
        assert {"Content-Type": kind} in policy["conditions"]
    else:
        assert answer.status_code == 400, answer.text
