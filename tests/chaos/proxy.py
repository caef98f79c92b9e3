"""Between the workers and the local AWS: counts their calls, and does to them what it is told.

The worker's code knows nothing of it: its functions are deployed with another AWS_ENDPOINT_URL.
Who calls is found by the port that the call comes from, so that this very process can be killed.
"""

import http.client
import json
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil

HOST = "127.0.0.1"
# What belongs to one connection alone, and what the server sends by itself.
_OF_THE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "date", "server"}


class Act(StrEnum):
    """What is done to a call."""

    PASS = "pass"
    KILL_BEFORE = "kill before"
    KILL_AFTER = "kill after"
    PAUSE = "pause"
    THROTTLE = "throttle"
    LOSE = "lose the answer"
    DUPLICATE = "duplicate"
    DELAY = "delay"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request of a worker to AWS.

    Attributes:
        function: The logical name of the function, ``Preprocess``.
        operation: As AWS calls it, ``UpdateItem``; of S3 the method and the first folder.
        pid: Of the worker's process.
        text: All of it, to find whom it is about.
    """

    function: str
    operation: str
    pid: int
    text: str = ""

    @property
    def sends(self) -> bool:
        """Whether it puts a message into a queue."""
        return self.operation == "SendMessage"

    def __str__(self) -> str:
        return f"{self.function}: {self.operation}"


type Decide = Callable[[Call], Act]


class Workers:
    """The processes that the local AWS runs functions in. ``functions``: deployed by logical."""

    def __init__(self, aws_pid: int, functions: Mapping[str, str]) -> None:
        self._aws_pid = aws_pid
        self._logical = {deployed: logical for logical, deployed in functions.items()}

    def of(self, function: str) -> list[int]:
        """The processes of a function, by its logical name."""
        return [
            process.pid
            for process in psutil.Process(self._aws_pid).children(recursive=True)
            if self._function_of(process) == function
        ]

    def behind(self, port: int) -> tuple[str, int] | None:
        """The function and process that has this port open; None where it is no worker."""
        for process in psutil.Process(self._aws_pid).children(recursive=True):
            with suppress(psutil.Error):
                ports = {c.laddr.port for c in process.net_connections(kind="tcp4")}
                if port in ports:
                    return self._function_of(process), process.pid
        return None

    def _function_of(self, process: psutil.Process) -> str:
        with suppress(psutil.Error):
            name = process.environ().get("AWS_LAMBDA_FUNCTION_NAME", "")
            return self._logical.get(name, name)
        return ""


class FaultProxy:
    """An HTTP server that hands on to the local AWS; ``decide`` is asked about each call.

    Args:
        aws_port: Of the local AWS.
        find: Finds who calls.
        pause_seconds: How long a worker stands still that is paused.
    """

    def __init__(
        self,
        *,
        aws_port: int,
        find: Callable[[int], tuple[str, int] | None],
        pause_seconds: float = 10,
    ) -> None:
        self.decide: Decide = lambda _: Act.PASS
        self.done: list[tuple[Call, Act]] = []
        self._find = find
        self._aws_port = aws_port
        self._pause_seconds = pause_seconds
        self._lock = threading.Lock()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve until the block ends; where."""
        server = ThreadingHTTPServer((HOST, 0), self._handler())
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def judged(self, call: Call) -> Act:
        """What is to be done to a call; it is noted."""
        with self._lock:
            act = self.decide(call)
            self.done.append((call, act))
            return act

    def forward(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Ask the local AWS itself."""
        connection = http.client.HTTPConnection(HOST, self._aws_port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def pause(self, pid: int) -> None:
        """Let a process stand still, and go on later as if it had not noticed."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            resume = threading.Timer(self._pause_seconds, _signal, (pid, signal.SIGCONT))
            resume.daemon = True
            resume.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            worker: tuple[str, int] | None = None

            def setup(self) -> None:
                super().setup()
                self.worker = proxy._find(self.client_address[1])

            def handle_one_request(self) -> None:
                # A worker that was killed leaves in the middle of everything.
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

            def __getattr__(self, name: str) -> Callable[[], None]:
                if name.startswith("do_"):
                    return self._hand_on
                raise AttributeError(name)

            def _hand_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name: value for name, value in self.headers.items() if name != "Expect"}
                if self.worker is None:
                    self._answer(*proxy.forward(self.command, self.path, headers, body))
                    return
                function, pid = self.worker
                call = Call(
                    function=function,
                    operation=operation_of(self.command, self.path, headers),
                    pid=pid,
                    text=f"{self.path} {body[:4096].decode(errors='replace')}",
                )
                self._act(proxy.judged(call), call, headers, body)

            def _act(self, act: Act, call: Call, headers: dict[str, str], body: bytes) -> None:
                match act:
                    case Act.KILL_BEFORE:
                        _signal(call.pid, signal.SIGKILL)
                        self.close_connection = True
                        return
                    case Act.THROTTLE:
                        self._answer(*throttled(call))
                        return
                    case Act.PAUSE:
                        proxy.pause(call.pid)
                    case Act.DUPLICATE:
                        proxy.forward(self.command, self.path, headers, body)
                    case Act.DELAY:
                        body = delayed(body)
                        headers["Content-Length"] = str(len(body))
                answer = proxy.forward(self.command, self.path, headers, body)
                if act is Act.KILL_AFTER:
                    _signal(call.pid, signal.SIGKILL)
                if act in {Act.KILL_AFTER, Act.LOSE}:
                    self.close_connection = True
                    return
                self._answer(*answer)

            def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in _OF_THE_CONNECTION | {"content-length"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        return Handler


def operation_of(method: str, path: str, headers: Mapping[str, str]) -> str:
    """What a request asks for."""
    for name, value in headers.items():
        if name.lower() == "x-amz-target":
            return value.rpartition(".")[2]
    # /bucket/folder/..., and of SES /v2/email/...
    parts = path.partition("?")[0].split("/")
    return f"{method} {parts[2] if len(parts) > 2 else '/'}"


def throttled(call: Call) -> tuple[int, list[tuple[str, str]], bytes]:
    """What AWS says who has asked too often."""
    if " " in call.operation:
        code = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
        return 503, [("Content-Type", "application/xml")], code
    body = {"__type": "ThrottlingException", "message": "Rate exceeded"}
    return 400, [("Content-Type", "application/x-amz-json-1.0")], json.dumps(body).encode()


def delayed(body: bytes) -> bytes:
    """A message that is seen after those that are sent after it."""
    message = json.loads(body)
    message["DelaySeconds"] = random.randint(1, 5)  # noqa: S311 # no secret
    return json.dumps(message).encode()


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
