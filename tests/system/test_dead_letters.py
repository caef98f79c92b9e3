"""Poison, dead letters and the check, on the deployed stack."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.polling import eventually
from tests.system.conftest import UPLOADS_BUCKET, Service, photo
from tests.system.test_failures import send
from tests.system.test_tracking import TICK

ROOT = Path(__file__).resolve().parent.parent.parent


def redrive(service: Service, *arguments: str) -> str:
    """What ``make redrive`` prints."""
    finished = subprocess.run(
        [
            sys.executable,
            "-m",
            "operations.redrive",
            *arguments,
            "--aws-port",
            str(service.deployed.places.aws_port),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'vendor'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def letters_about(service: Service, image_id: str) -> list[str]:
    """The lines of the list that name an image."""
    return [line for line in redrive(service, "preprocessing").splitlines() if image_id in line]


def check(service: Service) -> None:
    """Run the check, as its schedule does."""
    answer = service.deployed.aws("lambda").invoke(
        FunctionName=service.function("Check"), Payload=json.dumps(TICK)
    )
    assert "FunctionError" not in answer, answer["Payload"].read()


@contextmanager
def seen_again_after(service: Service, seconds: int) -> Iterator[None]:
    """What a killed worker held comes again soon, and not after half an hour."""
    sqs = service.deployed.aws("sqs")
    url = sqs.get_queue_url(QueueName="darkroom-local-preprocessing")["QueueUrl"]
    asked = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(seconds)})
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes=asked["Attributes"])


def poisoned(service: Service) -> str:
    """An image that kills whoever works on it."""
    answer = service.api.post("/images", json={"metadata": {"poison": "die"}}).json()
    httpx.put(answer["upload_url"], content=photo()).raise_for_status()
    return str(answer["image_id"])


def test_an_image_that_kills_its_process_takes_nobody_with_it(service: Service) -> None:
    """Invariant 24: the process is ended with SIGKILL, every time."""
    with service.environment("Preprocess", POISON_MARKER="die"), seen_again_after(service, 3):
        before = [send(service, photo()) for _ in range(2)]
        poison = poisoned(service)
        after = [send(service, photo()) for _ in range(3)]
        for image_id in before + after:
            assert service.finished(image_id)["status"] == "completed"
        image = service.finished(poison)
        assert image["status"] == "preprocessing_failed"
        assert image["error"]["code"] == "worker_lost"
        assert service.finished(send(service, photo()))["status"] == "completed"
    # Without what killed it, its letter heals it; sent twice it counts once.
    (line,) = letters_about(service, poison)
    assert "worker_lost" in line
    message_id = line.split()[0]
    assert redrive(service, "preprocessing", "--id", message_id) == "1 sent back.\n"
    healed = service.finished(poison)
    assert (healed["status"], healed["attempts"]) == ("completed", 2)
    assert letters_about(service, poison) == []


def test_an_upload_whose_event_was_lost_is_taken_in_by_the_check(service: Service) -> None:
    s3 = service.deployed.aws("s3")
    events = s3.get_bucket_notification_configuration(Bucket=UPLOADS_BUCKET)
    events.pop("ResponseMetadata", None)
    s3.put_bucket_notification_configuration(Bucket=UPLOADS_BUCKET, NotificationConfiguration={})
    try:
        image_id = send(service, photo())
    finally:
        s3.put_bucket_notification_configuration(
            Bucket=UPLOADS_BUCKET, NotificationConfiguration=events
        )
    with service.environment("Check", LOST_EVENT_SECONDS="1"):

        def recovered() -> bool:
            check(service)
            return bool(service.image(image_id)["status"] != "pending_upload")

        eventually(recovered, seconds=60, what="the check takes the upload in")
    assert service.finished(image_id)["status"] == "completed"


def test_an_image_whose_message_was_lost_is_sent_again_by_the_check(service: Service) -> None:
    image_id = send(service, photo())
    service.finished(image_id)
    service.until_quiet()
    put_back(service, image_id)
    with service.environment("Check", STUCK_QUEUED_SECONDS="1"):
        check(service)
    assert service.finished(image_id)["status"] == "completed"
    health = service.api.get("/health").json()["checks"]["check"]
    assert health["status"] == "ok"
    assert health["last_run"] > 1_700_000_000


def put_back(service: Service, image_id: str) -> None:
    """The row of an image as it was when its message was sent."""
    row: dict[str, Any] = service.row(image_id)
    shard = row["status_shard"]["S"].partition("#")[2]
    service.deployed.aws("dynamodb").update_item(
        TableName="darkroom-local-images",
        Key={"image_id": {"S": image_id}},
        UpdateExpression="SET #status = :queued, status_shard = :shard, updated_at_ms = :then",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={
            ":queued": {"S": "queued"},
            ":shard": {"S": f"queued#{shard}"},
            ":then": {"N": "1795000000000"},
        },
    )
