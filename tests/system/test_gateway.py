"""The API as it is deployed: behind API Gateway, in a Lambda function.

Raw bytes are left out: MiniStack does not read x-amazon-apigateway-binary-media-types, from which
API Gateway knows them. tests/packaging/ holds that they stand there, and tests/handlers/ that the
app takes them as the gateway encodes them.
"""

import base64
from typing import Any

import httpx
import pytest

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
