"""Dead letters of every kind on the deployed stack: made for real, listed, sent back, healed.

Then each is laid back into the archive, as it lies there where a redrive was stopped between its
sending and its removal, and sent back again: nothing may happen twice.
"""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chalicelib.addresses import address_hash
from chalicelib.pipeline.announce import events_in
from tests.polling import eventually
from tests.system.conftest import SECONDS, UPLOADS_BUCKET, Service, photo
from tests.system.test_announcements import TOPIC, records_of, subscribed
from tests.system.test_failures import send
from tests.system.test_notifications import mailed, mails, row
from tests.system.test_tracking import send as track

ROOT = Path(__file__).resolve().parent.parent.parent
NOWHERE = "darkroom-nowhere"


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Something that was given up.

    Attributes:
        queue: Whose letter it is.
        about: What the list says that it is about; None where that is nothing of ours.
        reason: What the list says of why.
        healed: Waits until all is well, and tells what then must not change any more.
        afterwards: What comes late.
    """

    queue: str
    about: str | None
    reason: str
    healed: Callable[[], Any]
    afterwards: Callable[[], Any] = lambda: None


def make_redrive(service: Service, *arguments: str) -> str:
    """What ``make redrive`` prints."""
    port = str(service.deployed.places.aws_port)
    return ran([sys.executable, "-m", "operations.redrive", *arguments, "--aws-port", port])


def darkroom(service: Service, *arguments: str) -> Any:
    """What the command line says, as JSON."""
    command = [str(Path(sys.executable).parent / "darkroom"), *arguments, "--json"]
    return json.loads(ran(command, AWS_PORT=str(service.deployed.places.aws_port)))


def ran(command: list[str], **environ: str) -> str:
    finished = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'vendor'}", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def new_letters(service: Service, queue: str, before: set[str]) -> list[dict[str, Any]]:
    """The letters of a queue that were not there before."""
    listed = darkroom(service, "dead-letters", queue)["items"]
    return [letter for letter in listed if letter["message_id"] not in before]


# --- How each kind is lost ------------------------------------------------------------------------


def image_lost(service: Service, queue: str, function: str) -> Lost:
    """A step cannot store what it made of an image."""
    with service.environment(function, RENDITIONS_BUCKET=NOWHERE):
        image_id = send(service, photo())
        service.finished(image_id)

    def healed() -> Any:
        def whole() -> dict[str, Any] | None:
            image = service.finished(image_id)
            ends = (image["status"], image["conversion_status"], image["attempts"])
            return image if ends == ("completed", "completed", 2) else None

        image = eventually(whole, seconds=SECONDS, what="the image is whole")
        keys = sorted(service.keys("darkroom-local-renditions-000000000000", image_id))
        assert len([key for key in keys if key.startswith("results/")]) == 1
        return image["last_updated"], keys

    return Lost(queue=queue, about=image_id, reason="service_unavailable", healed=healed)


def preprocessing(service: Service, _: ExitStack) -> Lost:
    return image_lost(service, "preprocessing", "Preprocess")


def inference(service: Service, _: ExitStack) -> Lost:
    return image_lost(service, "inference", "Infer")


def conversion(service: Service, _: ExitStack) -> Lost:
    return image_lost(service, "conversion", "Optimise")


def ingest(service: Service, _: ExitStack) -> Lost:
    """The event of an upload fails as often as S3 has it tried."""
    with service.environment("Ingest", IMAGES_TABLE=NOWHERE):
        image_id = send(service, photo())
        archived(service, "ingest", image_id)
    assert service.image(image_id)["status"] == "pending_upload"

    def healed() -> Any:
        image = service.finished(image_id)
        assert (image["status"], image["attempts"]) == ("completed", 1)
        return image["last_updated"]

    return Lost(queue="ingest", about=image_id, reason="given_up", healed=healed)


def notification(service: Service, _: ExitStack) -> Lost:
    """An e-mail cannot be sent, for nobody says whether it is wanted."""
    parcel, address = f"PX {uuid.uuid4()}", f"{uuid.uuid4().hex}@recipient.example"
    with service.environment("Mail", SUPPRESSIONS_TABLE=NOWHERE):
        track(service, parcel, "delivered", notify_email=address)
        assert row(service, parcel, 1)["state"] == {"S": "failed"}
    return Lost(
        queue="notification",
        about=parcel,
        reason="service_unavailable",
        healed=lambda: told_once(service, parcel, address),
    )


def mail_feedback(service: Service, _: ExitStack) -> Lost:
    """SES says that an address bounced, and it cannot be written down."""
    parcel, address = f"PX {uuid.uuid4()}", f"{uuid.uuid4().hex}@recipient.example"
    event = {
        "eventType": "Bounce",
        "bounce": {
            "bounceType": "Permanent",
            "bouncedRecipients": [{"emailAddress": address}],
        },
    }
    sqs = service.deployed.aws("sqs")
    url = sqs.get_queue_url(QueueName="darkroom-local-mail-feedback")["QueueUrl"]
    with (
        service.environment("Feedback", SUPPRESSIONS_TABLE=NOWHERE),
        seen_again_soon(service, url),
    ):
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(event))
        archived(service, "feedback", address)

    def healed() -> Any:
        track(service, parcel, "delivered", notify_email=address)
        ended = row(service, parcel, 1)
        assert (ended["state"], ended["reason"]) == ({"S": "suppressed"}, {"S": "bounced"})
        assert mails(service, address) == []
        found = service.deployed.aws("dynamodb").query(
            TableName="darkroom-local-suppressions",
            KeyConditionExpression="address_hash = :hash",
            ExpressionAttributeValues={":hash": {"S": address_hash(address)}},
        )
        (item,) = found["Items"]
        return item

    return Lost(queue="mail-feedback", about=None, reason="given_up", healed=healed)


def parcel_stream(service: Service, held: ExitStack) -> Lost:
    """A change of a parcel could not be queued until it was an hour old."""
    parcel, address = f"PX {uuid.uuid4()}", f"{uuid.uuid4().hex}@recipient.example"
    # The stream itself would heal it at once.
    held.enter_context(stream_stopped(service, "Notify"))
    track(service, parcel, "delivered", notify_email=address)
    item = service.deployed.aws("dynamodb").get_item(
        TableName="darkroom-local-tracking",
        Key={"tracking_id": {"S": parcel}, "timestamp": {"N": "0"}},
    )["Item"]
    record = {
        "eventID": uuid.uuid4().hex,
        "eventName": "INSERT",
        "dynamodb": {"ApproximateCreationDateTime": time.time() - 7200, "NewImage": item},
    }
    with service.environment("Notify", NOTIFICATION_QUEUE=NOWHERE):
        deliver(service, "Notify", record)
    assert mails(service, address) == []

    def healed() -> Any:
        return told_once(service, parcel, address)

    def stream_goes_on() -> Any:
        held.close()
        deliver(service, "Notify", record)
        service.until_quiet()

    return Lost(
        queue="parcel-stream",
        about=parcel,
        reason="service_unavailable",
        healed=healed,
        afterwards=stream_goes_on,
    )


def image_stream(service: Service, held: ExitStack) -> Lost:
    """The end of an image could not be published until it was an hour old."""
    subscriber = held.enter_context(contextmanager(subscribed)(service, "listens-to-letters"))
    held.enter_context(stream_stopped(service, "Announce"))
    image_id = send(service, photo())
    service.finished(image_id)
    record = next(
        record
        for record in records_of(service.deployed.aws("dynamodbstreams"))
        if record["dynamodb"]["Keys"]["image_id"]["S"] == image_id and events_in(record)
    )
    (event,) = events_in(record)
    old = {
        **record,
        "dynamodb": {**record["dynamodb"], "ApproximateCreationDateTime": time.time() - 7200},
    }
    with service.environment("Announce", IMAGE_EVENTS_TOPIC=f"{TOPIC}-nowhere"):
        deliver(service, "Announce", old)
    assert subscriber.about(image_id) == []

    def healed() -> Any:
        eventually(lambda: subscriber.about(image_id), seconds=SECONDS, what="it is announced")
        (heard,) = (e for e in subscriber.about(image_id) if e["id"] == event.event_id)
        return heard

    return Lost(
        queue="image-stream",
        about=image_id,
        reason="service_unavailable",
        healed=healed,
        afterwards=lambda: deliver(service, "Announce", record),
    )


def deliver(service: Service, function: str, record: dict[str, Any]) -> None:
    """Deliver a record of a stream."""
    answer = service.deployed.aws("lambda").invoke(
        FunctionName=service.function(function),
        Payload=json.dumps({"Records": [record]}, default=float),
    )
    assert "FunctionError" not in answer, answer["Payload"].read()


@contextmanager
def stream_stopped(service: Service, function: str) -> Iterator[None]:
    """A function gets nothing from its stream."""
    lambdas = service.deployed.aws("lambda")
    (mapping,) = lambdas.list_event_source_mappings(FunctionName=service.function(function))[
        "EventSourceMappings"
    ]
    lambdas.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        yield
    finally:
        lambdas.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


@contextmanager
def seen_again_soon(service: Service, url: str) -> Iterator[None]:
    """What failed comes again in a second, and not after minutes."""
    sqs = service.deployed.aws("sqs")
    asked = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes=asked["Attributes"])


def told_once(service: Service, parcel: str, address: str) -> Any:
    """The row and the one e-mail."""
    (mail,) = mailed(service, address, 1)
    ended = row(service, parcel, 1)
    assert ended["state"] == {"S": "sent"}
    return ended, mail["MessageId"]


def archived(service: Service, step: str, text: str) -> None:
    """Wait until a letter with this in it lies in the archive."""
    s3 = service.deployed.aws("s3")

    def lies_there() -> bool:
        return any(
            text in s3.get_object(Bucket=UPLOADS_BUCKET, Key=letter["Key"])["Body"].read().decode()
            for page in s3.get_paginator("list_objects_v2").paginate(
                Bucket=UPLOADS_BUCKET, Prefix=f"dead-letters/{step}/"
            )
            for letter in page.get("Contents", [])
        )

    eventually(lies_there, seconds=SECONDS, what="the letter is buried")


KINDS = (
    ingest, preprocessing, inference, conversion, notification, mail_feedback, parcel_stream, image_stream,
)  # fmt: skip


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """What stands still until the test is over."""
    with ExitStack() as stack:
        yield stack


# --- And healed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lose", KINDS)
def test_a_dead_letter_that_is_sent_back_heals_and_twice_is_once(
    service: Service, lose: Callable[[Service, ExitStack], Lost], held: ExitStack
) -> None:
    queue = lose.__name__.replace("_", "-")
    before = {letter["message_id"] for letter in darkroom(service, "dead-letters", queue)["items"]}
    lost = lose(service, held)
    (letter,) = eventually(
        lambda: new_letters(service, queue, before), seconds=SECONDS, what="a letter is listed"
    )
    said = (letter["queue"], letter["about"], letter["reason"])
    assert said == (lost.queue, lost.about, lost.reason)
    (line,) = (
        line
        for line in make_redrive(service, queue).splitlines()
        if line.split()[:1] == [letter["message_id"]]
    )
    assert line.split()[1] == lost.queue
    assert lost.reason in line
    s3 = service.deployed.aws("s3")
    body = s3.get_object(Bucket=UPLOADS_BUCKET, Key=letter["key"])["Body"].read()

    assert make_redrive(service, queue, "--id", letter["message_id"]) == "1 sent back.\n"
    healed = lost.healed()
    service.until_quiet()
    assert new_letters(service, queue, before) == []

    s3.put_object(Bucket=UPLOADS_BUCKET, Key=letter["key"], Body=body)
    (outcome,) = darkroom(service, "redrive", queue, letter["message_id"])
    assert outcome in {"sent back", "nothing left to do, removed"}
    service.until_quiet()
    lost.afterwards()
    assert lost.healed() == healed
    assert new_letters(service, queue, before) == []


def completed(service: Service, image_id: str) -> None:
    """Wait until an image that had failed is."""
    eventually(
        lambda: service.finished(image_id)["status"] == "completed",
        seconds=SECONDS,
        what="it is healed",
    )


def test_some_letters_or_all_go_back(service: Service) -> None:
    # Other tests leave letters that nobody can read, which `all` says by its exit code.
    for key in set(service.keys(UPLOADS_BUCKET, "dead-letters/preprocess/")):
        service.deployed.aws("s3").delete_object(Bucket=UPLOADS_BUCKET, Key=key)
    with service.environment("Preprocess", RENDITIONS_BUCKET=NOWHERE):
        image_ids = [send(service, photo(width=301 + number)) for number in range(4)]
        for image_id in image_ids:
            assert service.finished(image_id)["status"] == "preprocessing_failed"
        service.until_quiet()
    letters = {
        letter["about"]: letter["message_id"]
        for letter in darkroom(service, "dead-letters", "preprocessing")["items"]
    }
    some = ",".join(letters[image_id] for image_id in image_ids[:2])
    assert make_redrive(service, "preprocessing", "--id", some) == "2 sent back.\n"
    for image_id in image_ids[:2]:
        completed(service, image_id)
    for image_id in image_ids[2:]:
        assert service.image(image_id)["status"] == "preprocessing_failed"
    counts = darkroom(service, "redrive", "preprocessing", "all")
    assert counts["sent back"] >= 2
    for image_id in image_ids[2:]:
        completed(service, image_id)
    # Without a queue, those of all of them are listed.
    assert not any(image_id in make_redrive(service) for image_id in image_ids)
