"""``chalice local`` for more requests at once than it can answer: ``python -m local.api_server``.

By itself it lets five connections wait, and begins with every request that comes: of a thousand
uploads at once each gets a thousandth of one process, and their clients give up before any is
answered. On AWS each request has a process of its own.
"""

import threading
from typing import Any

from chalice import local
from chalice.cli import main

# Connections that wait to be taken; the system's own limit may be lower.
WAITING = 4096
# Requests that change something, at once. Those that only read never wait for them.
AT_ONCE = 4


def let_them_wait() -> None:
    """Have room for many connections."""
    local.ThreadedHTTPServer.request_queue_size = WAITING


def one_after_the_other(at_once: int = AT_ONCE) -> None:
    """Begin a request that changes something once one of those before it is answered."""
    original = local.LocalGateway.handle_request
    room = threading.Semaphore(at_once)

    def handle_request(self: Any, method: str, *arguments: Any, **named: Any) -> Any:
        if method in {"GET", "HEAD", "OPTIONS"}:
            return original(self, method, *arguments, **named)
        with room:
            return original(self, method, *arguments, **named)

    # Chalice has no other place for it.
    local.LocalGateway.handle_request = handle_request  # type: ignore[method-assign]


if __name__ == "__main__":
    let_them_wait()
    one_after_the_other()
    main()
