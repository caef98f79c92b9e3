"""The API as it is deployed: behind API Gateway, in a Lambda function.

Raw bytes are left out: MiniStack does not read x-amazon-apigateway-binary-media-types, from which
API Gateway knows them. tests/packaging/ holds that they stand there, and tests/handlers/ that the
app takes them as the gateway encodes them.
"""

import base64
import uuid
from typing import Any

import httpx
import pytest

from chalicelib.addresses import address_hash, parcel_hash
from chalicelib.unsubscribe_links import Subscriber, UnsubscribeLinks
from tests.system.conftest import Service, photo


@pytest.fixture
def url(service: Service) -> str:
    """Where the deployed API answers."""
    apis = service.deployed.aws("apigateway").get_rest_apis()["items"]
    (api,) = (api for api in apis if api["name"] == "darkroom-local")
    return f"{service.deployed.places.aws_url}/restapis/{api['id']}/api/_user_request_"


def test_the_deployed_api_takes_an_image_to_its_end(service: Service, url: str) -> None:
    encoded = base64.b64encode(photo()).decode()
    answer = httpx.post(f"{url}/images", json={"image_base64": encoded}, timeout=30)
    assert answer.status_code == 201, answer.text
    image: dict[str, Any] = service.finished(answer.json()["image_id"])
    assert image["status"] == "completed"
    shown = httpx.get(f"{url}/images/{image['image_id']}", timeout=30).json()
    assert shown["results"] == image["results"]


def test_the_deployed_api_is_healthy(url: str) -> None:
    assert httpx.get(f"{url}/health", timeout=30).json()["status"] == "ok"


def test_the_page_to_unsubscribe_reaches_a_browser_as_html(service: Service, url: str) -> None:
    answer = httpx.get(f"{url}/unsubscribe", params={"token": "no"}, timeout=30)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.text.startswith("<!doctype html>")


def test_a_mail_program_unsubscribes_with_one_request(service: Service, url: str) -> None:
    """RFC 8058: multipart, as it asks for, and without looking at anything before."""
    # Whoever needs the secret first makes it.
    httpx.get(f"{url}/unsubscribe", params={"token": "no"}, timeout=30)
    name = "/darkroom/local/signing-secret"
    secret = service.deployed.aws("ssm").get_parameter(Name=name, WithDecryption=True)
    who = Subscriber(
        address_hash=address_hash(f"{uuid.uuid4().hex}@recipient.example"),
        parcel_hash=parcel_hash("PX"),
    )
    token = UnsubscribeLinks(secret=lambda: secret["Parameter"]["Value"]).token(who)
    for _ in range(2):
        answer = httpx.post(
            f"{url}/unsubscribe",
            params={"token": token},
            files={"List-Unsubscribe": (None, "One-Click")},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
    row = service.deployed.aws("dynamodb").get_item(
        TableName="darkroom-local-suppressions",
        Key={"address_hash": {"S": who.address_hash}, "scope": {"S": "all"}},
    )["Item"]
    assert row["reason"] == {"S": "unsubscribed"}
