"""A stranger's view of the deployed stack."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image

from tests.conftest import Deployed
from tests.polling import eventually

FINAL = {"completed", "preprocessing_failed", "inference_failed"}
UPLOADS_BUCKET = "darkroom-local-uploads-000000000000"
RENDITIONS_BUCKET = "darkroom-local-renditions-000000000000"
SECONDS = 60
_LAST = ("test_logs.py", "test_least_privilege.py")


def photo(*, width: int = 320, height: int = 240, kind: str = "JPEG") -> bytes:
    """An image file with some structure in it, never the same twice: nothing is made of a file
    that was seen before.
    """
    picture = Image.radial_gradient("L").resize((width, height)).convert("RGB")
    mark = Image.frombytes("L", (4, 4), uuid4().bytes).resize((16, 16), Image.Resampling.NEAREST)
    picture.paste(mark)
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What was logged, and what the roles asked for, is known when all others have run."""
    items.sort(key=lambda item: _LAST.index(item.path.name) if item.path.name in _LAST else -1)


@dataclass(frozen=True)
class Service:
    """The service with what tests ask of it again and again."""

    deployed: Deployed

    @property
    def api(self) -> Any:
        """An HTTP client of the API."""
        return self.deployed.api

    def image(self, image_id: str) -> dict[str, Any]:
        """An image as the API shows it."""
        answer = self.api.get(f"/images/{image_id}")
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def finished(self, image_id: str) -> dict[str, Any]:
        """An image once it has ended, its copies at full size too."""

        def ended() -> dict[str, Any] | None:
            image = self.image(image_id)
            return image if has_ended(image) else None

        return eventually(ended, seconds=SECONDS, what=f"image {image_id} ends")

    def finished_file(self, filename: str) -> dict[str, Any]:
        """An image that was put straight into the bucket, once it has ended."""

        def ended() -> dict[str, Any] | None:
            for image in self.api.get("/images", params={"limit": 100}).json()["items"]:
                if image.get("original", {}).get("filename") == filename:
                    return image if has_ended(image) else None
            return None

        return eventually(ended, seconds=SECONDS, what=f"the image of {filename!r} ends")

    def row(self, image_id: str) -> dict[str, Any]:
        """The row of an image as it is stored."""
        answer = self.deployed.aws("dynamodb").get_item(
            TableName="darkroom-local-images", Key={"image_id": {"S": image_id}}
        )
        result: dict[str, Any] = answer.get("Item", {})
        return result

    def keys(self, bucket: str, part: str) -> list[str]:
        """The objects of a bucket, in any version, whose key has this in it."""
        pages = self.deployed.aws("s3").get_paginator("list_object_versions")
        return [
            entry["Key"]
            for page in pages.paginate(Bucket=bucket)
            for entry in page.get("Versions", [])
            if part in entry["Key"]
        ]

    def function(self, logical_name: str) -> str:
        """The name of a deployed function."""
        return "darkroom-local-" + re.sub(r"(?<!^)(?=[A-Z])", "_", logical_name).lower()

    def in_queues(self) -> int:
        """How many messages wait or are being worked on, in all queues of the stack."""
        sqs = self.deployed.aws("sqs")
        total = 0
        for url in sqs.list_queues(QueueNamePrefix="darkroom-local-")["QueueUrls"]:
            attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
            total += int(attributes["Attributes"]["ApproximateNumberOfMessages"])
            total += int(attributes["Attributes"]["ApproximateNumberOfMessagesNotVisible"])
        return total

    def until_quiet(self) -> None:
        """Wait until no message waits or is being worked on."""
        eventually(lambda: self.in_queues() == 0, seconds=90, what="all queues are empty")

    @contextmanager
    def environment(self, logical_name: str, **changes: str) -> Iterator[None]:
        """A function deployed with other settings, until the block ends.

        Both times once nothing is in flight: MiniStack ends the workers of a function that
        changes, and what they were working on stays invisible for half an hour.
        """
        client = self.deployed.aws("lambda")
        self.until_quiet()
        name = self.function(logical_name)
        before = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        client.update_function_configuration(
            FunctionName=name, Environment={"Variables": {**before, **changes}}
        )
        try:
            yield
        finally:
            self.until_quiet()
            client.update_function_configuration(
                FunctionName=name, Environment={"Variables": before}
            )


def has_ended(image: dict[str, Any]) -> bool:
    """Whether neither its predictions nor its copies are under way."""
    return image["status"] in FINAL and image["conversion_status"] != "pending"


@pytest.fixture
def service(deployed: Deployed) -> Service:
    """The deployed service."""
    return Service(deployed)
