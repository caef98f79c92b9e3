"""Events as Lambda gives them to functions: one of each kind of trigger, with what our code reads
and what the runtime needs.
"""

from typing import Any
from urllib.parse import quote_plus


def sqs_event(*bodies: str) -> dict[str, Any]:
    """Messages of a queue, that come for the first time."""
    return {
        "Records": [
            {
                "messageId": str(number),
                "receiptHandle": str(number),
                "body": body,
                "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1795000000000"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:queue",
                "awsRegion": "us-east-1",
            }
            for number, body in enumerate(bodies)
        ]
    }


def s3_event(bucket: str, key: str, version: str) -> dict[str, Any]:
    """An object was put into a bucket.

    Args:
        bucket: Its name.
        key: As it is; in the event it stands quoted.
        version: Of the object.
    """
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "s3": {
                    "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
                    "object": {
                        "key": quote_plus(key, safe="/"),
                        "size": 1000,
                        "eTag": "0123",
                        "versionId": version,
                        "sequencer": "0055AED6DCD90281E5",
                    },
                },
            }
        ]
    }


def get_event(route: str, **parameters: str) -> dict[str, Any]:
    """A GET request.

    Args:
        route: Such as ``/images/{image_id}``.
        parameters: What stands in its path.
    """
    path = route.format(**parameters)
    return {
        "resource": route,
        "path": path,
        "httpMethod": "GET",
        "headers": {"Accept": "*/*", "Host": "api"},
        "multiValueHeaders": {"Accept": ["*/*"], "Host": ["api"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": parameters,
        "stageVariables": None,
        "requestContext": {
            "httpMethod": "GET",
            "resourcePath": route,
            "path": f"/api{path}",
            "stage": "api",
            "requestId": "1",
            "identity": {"sourceIp": "127.0.0.1"},
        },
        "body": None,
        "isBase64Encoded": False,
    }


def schedule_event(rule: str) -> dict[str, Any]:
    """The time of a rule has come."""
    return {
        "version": "0",
        "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": "2026-11-24T12:00:00Z",
        "region": "us-east-1",
        "resources": [f"arn:aws:events:us-east-1:000000000000:rule/{rule}"],
        "detail": {},
    }
