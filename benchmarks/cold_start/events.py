"""What each function is called with: the image of `one_image`, as its own trigger tells of it."""

from typing import Any

from benchmarks.cold_start.one_image import GENERATION, IMAGE_ID, MESSAGE, row_at
from chalicelib import messages
from chalicelib.images import Status, source_key
from infrastructure.trigger_events import get_event, s3_event, schedule_event, sqs_event

NOTHING: dict[str, Any] = {"Records": []}
# What the stream tells of an image that is completed.
COMPLETED: dict[str, Any] = {
    "Records": [
        {
            "eventID": "1",
            "eventName": "MODIFY",
            "dynamodb": {
                "OldImage": row_at(Status.INFERENCING),
                "NewImage": row_at(Status.COMPLETED),
                "ApproximateCreationDateTime": 1_795_000_000,
            },
        }
    ]
}


def event_of(handler: str) -> tuple[str, dict[str, Any]]:
    """A first event for a handler, and in words what it is.

    A function that this does not know gets an event without records, which ends at once.
    """
    message = sqs_event(messages.encode(MESSAGE))
    known: dict[str, tuple[str, dict[str, Any]]] = {
        "app": (
            f"GET /images/{IMAGE_ID[:7]}...",
            get_event("/images/{image_id}", image_id=IMAGE_ID),
        ),
        "ingest": ("an upload", s3_event("uploads", source_key(IMAGE_ID), GENERATION)),
        "preprocess": ("a message", message),
        "infer": ("a message", message),
        "optimise": ("a message", message),
        "announce": ("a record", COMPLETED),
        "check": ("its schedule", schedule_event("check")),
        "bury_ingest": ("a dead letter", sqs_event("{}")),
        "bury_preprocessing": ("a dead letter", message),
        "bury_inference": ("a dead letter", message),
        "bury_conversion": ("a dead letter", message),
    }
    return known.get(handler.rpartition(".")[2], ("no records", NOTHING))
