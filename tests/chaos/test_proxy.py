"""What the proxy does to a call, with a server in the place of the local AWS."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tests.chaos.proxy import Act, FaultProxy, delayed, operation_of

HEADERS = {"X-Amz-Target": "AmazonSQS.SendMessage"}


class Aws(BaseHTTPRequestHandler):
    """Answers what it was sent, and remembers it."""

    taken: list[bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append(body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def aws() -> Iterator[tuple[int, list[bytes]]]:
    taken: list[bytes] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Fresh", (Aws,), {"taken": taken}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1], taken
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("act", "arrives", "answered"),
    [
        (Act.PASS, 1, 200),
        (Act.DUPLICATE, 2, 200),
        (Act.THROTTLE, 0, 400),
        (Act.LOSE, 1, None),
    ],
)
def test_a_call_arrives_and_is_answered_as_often_as_it_is_to_be(
    aws: tuple[int, list[bytes]], act: Act, arrives: int, answered: int | None
) -> None:
    port, taken = aws
    proxy = FaultProxy(aws_port=port, find=lambda _: ("Preprocess", 1))
    proxy.decide = lambda _: act
    with proxy.serving() as url:
        try:
            status: int | None = httpx.post(url, content=b"{}", headers=HEADERS).status_code
        except httpx.RemoteProtocolError:
            status = None
    assert (len(taken), status) == (arrives, answered)
    ((call, done),) = proxy.done
    assert (call.function, call.operation, done) == ("Preprocess", "SendMessage", act)


@pytest.mark.parametrize(("act", "arrives"), [(Act.KILL_BEFORE, 0), (Act.KILL_AFTER, 1)])
def test_the_process_that_calls_is_killed_before_the_call_or_after_it(
    aws: tuple[int, list[bytes]], act: Act, arrives: int
) -> None:
    port, taken = aws
    worker: list[subprocess.Popen[bytes]] = []
    proxy = FaultProxy(aws_port=port, find=lambda _: ("Infer", worker[0].pid))
    proxy.decide = lambda _: act
    code = "import sys, http.client as h; sys.stdin.read(1); c = h.HTTPConnection(sys.argv[1])\n"
    code += "c.request('POST', '/', b'{}'); c.getresponse()"
    with proxy.serving() as url:
        process = subprocess.Popen(
            [sys.executable, "-c", code, url.removeprefix("http://")], stdin=subprocess.PIPE
        )
        worker.append(process)
        process.communicate(b"x", timeout=30)
    assert process.returncode == -9
    assert len(taken) == arrives


def test_who_is_no_worker_is_left_alone(aws: tuple[int, list[bytes]]) -> None:
    port, taken = aws
    proxy = FaultProxy(aws_port=port, find=lambda _: None)
    proxy.decide = lambda _: Act.LOSE
    with proxy.serving() as url:
        assert httpx.post(url, content=b"{}").status_code == 200
    assert (taken, proxy.done) == ([b"{}"], [])


def test_an_operation_has_awss_name_and_of_s3_the_folder() -> None:
    assert operation_of("POST", "/", HEADERS) == "SendMessage"
    assert operation_of("PUT", "/bucket/results/id/1.json?x=1", {}) == "PUT results"


def test_a_delayed_message_is_the_same_message_but_later() -> None:
    message = json.loads(delayed(b'{"MessageBody": "{}", "DelaySeconds": 0}'))
    assert message["MessageBody"] == "{}"
    assert 1 <= message["DelaySeconds"] <= 5
