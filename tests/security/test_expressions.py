"""T11: what looks like DynamoDB's language is text, wherever a stranger may write some."""

import json
import uuid
from typing import Any
from urllib.parse import quote

import pytest

from tests.security.conftest import Outside

# Words that DynamoDB keeps for itself, names and values as its expressions have them, and paths.
WORDS = (
    *(
        "status",
        "size",
        "error",
        "name",
        "values",
        "ttl",
        "user",
        "#s",
        ":g",
        "a.b",
        "a[0]",
        "$where",
    ),
    *("attribute_exists(image_id)", "SET #status = :completed", "' OR '1'='1", "REMOVE image_id"),
)


def test_names_and_values_of_metadata_come_back_as_they_were_sent(outside: Outside) -> None:
    metadata = {word: word for word in WORDS}
    created = outside.ask(
        "POST",
        "/images",
        json_body={"filename": "SET #status = :completed", "metadata": metadata},
    )
    assert created.status_code == 201, created.body
    image = json.loads(outside.ask("GET", f"/images/{created.json_body['image_id']}").body)
    assert image["metadata"] == metadata
    assert image["original"]["filename"] == "SET #status = :completed"
    assert image["status"] == "pending_upload"


def update_of(tracking_id: str, **more: Any) -> dict[str, Any]:
    place = {"lat": 1, "lng": 2}
    return {"tracking_id": tracking_id, "status": "in_transit", "location": place, **more}


def history_of(outside: Outside, tracking_id: str) -> dict[str, Any]:
    answer = outside.ask("GET", f"/status?tracking_id={quote(tracking_id, safe='')}")
    assert answer.status_code == 200, answer.body
    history: dict[str, Any] = json.loads(answer.body)
    return history


def test_parcels_keep_them_too(outside: Outside) -> None:
    metadata: dict[str, Any] = {word: {word: [word]} for word in WORDS}
    tracking_id = f"PX {uuid.uuid4()}"
    stored = outside.ask("POST", "/track", json_body=update_of(tracking_id, metadata=metadata))
    assert stored.status_code == 200, stored.body
    (update,) = history_of(outside, tracking_id)["updates"]
    assert update["metadata"] == metadata


@pytest.mark.parametrize("word", WORDS)
def test_an_id_of_a_parcel_is_no_condition(outside: Outside, word: str) -> None:
    tracking_id = f"{word} {uuid.uuid4()}"
    assert outside.ask("POST", "/track", json_body=update_of(tracking_id)).status_code == 200
    assert history_of(outside, tracking_id)["count"] == 1
    assert history_of(outside, f"{tracking_id}' OR 1=1")["count"] == 0
