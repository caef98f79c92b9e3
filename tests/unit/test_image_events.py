"""Which writes of a row are announced, and what is said."""

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from chalicelib.image_events import Kind, encode, events_of
from chalicelib.images import (
    ConversionStatus,
    Failure,
    Image,
    Original,
    Prediction,
    Status,
    StoredCopy,
    new_image_id,
)
from tests.image_event_schema import SCHEMA, problems_of

BUSY = Failure(code="service_unavailable", message="Busy.")
COPY = StoredCopy(key="k", content_type="image/webp", bytes=1, width=1, height=1)
INFERENCING = Image(
    image_id=new_image_id(),
    status=Status.INFERENCING,
    conversion_status=ConversionStatus.PENDING,
    created_at_ms=1_795_000_000_000,
    updated_at_ms=1_795_000_001_000,
    generation="v1",
    original=Original(filename="Käfer \uffff 🪲.jpg", bytes=12, width=4, height=3),
    metadata={"order": "7"},
    renditions={"thumb": COPY, "standard": COPY},
)
COMPLETED = replace(
    INFERENCING,
    status=Status.COMPLETED,
    updated_at_ms=1_795_000_002_345,
    prediction=Prediction(
        classes=("ship", "truck"), probabilities=(0.75, 0.25), model_name="m", model_version="1"
    ),
)
FAILED = replace(INFERENCING, status=Status.INFERENCE_FAILED, error=BUSY)
CONVERTED = replace(
    INFERENCING, conversion_status=ConversionStatus.COMPLETED, formats={"webp": COPY}
)


def kinds(before: Image | None, after: Image | None) -> list[Kind]:
    return [event.kind for event in events_of(before, after)]


@pytest.mark.parametrize("before", [status for status in Status if not status.final])
def test_an_end_is_announced_whichever_step_it_came_from(before: Status) -> None:
    row = replace(INFERENCING, status=before)
    assert kinds(row, COMPLETED) == [Kind.COMPLETED]
    assert kinds(row, FAILED) == [Kind.FAILED]


def test_the_end_of_the_copies_is_announced_by_itself() -> None:
    assert kinds(INFERENCING, CONVERTED) == [Kind.CONVERSION_ENDED]
    late = replace(COMPLETED, conversion_status=ConversionStatus.SKIPPED)
    assert kinds(COMPLETED, late) == [Kind.CONVERSION_ENDED]


def test_what_fails_together_is_one_event() -> None:
    before = replace(INFERENCING, status=Status.PREPROCESSING)
    after = replace(
        before,
        status=Status.PREPROCESSING_FAILED,
        conversion_status=ConversionStatus.FAILED,
        error=BUSY,
    )
    (event,) = events_of(before, after)
    assert event.kind is Kind.FAILED
    assert event.envelope("dev")["data"]["conversion_status"] == "failed"


RETRIED = replace(FAILED, status=Status.PREPROCESSED, attempt=2, error=None)
COPIES_FAILED = replace(COMPLETED, conversion_status=ConversionStatus.FAILED)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, INFERENCING),
        (None, COMPLETED),
        (COMPLETED, None),
        (INFERENCING, None),
        (replace(INFERENCING, status=Status.PREPROCESSED), INFERENCING),
        (
            replace(INFERENCING, status=Status.PENDING_UPLOAD),
            replace(INFERENCING, status=Status.EXPIRED),
        ),
        (COMPLETED, replace(COMPLETED, timings_ms={"preprocess": 5})),
        (COMPLETED, replace(COMPLETED, renditions={"wide": COPY})),
        (FAILED, RETRIED),
        (COMPLETED, replace(COMPLETED, status=Status.PREPROCESSED, attempt=2, model="o@2")),
        (
            COPIES_FAILED,
            replace(COMPLETED, attempt=2, conversion_status=ConversionStatus.PENDING),
        ),
        (
            COPIES_FAILED,
            replace(COMPLETED, attempt=2, conversion_status=ConversionStatus.SKIPPED),
        ),
    ],
    ids=[
        *("created", "put back by an operator", "completed and deleted", "deleted", "a step"),
        *("expired", "a slower step", "a back-fill", "a retry", "another model"),
        *("a retry of the copies", "a retry that wants no copies"),
    ],
)
def test_nothing_else_is_announced(before: Image | None, after: Image | None) -> None:
    assert events_of(before, after) == []


def test_the_same_end_has_one_name_and_every_other_another() -> None:
    """By image, upload, attempt and outcome; not by what else the row holds."""
    (event,) = events_of(INFERENCING, COMPLETED)
    later = replace(COMPLETED, updated_at_ms=COMPLETED.updated_at_ms + 1, metadata={})
    assert replace(event, image=later).event_id == event.event_id
    others = [
        *events_of(INFERENCING, FAILED),
        *events_of(replace(INFERENCING, status=Status.PREPROCESSING), _unprepared()),
        *events_of(INFERENCING, CONVERTED),
        *events_of(INFERENCING, replace(CONVERTED, conversion_status=ConversionStatus.FAILED)),
        replace(event, image=replace(COMPLETED, attempt=2)),
        replace(event, image=replace(COMPLETED, generation="v2")),
        replace(event, image=replace(COMPLETED, image_id=new_image_id())),
    ]
    assert len({other.event_id for other in [event, *others]}) == 8


