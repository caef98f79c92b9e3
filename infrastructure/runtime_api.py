"""The Lambda Runtime API for one process, one event: hands it out, notes when the answer came.

Its four routes: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html.
"""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_REQUEST_ID = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
_DEADLINE_MS = 60_000


class QuietServer(ThreadingHTTPServer):
    """A server whose clients are killed when they are done, which is nothing to tell of."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing."""


class RuntimeApi:
    """Answers ``/2018-06-01/runtime/...`` on a port of its own.

    Args:
        event: What the function is called with.
        on_ready: Called when the function asks for its first event: its init is over.

    Attributes:
        port: Where it listens.
        ready_at: When the function asked, by `time.perf_counter`.
        answered_at: When its answer came.
        answer: What it answered, or None where it failed.
        failure: How it failed, as the JSON that was sent, or None.
        over: Set when there is an answer or a failure.
    """

    def __init__(self, event: Any, *, on_ready: Callable[[], None] = lambda: None) -> None:
        self.ready_at = 0.0
        self.answered_at = 0.0
        self.answer: Any = None
        self.failure: str | None = None
        self.over = threading.Event()
        self._event = json.dumps(event).encode()
        self._on_ready = on_ready
        self._server = QuietServer(("127.0.0.1", 0), self._handler())
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _asked(self) -> bytes | None:
        """The event, once; afterwards the function waits, as it does on Lambda."""
        if self.ready_at:
            self.over.wait()
            return None
        self.ready_at = time.perf_counter()
        self._on_ready()
        return self._event

    def _told(self, path: str, body: bytes) -> None:
        self.answered_at = time.perf_counter()
        if path.endswith("/response"):
            self.answer = json.loads(body or b"null")
        else:
            self.failure = body.decode(errors="replace")
        self.over.set()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                event = api._asked()
                if event is None:
                    self.close_connection = True
                    return
                self._send(
                    200,
                    event,
                    {
                        "Content-Type": "application/json",
                        "Lambda-Runtime-Aws-Request-Id": _REQUEST_ID,
                        "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + _DEADLINE_MS),
                        "Lambda-Runtime-Invoked-Function-Arn": (
                            "arn:aws:lambda:us-east-1:000000000000:function:darkroom"
                        ),
                    },
                )

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                api._told(self.path, body)
                self._send(202, b"", {})

            def log_message(self, *_: Any) -> None:
                pass

            def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler
