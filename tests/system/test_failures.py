"""What goes wrong, and that nothing is lost by it."""

import json
import struct
import time
import zlib
from typing import Any

import httpx
import pytest

from tests.polling import eventually
from tests.system.conftest import RENDITIONS_BUCKET, UPLOADS_BUCKET, Service, photo
from tests.system.test_uploads import assert_complete, assert_copies


def send(service: Service, body: bytes) -> str:
    """Upload through a link, as anything may be; the image's id."""
    answer = service.api.post("/images").json()
    httpx.put(answer["upload_url"], content=body).raise_for_status()
    return str(answer["image_id"])


def lying_png(width: int, height: int) -> bytes:
    """A few bytes that say they are a picture of this many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "image_empty"),
        (b"hello", "unsupported_media_type"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_media_type"),
        (photo()[:-400], "image_truncated"),
        (b"\xff\xd8\xff\xe0" + bytes(200), "image_corrupt"),
        (lying_png(30_000, 30_000), "image_dimensions_too_large"),
    ],
)
def test_a_bad_file_fails_at_the_first_attempt_with_its_code(
    service: Service, body: bytes, code: str
) -> None:
    image = service.finished(send(service, body))
    assert image["status"] == "preprocessing_failed"
    assert image["conversion_status"] == "failed"
    assert image["error"]["code"] == code
    assert image["error"]["message"].endswith(".")
    assert image["attempts"] == 1
    assert service.keys(UPLOADS_BUCKET, f"processed/{image['image_id']}/") == []
    assert service.keys(RENDITIONS_BUCKET, image["image_id"]) == []


def test_a_message_that_nobody_can_read_ends_in_the_archive(service: Service) -> None:
    sqs = service.deployed.aws("sqs")
    url = sqs.get_queue_url(QueueName="darkroom-local-preprocessing")["QueueUrl"]
    message_id = sqs.send_message(QueueUrl=url, MessageBody='{"poison": true}')["MessageId"]
    key = f"dead-letters/preprocess/{message_id}.json"
    eventually(
        lambda: service.keys(UPLOADS_BUCKET, key), seconds=90, what="the letter is in the archive"
    )
    letter = json.loads(
        service.deployed.aws("s3").get_object(Bucket=UPLOADS_BUCKET, Key=key)["Body"].read()
    )
    assert letter["body"] == '{"poison": true}'
    assert letter["reason"]["code"] == "message_unreadable"


def test_a_fault_is_retried_then_buried_with_its_reason_and_a_retry_heals_it(
    service: Service,
) -> None:
    """A deployment with a wrong setting: everything that failed meanwhile can be taken up again."""
    with service.environment("Preprocess", INFERENCE_QUEUE="no-such-queue"):
        image_id = send(service, photo())
        image = service.finished(image_id)
    assert image["status"] == "preprocessing_failed"
    assert image["error"]["code"] == "service_unavailable"
    assert "queue" not in image["error"]["message"], "AWS's own words stay in the log"
    s3 = service.deployed.aws("s3")
    # Those that are there: other tests have sent theirs back.
    listed = s3.list_objects_v2(Bucket=UPLOADS_BUCKET, Prefix="dead-letters/preprocess/")
    bodies = [
        json.loads(s3.get_object(Bucket=UPLOADS_BUCKET, Key=entry["Key"])["Body"].read())
        for entry in listed["Contents"]
    ]
    (letter,) = (body for body in bodies if body["image_id"] == image_id)
    assert letter["reason"]["code"] == "service_unavailable"

    retried = service.api.post(f"/images/{image_id}/retry")
    assert retried.status_code == 202
    assert retried.json()["attempts"] == 2
    healed = service.finished(image_id)
    assert healed["status"] == "completed", healed
    assert healed["attempts"] == 2
    assert "error" not in healed
    again = service.api.post(f"/images/{image_id}/retry")
    assert (again.status_code, again.json()["code"]) == (409, "not_retryable")


def test_a_failed_inference_is_retried_from_inference(service: Service) -> None:
    with service.environment("Infer", MODEL="no_such_model"):
        image_id = send(service, photo())
        image = service.finished(image_id)
    assert image["status"] == "inference_failed"
    assert image["error"]["code"] == "model_unusable"
    preprocessed = image["timings_ms"]["preprocessing"]
    retried = service.api.post(f"/images/{image_id}/retry")
    assert retried.json()["status"] in {"preprocessed", "inferencing", "completed"}
    healed = service.finished(image_id)
    assert healed["status"] == "completed", healed
    assert healed["timings_ms"]["preprocessing"] == preprocessed, "it was not decoded again"


def test_a_conversion_that_fails_leaves_predictions_alone_and_is_retried_alone(
    service: Service,
) -> None:
    """Defect 41: a failed conversion left no row, no dead letter, and nothing to take up again."""
    with service.environment("Optimise", RENDITIONS_BUCKET="no-such-bucket"):
        image_id = send(service, photo())
        image = service.finished(image_id)
    assert image["status"] == "completed"
    assert "error" not in image
    assert image["conversion_status"] == "failed"
    assert image["conversion_error"]["code"] == "service_unavailable"
    assert "formats" not in image
    letters = service.keys(UPLOADS_BUCKET, "dead-letters/optimise/")
    assert letters
    retried = service.api.post(f"/images/{image_id}/retry")
    assert retried.status_code == 202
    assert retried.json()["status"] == "completed"
    healed = service.finished(image_id)
    assert healed["conversion_status"] == "completed", healed
    assert healed["attempts"] == 2
    assert healed["results"] == image["results"]
    assert "conversion_error" not in healed
    assert_copies(healed, size=(320, 240))


def test_events_that_come_again_change_nothing(service: Service) -> None:
    """Defect 12: a replay put a completed image back and ran the model again."""
    image_id = send(service, photo())
    assert_complete(service.finished(image_id))
    row = service.row(image_id)
    record = {
        "eventName": "ObjectCreated:Put",
        "s3": {
            "bucket": {"name": UPLOADS_BUCKET},
            "object": {
                "key": row["source"]["M"]["key"]["S"],
                "versionId": row["generation"]["S"],
                "size": 1,
                "eTag": "x",
            },
        },
    }
    message = {
        "image_id": image_id,
        "generation": row["generation"]["S"],
        "attempt": 1,
        "queued_at_ms": 1,
        "version": 1,
    }
    events: list[tuple[str, Any]] = [("Ingest", {"Records": [record, record]})]
    events += [
        (name, sqs_event(message))
        for name in ("Preprocess", "Infer", "Optimise", "BuryPreprocessing", "BuryConversion")
    ]
    client = service.deployed.aws("lambda")
    for name, event in events:
        answer = client.invoke(FunctionName=service.function(name), Payload=json.dumps(event))
        assert "FunctionError" not in answer, answer["Payload"].read()
    assert service.row(image_id) == row
    assert len(service.keys(RENDITIONS_BUCKET, f"results/{image_id}/")) == 1
    assert len(service.keys(RENDITIONS_BUCKET, f"renditions/{image_id}/")) == 2
    assert len(service.keys(RENDITIONS_BUCKET, f"formats/{image_id}/")) == 3


def sqs_event(message: dict[str, Any]) -> dict[str, Any]:
    """An SQS event with one message."""
    return {
        "Records": [
            {
                "messageId": "replayed",
                "receiptHandle": "none",
                "body": json.dumps(message),
                "attributes": {"ApproximateReceiveCount": "1"},
            }
        ]
    }


def test_s3s_test_event_is_taken(service: Service) -> None:
    """Defect 6."""
    event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": UPLOADS_BUCKET}
    answer = service.deployed.aws("lambda").invoke(
        FunctionName=service.function("Ingest"), Payload=json.dumps(event)
    )
    assert "FunctionError" not in answer


def test_a_deleted_image_is_gone_with_everything_and_stays_gone(service: Service) -> None:
    image_id = send(service, photo())
    service.finished(image_id)
    row = service.row(image_id)
    assert service.api.delete(f"/images/{image_id}").status_code == 204
    gone = service.api.get(f"/images/{image_id}")
    assert (gone.status_code, gone.json()["code"]) == (404, "image_not_found")
    assert service.api.delete(f"/images/{image_id}").status_code == 404
    for bucket in (UPLOADS_BUCKET, RENDITIONS_BUCKET):
        assert service.keys(bucket, image_id) == []
    message = {
        "image_id": image_id,
        "generation": row["generation"]["S"],
        "attempt": 1,
        "queued_at_ms": 1,
        "version": 1,
    }
    for name in ("Preprocess", "Infer", "Optimise"):
        answer = service.deployed.aws("lambda").invoke(
            FunctionName=service.function(name), Payload=json.dumps(sqs_event(message))
        )
        assert "FunctionError" not in answer, answer["Payload"].read()
    assert service.api.get(f"/images/{image_id}").status_code == 404
    for bucket in (UPLOADS_BUCKET, RENDITIONS_BUCKET):
        assert service.keys(bucket, image_id) == []


def test_an_upload_to_a_deleted_image_is_removed(service: Service) -> None:
    answer = service.api.post("/images").json()
    assert service.api.delete(f"/images/{answer['image_id']}").status_code == 204
    httpx.put(answer["upload_url"], content=photo()).raise_for_status()
    eventually(
        lambda: not service.keys(UPLOADS_BUCKET, answer["image_id"]),
        seconds=60,
        what="the object that nobody owns is removed",
    )
    assert service.api.get(f"/images/{answer['image_id']}").status_code == 404


def test_in_the_end_no_message_is_left_anywhere(service: Service) -> None:
    """Invariant 36, at quiescence: what was sent was worked on, or stands in the archive."""
    send(service, photo())
    service.until_quiet()


def test_health_names_what_it_asked(service: Service) -> None:
    answer = service.api.get("/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert set(answer.json()["checks"]) == {
        "images_table",
        "tracking_table",
        "uploads_bucket",
        "renditions_bucket",
        "preprocessing_queue",
        "inference_queue",
        "conversion_queue",
        "notification_queue",
        "mail_feedback_queue",
        "check",
    }


def test_every_line_that_a_function_logs_is_json(service: Service) -> None:
    started_ms = time.time_ns() // 1_000_000
    service.finished(send(service, photo()))
    logs = service.deployed.aws("logs")
    seen = 0
    for name in ("Ingest", "Preprocess", "Infer", "Optimise"):
        group = f"/aws/lambda/{service.function(name)}"
        for event in logs.filter_log_events(logGroupName=group, startTime=started_ms)["events"]:
            for line in event["message"].splitlines():
                if line.startswith("{"):
                    json.loads(line)
                    seen += 1
                else:
                    assert line.split(" ")[0] in {"START", "END", "REPORT", "INIT_START", ""}, line
    assert seen > 0
