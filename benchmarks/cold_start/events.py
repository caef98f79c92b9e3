"""What each function is called with: the image of `one_image`, as its own trigger tells of it."""

from typing import Any
from urllib.parse import quote_plus

from benchmarks.cold_start.one_image import GENERATION, IMAGE_ID, MESSAGE
from chalicelib import messages
from chalicelib.images import source_key

NOTHING: dict[str, Any] = {"Records": []}

_SCHEDULED: dict[str, Any] = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "000000000000",
    "time": "2026-11-24T12:00:00Z",
    "region": "us-east-1",
    "resources": ["arn:aws:events:us-east-1:000000000000:rule/check"],
    "detail": {},
}


def event_of(handler: str) -> tuple[str, dict[str, Any]]:
    """A first event for a handler, and in words what it is.

    A function that this does not know gets an event without records, which ends at once.
    """
    path = f"/images/{IMAGE_ID}"
    uploaded = {"Records": [_upload()]}
    known: dict[str, tuple[str, dict[str, Any]]] = {
        "app": (f"GET {path[:15]}...", _request(path)),
        "ingest": ("an upload", uploaded),
        "preprocess": ("a message", _messages(messages.encode(MESSAGE))),
        "infer": ("a message", _messages(messages.encode(MESSAGE))),
        "optimise": ("a message", _messages(messages.encode(MESSAGE))),
        "check": ("its schedule", _SCHEDULED),
        "bury_ingest": ("a dead letter", _messages("{}")),
        "bury_preprocessing": ("a dead letter", _messages(messages.encode(MESSAGE))),
        "bury_inference": ("a dead letter", _messages(messages.encode(MESSAGE))),
        "bury_conversion": ("a dead letter", _messages(messages.encode(MESSAGE))),
    }
    return known.get(handler.rpartition(".")[2], ("no records", NOTHING))


def _messages(body: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "messageId": "1",
                "receiptHandle": "1",
                "body": body,
                "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1795000000000"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:queue",
                "awsRegion": "us-east-1",
            }
        ]
    }


def _upload() -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {
            "bucket": {"name": "uploads", "arn": "arn:aws:s3:::uploads"},
            "object": {
                "key": quote_plus(source_key(IMAGE_ID), safe="/"),
                "size": 1000,
                "eTag": "0123",
                "versionId": GENERATION,
                "sequencer": "0055AED6DCD90281E5",
            },
        },
    }


def _request(path: str) -> dict[str, Any]:
    return {
        "resource": "/images/{image_id}",
        "path": path,
        "httpMethod": "GET",
        "headers": {"Accept": "*/*", "Host": "api"},
        "multiValueHeaders": {"Accept": ["*/*"], "Host": ["api"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": {"image_id": IMAGE_ID},
        "stageVariables": None,
        "requestContext": {
            "httpMethod": "GET",
            "resourcePath": "/images/{image_id}",
            "path": f"/api{path}",
            "stage": "api",
            "requestId": "1",
            "identity": {"sourceIp": "127.0.0.1"},
        },
        "body": None,
        "isBase64Encoded": False,
    }
