"""What the local stack does with more than it can do at once: it lets it wait."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from chalice import local
from ministack.services import lambda_svc

from local.api_server import WAITING, let_them_wait, one_after_the_other
from local.emulator import events_wait
from tests.polling import eventually


class Work:
    """Counts who is at it, and lets nobody end before the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.lock = threading.Lock()
        self.begun: list[Any] = []
        self.now = 0
        self.most = 0

    def __call__(self, what: Any) -> dict[str, Any]:
        with self.lock:
            self.begun.append(what)
            self.now += 1
            self.most = max(self.most, self.now)
        self.gate.wait(30)
        with self.lock:
            self.now -= 1
        return {}


@pytest.fixture
def work() -> Iterator[Work]:
    work = Work()
    yield work
    work.gate.set()


# --- The API --------------------------------------------------------------------------------


@pytest.fixture
def gateway(work: Work, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Asks for something by its method."""

    def handle_request(_: Any, method: str, path: str) -> Any:
        assert path == "/images"
        return work(method) if method == "POST" else {"read": method}

    monkeypatch.setattr(local.LocalGateway, "handle_request", handle_request)
    one_after_the_other(2)
    gateway = object.__new__(local.LocalGateway)
    return lambda method: gateway.handle_request(method=method, path="/images")  # type: ignore[call-arg]


def test_requests_that_change_something_wait_for_each_other_and_those_that_read_for_nobody(
    gateway: Callable[[str], Any], work: Work
) -> None:
    with ThreadPoolExecutor(10) as clients:
        changes = [clients.submit(gateway, "POST") for _ in range(8)]
        eventually(lambda: work.now == 2, seconds=30, what="two have begun")
        for method in ("GET", "HEAD", "OPTIONS"):
            assert gateway(method) == {"read": method}
        assert work.begun == ["POST"] * 2
        work.gate.set()
        assert [change.result() for change in changes] == [{}] * 8
    assert (len(work.begun), work.most) == (8, 2)


def test_many_connections_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.ThreadedHTTPServer, "request_queue_size", 5)
    let_them_wait()
    assert local.ThreadedHTTPServer.request_queue_size == WAITING


# --- The events of Lambda ---------------------------------------------------------------------


@pytest.fixture
def events(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """MiniStack's own functions, with work in place of a worker's process."""
    monkeypatch.setattr(lambda_svc, "invoke_async_with_retry", lambda_svc.invoke_async_with_retry)
    monkeypatch.setattr(lambda_svc, "_execute_function", lambda _, event: work(event))
    events_wait(2)


def function(name: str) -> dict[str, Any]:
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    return {"config": {"FunctionName": name, "FunctionArn": arn}}


def test_events_wait_for_each_other_and_none_is_lost(events: None, work: Work) -> None:
    for number in range(9):
        lambda_svc.invoke_async_with_retry(function("ingest"), {"number": number})
    eventually(lambda: work.now == 2, seconds=30, what="two have begun")
    work.gate.set()
    eventually(lambda: len(work.begun) == 9, seconds=30, what="all have begun")
    assert {event["number"] for event in work.begun} == set(range(9))
    assert work.most == 2


def test_no_other_function_waits_for_them_and_nobody_who_waits_for_an_answer(
    events: None, work: Work
) -> None:
    for number in range(4):
        lambda_svc.invoke_async_with_retry(function("ingest"), {"number": number})
    eventually(lambda: work.now == 2, seconds=30, what="two have begun")
    lambda_svc.invoke_async_with_retry(function("check"), {"number": "check"})
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(lambda_svc._execute_function, function("ingest"), {"number": "sync"})
        eventually(lambda: work.now == 4, seconds=30, what="both have begun")
        work.gate.set()
        assert asked.result() == {}
    assert {"check", "sync"} <= {event["number"] for event in work.begun}
