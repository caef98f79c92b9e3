"""What subscribers of the deployed stack hear of images."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from chalicelib.pipeline.announce import events_in
from tests.image_event_schema import problems_of
from tests.polling import eventually
from tests.system.conftest import SECONDS, UPLOADS_BUCKET, Service, photo
from tests.system.test_failures import send

TOPIC = "arn:aws:sns:us-east-1:000000000000:darkroom-local-image-events"
TABLE = "darkroom-local-images"
PREFIX = "darkroom.image."


@dataclass
class Subscriber:
    """A queue that is subscribed to the topic."""

    service: Service
    url: str
    heard: list[dict[str, Any]] = field(default_factory=list)

    def listen(self) -> None:
        """Take what has arrived."""
        sqs = self.service.deployed.aws("sqs")
        while messages := sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get(
            "Messages", []
        ):
            for message in messages:
                self.heard.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])

    def about(self, image_id: str) -> list[dict[str, Any]]:
        """The events about one image that were heard so far."""
        self.listen()
        return [event for event in self.heard if event["subject"] == image_id]

    def until(self, image_id: str, number: int) -> Counter[tuple[str, int]]:
        """The types and attempts of an image's events, once there are so many and it is quiet."""
        eventually(
            lambda: len(self.about(image_id)) >= number, seconds=SECONDS, what=f"{number} events"
        )
        self.replayed(image_id)
        return Counter(
            (event["type"].removeprefix(PREFIX), event["data"]["attempt"])
            for event in self.about(image_id)
        )

    def replayed(self, image_id: str) -> None:
        """All records of an image come once more, as `announce` gets them.

        When it returns, whatever the poller does, it has seen all of them.
        """
        streams = self.service.deployed.aws("dynamodbstreams")
        records = [
            record
            for record in records_of(streams)
            if record["dynamodb"]["Keys"]["image_id"]["S"] == image_id
        ]
        assert records, "the stream has no records of it"
        for _ in range(2):
            answer = self.service.deployed.aws("lambda").invoke(
                FunctionName=self.service.function("Announce"),
                Payload=json.dumps({"Records": records}, default=float),
            )
            assert "FunctionError" not in answer, answer["Payload"].read()


def records_of(streams: Any) -> Iterator[dict[str, Any]]:
    """All records that the stream of the images table holds."""
    (stream,) = streams.list_streams(TableName=TABLE)["Streams"]
    described = streams.describe_stream(StreamArn=stream["StreamArn"])["StreamDescription"]
    for shard in described["Shards"]:
        place: str | None = streams.get_shard_iterator(
            StreamArn=stream["StreamArn"],
            ShardId=shard["ShardId"],
            ShardIteratorType="TRIM_HORIZON",
        )["ShardIterator"]
        while place:
            page = streams.get_records(ShardIterator=place)
            if not page["Records"]:
                break
            for record in page["Records"]:
                moment = record["dynamodb"]["ApproximateCreationDateTime"]
                record["dynamodb"]["ApproximateCreationDateTime"] = moment.timestamp()
                yield record
            place = page.get("NextShardIterator")


def subscribed(service: Service, name: str, **policy: list[str]) -> Iterator[Subscriber]:
    """A queue with a filter policy, as docs/events.md says to subscribe one."""
    sqs, sns = service.deployed.aws("sqs"), service.deployed.aws("sns")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    allowed = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": TOPIC}},
    }
    sqs.set_queue_attributes(
        QueueUrl=url,
        Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [allowed]})},
    )
    attributes = {"RawMessageDelivery": "true"}
    if policy:
        attributes["FilterPolicy"] = json.dumps(policy)
    subscription = sns.subscribe(
        TopicArn=TOPIC, Protocol="sqs", Endpoint=arn, Attributes=attributes
    )["SubscriptionArn"]
    yield Subscriber(service, url)
    sns.unsubscribe(SubscriptionArn=subscription)
    sqs.delete_queue(QueueUrl=url)


@pytest.fixture
def subscriber(service: Service) -> Iterator[Subscriber]:
    """Who hears everything."""
    yield from subscribed(service, "listens-to-images")


@pytest.fixture
def failures(service: Service) -> Iterator[Subscriber]:
    """Who hears of failures alone."""
    yield from subscribed(service, "listens-to-failures", type=[f"{PREFIX}failed"])


