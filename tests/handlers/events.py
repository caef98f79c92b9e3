"""Events as Lambda delivers them. Chalice's own builders give all SQS records one message id."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote_plus


def sqs_event(bodies: Sequence[str], *, receives: int = 1) -> dict[str, Any]:
    """An SQS event with one record a body, each with ids of its own."""
    return {
        "Records": [
            {
                "messageId": f"message-{number}",
                "receiptHandle": f"receipt-{number}",
                "body": body,
                "attributes": {
                    "ApproximateReceiveCount": str(receives),
                    "SentTimestamp": "1795000000000",
                },
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:queue",
                "awsRegion": "us-east-1",
            }
            for number, body in enumerate(bodies)
        ]
    }


def s3_record(key: str, *, name: str = "ObjectCreated:Put", size: int = 10) -> dict[str, Any]:
    """One record of an S3 event; the key as S3 encodes it."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": name,
        "s3": {
            "bucket": {"name": "uploads", "arn": "arn:aws:s3:::uploads"},
            "object": {
                "key": quote_plus(key, safe="/"),
                "size": size,
                "eTag": "0123",
                "versionId": "v1",
                "sequencer": "0055AED6DCD90281E5",
            },
        },
    }


S3_TEST_EVENT: dict[str, Any] = {
    "Service": "Amazon S3",
    "Event": "s3:TestEvent",
    "Time": "2026-11-21T10:00:00.000Z",
    "Bucket": "uploads",
    "RequestId": "5582815E1AEA5ADF",
    "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR",
}
