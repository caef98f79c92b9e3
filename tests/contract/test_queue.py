"""Queues, on the fake and on SQS."""

from typing import Any

import pytest

from chalicelib.aws.queues import Level, Queue
from chalicelib.errors import ServiceUnavailable
from tests.contract.conftest import Edges
from tests.fakes import FakeQueue


class Side:
    """A queue, and a poller in front of it, which is not part of the edge."""

    def __init__(self, queue: Queue, edges: Edges | None = None) -> None:
        self.queue = queue
        self._edges = edges

    def receive(self) -> list[tuple[str, str]]:
        """Receipt handle and body of all messages that can be seen."""
        if isinstance(self.queue, FakeQueue):
            records = self.queue.receive(100)
            return [(record["receiptHandle"], record["body"]) for record in records]
        assert self._edges is not None
        sqs = self._edges.admin("sqs")
        url = sqs.get_queue_url(QueueName=self.queue.name)["QueueUrl"]
        received: list[tuple[str, str]] = []
        while True:
            answer: dict[str, Any] = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
            messages = answer.get("Messages", [])
            if not messages:
                return received
            received += [(message["ReceiptHandle"], message["Body"]) for message in messages]


@pytest.fixture
def of(side: str, request: pytest.FixtureRequest) -> Side:
    if side == "fake":
        return Side(FakeQueue())
    edges: Edges = request.getfixturevalue("edges")
    return Side(Queue(sqs=edges.clients.sqs, name=edges.queue()), edges)


def test_what_is_sent_is_received_as_it_was(of: Side) -> None:
    bodies = ['{"a": 1}', "ünïcode ✓", "x" * 10_000]
    for body in bodies:
        of.queue.send(body)
    assert of.queue.waiting() == 3
    assert sorted(body for _, body in of.receive()) == sorted(bodies)
    assert of.queue.waiting() == 0


def test_a_received_message_is_hidden_until_it_is_postponed_to_now(of: Side) -> None:
    of.queue.send("again")
    [(handle, _)] = of.receive()
    assert of.receive() == []
    of.queue.postpone(handle, 0)
    [(_, body)] = of.receive()
    assert body == "again"


def test_a_postponed_message_stays_hidden_for_its_wait(of: Side) -> None:
    of.queue.send("later")
    [(handle, _)] = of.receive()
    of.queue.postpone(handle, 300)
    assert of.receive() == []
    assert of.queue.waiting() == 0


def test_more_than_ten_messages_are_deleted_at_once(of: Side) -> None:
    for number in range(23):
        of.queue.send(str(number))
    received = of.receive()
    assert len(received) == 23
    kept = received.pop()
    of.queue.delete([handle for handle, _ in received])
    for handle, _ in [kept]:
        of.queue.postpone(handle, 0)
    assert [body for _, body in of.receive()] == [kept[1]]


def test_deleting_nothing_or_twice_is_no_error(of: Side) -> None:
    of.queue.send("once")
    [(handle, _)] = of.receive()
    of.queue.delete([])
    of.queue.delete([handle])
    of.queue.delete([handle])
    assert of.queue.waiting() == 0


def test_a_queue_that_is_not_there_is_unavailable(edges: Edges) -> None:
    with pytest.raises(ServiceUnavailable):
        Queue(sqs=edges.clients.sqs, name="no-such-queue").send("x")


def test_what_waits_and_what_is_worked_on_are_told_apart(of: Side) -> None:
    assert of.queue.level() == Level(waiting=0, in_flight=0)
    of.queue.send("one")
    of.receive()
    of.queue.send("two")
    of.queue.send("three")
    assert of.queue.level() == Level(waiting=2, in_flight=1)
