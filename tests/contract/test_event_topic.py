"""Events about images, on the fake and on SNS."""

import json
from typing import Any

import pytest

from chalicelib.aws.event_topic import EventTopic
from chalicelib.errors import ServiceUnavailable
from tests.contract.conftest import Edges, unique
from tests.fakes import FakeEventTopic
from tests.polling import eventually

BODY = json.dumps({"id": "1", "data": {"filename": "Käfer \uffff 🪲"}})
ATTRIBUTES = {"type": "darkroom.image.completed", "status": "completed"}


def test_an_event_is_taken_with_its_attributes(side: str, request: pytest.FixtureRequest) -> None:
    if side == "fake":
        fake = FakeEventTopic()
        fake.publish(BODY, ATTRIBUTES)
        assert fake.published == [(BODY, ATTRIBUTES)]
        return
    edges: Edges = request.getfixturevalue("edges")
    sqs, sns = edges.admin("sqs"), edges.admin("sns")
    topic = sns.create_topic(Name=unique("topic"))["TopicArn"]
    url = sqs.get_queue_url(QueueName=edges.queue())["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=arn["QueueArn"],
        Attributes={"FilterPolicy": json.dumps({"status": ["completed"]})},
    )
    events = EventTopic(sns=edges.clients.sns, arn=topic)
    events.publish("filtered out", {**ATTRIBUTES, "status": "inference_failed"})
    events.publish(BODY, ATTRIBUTES)

    def received() -> Any:
        messages = sqs.receive_message(QueueUrl=url).get("Messages", [])
        return json.loads(messages[0]["Body"]) if messages else None

    message = eventually(received, seconds=20, what="the event arrives")
    assert json.loads(message["Message"]) == json.loads(BODY)
    sent = {name: entry["Value"] for name, entry in message["MessageAttributes"].items()}
    assert sent == ATTRIBUTES


def test_a_topic_that_is_not_there_is_a_fault_that_may_pass(edges: Edges) -> None:
    missing = f"arn:aws:sns:us-east-1:000000000000:{unique('none')}"
    with pytest.raises(ServiceUnavailable):
        EventTopic(sns=edges.clients.sns, arn=missing).publish(BODY, ATTRIBUTES)
