"""The clients and the figures of ``make overload``."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.chaos.ledger import Ledger
from tests.chaos.overload import Clients, _over_time, _spread


class Overloaded:
    """An API and a bucket that answer a request only when it is asked for the third time."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.bodies: dict[str, bytes] = {}
        self.lock = threading.Lock()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve until the block ends; where."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                key = self.headers["Idempotency-Key"]
                url = f"http://{self.headers['Host']}/{key}"
                body = json.dumps({"image_id": key, "upload_url": url}).encode()
                self._answer(f"POST {key}", 201, body)

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.bodies[self.path[1:]] = body
                self._answer(f"PUT {self.path}", 200, b"")

            def _answer(self, what: str, status: int, body: bytes) -> None:
                with outer.lock:
                    outer.asked[what] += 1
                    times = outer.asked[what]
                if times == 1:
                    self.close_connection = True
                    return
                self.send_response(status if times > 2 else 503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler


def test_each_client_asks_again_with_its_key_until_it_is_answered_and_is_booked_once() -> None:
    service, ledger = Overloaded(), Ledger()
    with service.serving() as url:
        clients = Clients(url=url, ledger=ledger)
        clients.send([(b"good", True), (b"bad", False), (b"fine", True)])
    assert sorted(ledger.sent.values()) == [False, True, True]
    # A key each, whatever the number of tries, and the file that belongs to it.
    assert set(service.asked.values()) == {3}
    assert {service.bodies[key]: good for key, good in ledger.sent.items()} == {
        b"good": True,
        b"bad": False,
        b"fine": True,
    }
    assert clients.again == {
        "POST: RemoteProtocolError": 3,
        "POST: 503": 3,
        "PUT: RemoteProtocolError": 3,
        "PUT: 503": 3,
    }
    assert len(clients.seconds) == 3


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        ([], "too few"),
        ([0.1] * 90 + [2.0] * 10, "p50 0.10, p95 2.00, most 2.00"),
        ([0.1] * 99 + [3.0], "p50 0.10, p95 0.10, most 3.00"),
    ],
)
def test_answers_are_told_by_their_middle_and_their_end(seconds: list[float], told: str) -> None:
    assert _spread(seconds) == told


def test_memory_is_told_from_the_first_sample_to_the_last() -> None:
    assert _over_time([number * 2**20 for number in range(101)]) == "0, 20, 40, 60, 80, 100"
    assert _over_time([2**20]) == "1, 1, 1, 1, 1, 1"
