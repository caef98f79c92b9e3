"""``make backfill`` on the deployed stack: old images get what they lack, once."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.polling import eventually
from tests.system.conftest import RENDITIONS_BUCKET, Service, photo
from tests.system.test_failures import send

ROOT = Path(__file__).resolve().parent.parent.parent


def backfill(service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What ``make backfill`` runs, without make, so that the test's own environment serves."""
    return subprocess.run(
        [sys.executable, "-m", "operations.backfill", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'vendor'}",
            "AWS_PORT": str(service.deployed.places.aws_port),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def queued(service: Service, name: str) -> int:
    """How many images a run queued."""
    port = str(service.deployed.places.aws_port)
    finished = backfill(service, name, "--aws-port", port)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    found = re.fullmatch(rf"(\d+) images are queued to get '{name}'\.", finished.stdout.strip())
    assert found is not None, finished.stdout
    return int(found[1])


def until_made(service: Service, image_id: str, name: str) -> dict[str, Any]:
    """The image once it has the rendition."""

    def made() -> dict[str, Any] | None:
        image = service.image(image_id)
        return image if name in image["renditions"] else None

    return eventually(made, seconds=60, what=f"{image_id} has its {name}")


def test_a_rendition_that_old_images_lack_is_made_once(service: Service) -> None:
    """Issue 3: a new rendition is a line of the table, and old images get it too."""
    ids = [send(service, photo()) for _ in range(2)]
    images = [service.finished(image_id) for image_id in ids]
    service.until_quiet()
    assert queued(service, "thumb") == 0
    # As if "thumb" had come into the table only now.
    s3, dynamodb = service.deployed.aws("s3"), service.deployed.aws("dynamodb")
    for image_id in ids:
        keys = service.keys(RENDITIONS_BUCKET, f"renditions/{image_id}/")
        (key,) = (key for key in keys if "/thumb-" in key)
        s3.delete_object(Bucket=RENDITIONS_BUCKET, Key=key)
        dynamodb.update_item(
            TableName="darkroom-local-images",
            Key={"image_id": {"S": image_id}},
            UpdateExpression="REMOVE renditions.thumb",
        )
    assert set(service.image(ids[0])["renditions"]) == {"standard"}
    assert queued(service, "thumb") == 2
    for image_id, before in zip(ids, images, strict=True):
        image = until_made(service, image_id, "thumb")
        assert image["status"] == "completed"
        assert image["attempts"] == 1
        assert httpx.get(image["renditions"]["thumb"]["url"]).status_code == 200
        for name, copy in image["renditions"].items():
            known = before["renditions"][name]
            assert (copy["bytes"], copy["width"]) == (known["bytes"], known["width"])
    service.until_quiet()
    assert queued(service, "thumb") == 0


def test_a_name_that_the_table_does_not_have_is_told_with_those_that_it_has(
    service: Service,
) -> None:
    finished = backfill(service, "panorama")
    assert finished.returncode == 1
    assert "has no rendition 'panorama'; it has standard, thumb" in finished.stderr
    assert finished.stdout == ""


def test_a_stage_that_does_not_exist_is_told_with_those_that_do(service: Service) -> None:
    finished = backfill(service, "thumb", "--stage", "moon")
    assert finished.returncode == 1
    assert "There is no stage 'moon'; there are dev, local, prod." in finished.stderr


def test_an_aws_that_is_not_there_is_told_and_nothing_is_queued(service: Service) -> None:
    finished = backfill(service, "thumb", "--aws-port", "1")
    assert finished.returncode == 1
    assert finished.stderr.startswith("Error: ")
    assert "Traceback" not in finished.stderr