def _unprepared() -> Image:
    return replace(FAILED, status=Status.PREPROCESSING_FAILED)


def test_the_name_of_an_end_never_changes() -> None:
    """It is what consumers keep: another way of naming would make old events new ones."""
    image = replace(COMPLETED, image_id="2f0c0f3e-6a0b-4d6a-9c1e-0b1f0c0f3e6a")
    (event,) = events_of(replace(image, status=Status.INFERENCING), image)
    assert event.event_id == "26190b1384a3b31c440c2fafd1e7aaf5"


def test_the_envelope_is_that_of_cloudevents() -> None:
    (event,) = events_of(INFERENCING, COMPLETED)
    envelope = event.envelope("prod")
    assert {name: value for name, value in envelope.items() if name not in {"id", "data"}} == {
        "specversion": "1.0",
        "source": "/darkroom/prod/images",
        "type": "darkroom.image.completed",
        "subject": COMPLETED.image_id,
        "time": "2026-11-18T11:06:42.345Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:darkroom:image-event-data:1",
    }
    assert envelope["data"] == {
        "image_id": COMPLETED.image_id,
        "generation": "v1",
        "attempt": 1,
        "status": "completed",
        "conversion_status": "pending",
        "created_at": 1_795_000_000,
        "original": {"filename": "Käfer \uffff 🪲.jpg", "bytes": 12, "width": 4, "height": 3},
        "metadata": {"order": "7"},
        "renditions": ["standard", "thumb"],
        "formats": [],
        "results": {
            "classes": ["ship", "truck"],
            "probabilities": [0.75, 0.25],
            "confidence": 0.75,
        },
        "model": {"name": "m", "version": "1"},
    }


def test_a_failure_says_why_and_shows_no_prediction_of_an_earlier_attempt() -> None:
    after = replace(FAILED, attempt=2, prediction=COMPLETED.prediction)
    (event,) = events_of(INFERENCING, after)
    data = event.envelope("prod")["data"]
    assert data["error"] == {"code": "service_unavailable", "message": "Busy."}
    assert "results" not in data


def test_subscriptions_can_be_filtered_by_type_and_outcome() -> None:
    def attributes(after: Image) -> Any:
        return events_of(INFERENCING, after)[0].attributes

    assert attributes(COMPLETED) == {"type": "darkroom.image.completed", "status": "completed"}
    assert attributes(FAILED) == {"type": "darkroom.image.failed", "status": "inference_failed"}
    assert attributes(CONVERTED) == {
        "type": "darkroom.image.conversion_ended",
        "conversion_status": "completed",
    }


def test_the_text_is_ascii_for_sqs_refuses_some_characters() -> None:
    (event,) = events_of(INFERENCING, COMPLETED)
    text = encode(event.envelope("prod"))
    assert text.isascii()
    assert json.loads(text)["data"]["original"]["filename"] == "Käfer \uffff 🪲.jpg"


def test_every_event_that_there_can_be_is_of_the_schema() -> None:
    Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))
    seen = set()
    for old, new, was, becomes in itertools.product(
        Status, Status, ConversionStatus, ConversionStatus
    ):
        before = replace(COMPLETED, status=old, conversion_status=was)
        after = replace(
            COMPLETED,
            status=new,
            conversion_status=becomes,
            error=BUSY if new.failed else None,
            conversion_error=BUSY if becomes is ConversionStatus.FAILED else None,
        )
        # A link's row has no copies that could end.
        if not {old, new} & {Status.PENDING_UPLOAD, Status.EXPIRED}:
            for event in events_of(before, after):
                seen.add(event.kind)
                assert problems_of(event.envelope("dev")) == []
    assert seen == set(Kind)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("specversion", "0.3"),
        ("id", "1"),
        ("source", "darkroom"),
        ("type", "darkroom.image.queued"),
        ("type", "darkroom.image.failed"),
        ("subject", "1"),
        ("time", "2026-11-18 08:26:42"),
        ("datacontenttype", "text/plain"),
        ("data", {}),
        ("more", 1),
    ],
)
def test_the_schema_refuses_what_is_no_such_event(name: str, value: Any) -> None:
    (event,) = events_of(INFERENCING, COMPLETED)
    assert problems_of({**event.envelope("dev"), name: value}) != []
    short = {key: entry for key, entry in event.envelope("dev").items() if key != name}
    assert name == "more" or problems_of(short) != []
