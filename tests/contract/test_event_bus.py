"""Events, on the fake and on EventBridge."""

import json
from typing import Any

import pytest

from chalicelib.aws.event_bus import EventBus
from chalicelib.errors import ServiceUnavailable
from tests.contract.conftest import Edges, unique
from tests.fakes import FakeEventBus
from tests.polling import eventually

DETAIL = {"tracking_id": "Zoë 🪲", "last_update_at": 1_795_000_000_000}


def test_an_event_is_taken(side: str, request: pytest.FixtureRequest) -> None:
    if side == "fake":
        fake = FakeEventBus()
        fake.publish("Parcel Stuck", DETAIL)
        assert fake.published == [("Parcel Stuck", DETAIL)]
        return
    edges: Edges = request.getfixturevalue("edges")
    source = unique("source")
    queue = edges.queue()
    sqs, events = edges.admin("sqs"), edges.admin("events")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    events.put_rule(Name=source, EventPattern=json.dumps({"source": [source]}))
    events.put_targets(Rule=source, Targets=[{"Id": "queue", "Arn": arn["QueueArn"]}])
    EventBus(events=edges.clients.events, source=source).publish("Parcel Stuck", DETAIL)

    def received() -> Any:
        messages = sqs.receive_message(QueueUrl=url).get("Messages", [])
        return json.loads(messages[0]["Body"]) if messages else None

    event = eventually(received, seconds=20, what="the event arrives at the rule's target")
    assert (event["source"], event["detail-type"]) == (source, "Parcel Stuck")
    assert event["detail"] == DETAIL


def test_an_entry_that_was_refused_is_no_success() -> None:
    class Refusing:
        """EventBridge answers 200 and says in it what it did not take."""

        def put_events(self, **_: Any) -> dict[str, Any]:
            return {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException"}]}

    refusing: Any = Refusing()
    with pytest.raises(ServiceUnavailable):
        EventBus(events=refusing, source="s").publish("Parcel Stuck", DETAIL)
