"""T11: what looks like DynamoDB's language is text, wherever a stranger may write some."""

import base64
import uuid
from typing import Any

import pytest

from tests.system.conftest import Service, photo
from tests.system.test_tracking import send, status_of

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


@pytest.fixture
def parcel() -> str:
    return f"PX {uuid.uuid4()}"


def test_names_and_values_of_metadata_come_back_as_they_were_sent(service: Service) -> None:
    metadata = {word: word for word in WORDS}
    created = service.api.post(
        "/images",
        json={
            "image_base64": base64.b64encode(photo()).decode(),
            "filename": "SET #status = :completed",
            "metadata": metadata,
        },
    )
    assert created.status_code == 201, created.text
    image = service.finished(created.json()["image_id"])
    assert image["metadata"] == metadata
    assert image["original"]["filename"] == "SET #status = :completed"
    assert image["status"] == "completed"


def test_parcels_keep_them_too(service: Service, parcel: str) -> None:
    metadata: dict[str, Any] = {word: {word: [word]} for word in WORDS}
    send(service, parcel, metadata=metadata)
    (update,) = status_of(service, parcel)["updates"]
    assert update["metadata"] == metadata


@pytest.mark.parametrize("word", WORDS)
def test_an_id_of_a_parcel_is_no_condition(service: Service, word: str) -> None:
    tracking_id = f"{word} {uuid.uuid4()}"
    send(service, tracking_id)
    assert status_of(service, tracking_id)["count"] == 1
    answer = service.api.get("/status", params={"tracking_id": f"{tracking_id}' OR 1=1"})
    assert answer.json()["count"] == 0
