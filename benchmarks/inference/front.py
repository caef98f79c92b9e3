"""Contender: our two stages behind HTTP, as small as it can be: uvicorn before worker processes.

Darkroom itself takes photos through API Gateway and S3 and has no such server; this one is here
so that a comparison with servers can leave HTTP in on both sides.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import uvicorn

from benchmarks.inference.stages import Stages

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]

_JSON = [(b"content-type", b"application/json")]
# Of a worker process, where each call is a plain function's.
_made: list[Stages] = []


class Front:
    """The ASGI application: takes a photo in the body, gives its result document."""

    def __init__(self, workers: ProcessPoolExecutor) -> None:
        self._workers = workers

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        del scope
        chunks: list[bytes] = []
        more = True
        while more:
            message = await receive()
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
        loop = asyncio.get_running_loop()
        document = await loop.run_in_executor(self._workers, _classify, b"".join(chunks))
        await send({"type": "http.response.start", "status": 200, "headers": _JSON})
        await send({"type": "http.response.body", "body": document})


def main(port: int, workers: int) -> None:
    """Serve."""
    with ProcessPoolExecutor(workers, initializer=_start) as pool:
        uvicorn.run(Front(pool), host="127.0.0.1", port=port, lifespan="off")


def _start() -> None:
    _made.append(Stages())


def _classify(jpeg: bytes) -> bytes:
    (document,) = _made[0].classify([jpeg])
    return document


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