def test_an_image_that_fails_and_is_retried_is_one_failed_and_one_completed(
    service: Service, subscriber: Subscriber, failures: Subscriber
) -> None:
    with service.environment("Infer", MODEL="no_such_model"):
        image_id = send(service, photo())
        assert service.finished(image_id)["status"] == "inference_failed"
    assert service.api.post(f"/images/{image_id}/retry").status_code == 202
    image = service.finished(image_id)
    assert image["status"] == "completed", image
    assert subscriber.until(image_id, 3) == {
        ("failed", 1): 1,
        ("conversion_ended", 1): 1,
        ("completed", 2): 1,
    }
    events = subscriber.about(image_id)
    assert [problem for event in events for problem in problems_of(event)] == []
    assert len({event["id"] for event in events}) == 3
    by_type = {event["type"].removeprefix(PREFIX): event for event in events}
    assert by_type["failed"]["data"]["error"]["code"] == "model_unusable"
    assert by_type["completed"]["data"]["results"] == image["results"]
    assert by_type["conversion_ended"]["data"]["formats"] == sorted(image["formats"])
    (filtered,) = failures.about(image_id)
    assert filtered == by_type["failed"]
    for event in events:
        row = service.deployed.aws("dynamodb").get_item(
            TableName="darkroom-local-announcements", Key={"event_id": {"S": event["id"]}}
        )["Item"]
        assert row["state"] == {"S": "published"}


def test_a_file_that_is_no_image_is_one_event(service: Service, subscriber: Subscriber) -> None:
    image_id = send(service, b"hello")
    service.finished(image_id)
    assert subscriber.until(image_id, 1) == {("failed", 1): 1}
    (event,) = subscriber.about(image_id)
    assert problems_of(event) == []
    assert event["data"]["error"]["code"] == "unsupported_media_type"
    assert event["data"]["conversion_status"] == "failed"


def test_another_model_and_a_deletion_announce_no_more_than_they_end(
    service: Service, subscriber: Subscriber
) -> None:
    image_id = send(service, photo())
    service.finished(image_id)
    again = service.api.post(f"/images/{image_id}/retry", params={"model": "default"})
    assert again.status_code == 202, again.text
    eventually(
        lambda: service.image(image_id)["status"] == "completed",
        seconds=SECONDS,
        what="it is completed again",
    )
    assert service.api.delete(f"/images/{image_id}").status_code == 204
    assert subscriber.until(image_id, 3) == {
        ("completed", 1): 1,
        ("conversion_ended", 1): 1,
        ("completed", 2): 1,
    }


def test_a_record_that_cannot_be_read_is_archived_and_its_neighbours_are_announced(
    service: Service, subscriber: Subscriber
) -> None:
    """Chalice can set nothing against a poison record that blocks its shard."""
    poison = "poison-of-the-stream"
    table = service.deployed.aws("dynamodb")
    for status in ("inferencing", "completed"):
        item = {"image_id": {"S": poison}, "status": {"S": status}, "attempt": {"S": "one"}}
        table.put_item(TableName=TABLE, Item=item)
    table.delete_item(TableName=TABLE, Key={"image_id": {"S": poison}})
    image_id = send(service, photo())
    service.finished(image_id)
    assert subscriber.until(image_id, 2) == {("completed", 1): 1, ("conversion_ended", 1): 1}
    s3 = service.deployed.aws("s3")
    letters = [
        s3.get_object(Bucket=UPLOADS_BUCKET, Key=key)["Body"].read()
        for key in service.keys(UPLOADS_BUCKET, "dead-letters/announce/")
    ]
    assert sum(poison.encode() in letter for letter in letters) == 1


def test_the_filter_of_the_stream_lets_every_end_through(service: Service) -> None:
    """What the rows of real images look like: the filter and the function agree about them."""
    mappings = service.deployed.aws("lambda").list_event_source_mappings(
        FunctionName=service.function("Announce")
    )["EventSourceMappings"]
    (mapping,) = mappings
    patterns = [json.loads(entry["Pattern"]) for entry in mapping["FilterCriteria"]["Filters"]]
    image_id = send(service, photo())
    service.finished(image_id)
    records = list(records_of(service.deployed.aws("dynamodbstreams")))
    told = [record for record in records if _readable(record) and events_in(record)]
    assert len(told) >= 2
    for record in told:
        assert any(_matches(record, pattern) for pattern in patterns), record


def _readable(record: dict[str, Any]) -> bool:
    return not str(record["dynamodb"]["Keys"]["image_id"]["S"]).startswith("poison")


def _matches(record: Any, pattern: Any) -> bool:
    if isinstance(pattern, list):
        return record in pattern
    return isinstance(record, dict) and all(
        _matches(record.get(name), part) for name, part in pattern.items()
    )
