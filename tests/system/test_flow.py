"""The deployed stack, from an upload to its predictions."""

import time
from typing import Any

import httpx
from PIL import Image

import io

from tests.conftest import Deployed


def test_smoke(deployed: Deployed) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (300, 200), "teal").save(buffer, "JPEG")
    answer = deployed.api.post(
        "/images", content=buffer.getvalue(), headers={"Content-Type": "image/jpeg"}
    )
    assert answer.status_code == 201, answer.text
    deadline = time.monotonic() + 30
    image: dict[str, Any] = {}
    while time.monotonic() < deadline:
        image = deployed.api.get(answer.json()["links"]["self"]).json()
        if image["status"] == "completed":
            break
        time.sleep(0.1)
    assert image["status"] == "completed", image
    assert httpx.get(image["results_url"]).status_code == 200
