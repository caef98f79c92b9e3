"""Parcels on the deployed stack."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.polling import eventually
from tests.system.conftest import SECONDS, Service, photo

DAY_MS = 86_400_000
TABLE = "darkroom-local-tracking"
CONFIG = "/darkroom/local/config"
# What a schedule sends.
TICK = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "000000000000",
    "time": "2026-11-24T16:00:00Z",
    "region": "us-east-1",
    "resources": [],
    "detail": {},
}


@pytest.fixture
def parcel() -> str:
    """A parcel that nobody has heard of."""
    return f"PX {uuid.uuid4()}"


def update_of(parcel: str, status: str = "in_transit", **more: Any) -> dict[str, Any]:
    return {
        "tracking_id": parcel,
        "status": status,
        "location": {"lat": 40.7128, "lng": -74.006},
        **more,
    }


def send(service: Service, parcel: str, status: str = "in_transit", **more: Any) -> dict[str, Any]:
    answer = service.api.post("/track", json=update_of(parcel, status, **more))
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def status_of(service: Service, parcel: str, **query: Any) -> dict[str, Any]:
    answer = service.api.get("/status", params={"tracking_id": parcel, **query})
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def test_a_parcel_is_followed_from_its_first_update_to_its_last(
    service: Service, parcel: str
) -> None:
    for status in ("pending", "in_transit", "delivered"):
        send(service, parcel, status)
    late = send(service, parcel, "in_transit", occurred_at=int(time.time() * 1000) - 60_000)
    shown = status_of(service, parcel)
    assert [update["status"] for update in shown["updates"]] == [
        *("in_transit", "delivered", "in_transit", "pending")
    ]
    assert shown["updates"][0]["timestamp"] == late["timestamp"]
    assert shown["current"]["status"] == "delivered"
    assert shown["current"]["location"] == {"lat": 40.7128, "lng": -74.006}
    assert shown["updates"][0]["distance_m"] == 0


def test_two_pages_are_the_whole_history(service: Service, parcel: str) -> None:
    updates = [update_of(parcel, metadata={"n": number}) for number in range(15)]
    answer = service.api.post("/track", json={"updates": updates}).json()
    assert answer["stored"] == 15
    first = status_of(service, parcel)
    second = status_of(service, parcel, last_key=first["next_key"])
    assert (first["count"], second["count"], second["next_key"]) == (10, 5, None)
    shown = [update["metadata"]["n"] for update in first["updates"] + second["updates"]]
    assert shown == list(range(14, -1, -1))


def test_the_same_key_is_the_same_update(service: Service, parcel: str) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first = service.api.post("/track", json=update_of(parcel), headers=headers)
    again = service.api.post("/track", json=update_of(parcel), headers=headers)
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (first.json(), "true")
    assert status_of(service, parcel)["count"] == 1


def test_the_photo_of_a_delivery_is_shown_with_what_is_seen_in_it(
    service: Service, parcel: str
) -> None:
    created = service.api.post("/images", content=photo(), headers={"Content-Type": "image/jpeg"})
    image_id = created.json()["image_id"]
    send(service, parcel, "delivered", image_id=image_id)
    assert status_of(service, parcel)["current"]["image"]["image_id"] == image_id

    def seen() -> dict[str, Any] | None:
        image: dict[str, Any] = status_of(service, parcel)["current"]["image"]
        return image if image["status"] == "completed" else None

    image = eventually(seen, seconds=SECONDS, what="the photo is completed")
    assert image["top_prediction"]
    assert httpx.get(image["thumb"]["url"]).headers["content-type"] == "image/jpeg"
    missing = service.api.post("/track", json=update_of(parcel, image_id=str(uuid.uuid4())))
    assert (missing.status_code, missing.json()["code"]) == (404, "image_not_found")


def test_a_wrong_body_is_told_everything_that_is_wrong_with_it(service: Service) -> None:
    answer = service.api.post("/track", content=b'{"location": {"lat": 1e400, "lng": "x"}}')
    assert answer.status_code == 400
    assert {entry["field"] for entry in answer.json()["errors"]} == {
        *("tracking_id", "status", "location.lat", "location.lng")
    }
    assert service.api.get("/status").status_code == 400


def test_the_deployed_api_takes_signed_requests(service: Service, parcel: str) -> None:
    apis = service.deployed.aws("apigateway").get_rest_apis()["items"]
    (api,) = (api for api in apis if api["name"] == "darkroom-local")
    url = f"{service.deployed.places.aws_url}/restapis/{api['id']}/api/_user_request_"

    def signed(method: str, path: str, body: bytes = b"") -> httpx.Response:
        request = AWSRequest(
            method=method, url=url + path, data=body, headers={"Content-Type": "application/json"}
        )
        SigV4Auth(Credentials("test", "test"), "execute-api", "us-east-1").add_auth(request)
        return httpx.request(
            method, url + path, content=body, headers=dict(request.headers), timeout=30
        )

    stored = signed("POST", "/track", json.dumps(update_of(parcel, "delivered")).encode())
    assert stored.status_code == 200, stored.text
    shown = signed("GET", f"/status?tracking_id={parcel.replace(' ', '%20')}")
    assert shown.status_code == 200, shown.text
    assert shown.json()["current"]["timestamp"] == stored.json()["timestamp"]


@pytest.fixture
def events(service: Service) -> Iterator[str]:
    """The URL of a queue that gets all events of the stage."""
    sqs, bus = service.deployed.aws("sqs"), service.deployed.aws("events")
    name = f"events-{uuid.uuid4().hex[:8]}"
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    bus.put_rule(Name=name, EventPattern=json.dumps({"source": ["darkroom.local"]}))
    target = {"Id": "queue", "Arn": attributes["Attributes"]["QueueArn"]}
    bus.put_targets(Rule=name, Targets=[target])
    yield str(url)
    bus.remove_targets(Rule=name, Ids=["queue"])
    bus.delete_rule(Name=name)
    sqs.delete_queue(QueueUrl=url)


@contextmanager
def configured(service: Service, **changes: int) -> Iterator[None]:
    """Other numbers, in processes of the check that have not read them yet."""
    ssm = service.deployed.aws("ssm")
    before = ssm.get_parameter(Name=CONFIG)["Parameter"]["Value"]
    text = json.dumps({**json.loads(before), **changes})
    ssm.put_parameter(Name=CONFIG, Value=text, Overwrite=True)
    # A changed environment ends the processes that keep a value for five minutes.
    with service.environment("Check", CONFIG_SEEN="other"):
        try:
            yield
        finally:
            ssm.put_parameter(Name=CONFIG, Value=before, Overwrite=True)


def test_a_parcel_that_got_stuck_is_reported_once(
    service: Service, parcel: str, events: str
) -> None:
    send(service, parcel)
    send(service, f"{parcel} of today")
    service.deployed.aws("dynamodb").update_item(
        TableName=TABLE,
        Key={"tracking_id": {"S": parcel}, "timestamp": {"N": "0"}},
        UpdateExpression="SET last_update_at = :long_ago",
        ExpressionAttributeValues={":long_ago": {"N": str(int(time.time() * 1000) - 2 * DAY_MS)}},
    )
    run = service.deployed.aws("lambda").invoke
    tick = json.dumps(TICK).encode()
    with configured(service, stuck_parcel_days=1):
        for _ in range(2):
            answer = run(FunctionName=service.function("Check"), Payload=tick)
            assert "FunctionError" not in answer, answer["Payload"].read()
    received: list[Any] = []

    def arrived() -> bool:
        sqs = service.deployed.aws("sqs")
        for message in sqs.receive_message(QueueUrl=events, MaxNumberOfMessages=10).get(
            "Messages", []
        ):
            received.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=events, ReceiptHandle=message["ReceiptHandle"])
        return bool(received)

    eventually(arrived, seconds=20, what="the event arrives")
    arrived()
    [event] = received
    assert event["detail-type"] == "Parcel Stuck"
    assert event["detail"]["tracking_id"] == parcel
