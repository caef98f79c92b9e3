"""The local AWS inside this process: no server, no port, gone with it."""

import asyncio
import io
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from chalicelib.aws.clients import LOCAL_ENDPOINT_URL
from local.aws import CREDENTIALS, REGION


class InMemoryAws:
    """MiniStack, called as its server would call it. Knows nothing of IAM."""

    def __init__(self) -> None:
        # Nobody else pays for it: it loads 60 services.
        from ministack.app import app  # noqa: PLC0415

        self._app = app
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="aws").start()

    def serve(self, session: boto3.session.Session) -> None:
        """Answer all clients that are made of a session from now on."""
        register: Any = session.events.register
        register("before-send", self._answer)

    def client(self, service: str) -> Any:
        """A client that may do everything."""
        session = boto3.session.Session(
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
        )
        self.serve(session)
        make: Any = session.client
        return make(service, endpoint_url=LOCAL_ENDPOINT_URL)

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """One request of whoever has a link: status, headers and body of the answer."""
        work = self._request(method, url, headers, body)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        body: Any = request.body or b""
        if hasattr(body, "read"):
            body = body.read()
        headers = {
            name: value.decode() if isinstance(value, bytes) else str(value)
            for name, value in request.headers.items()
        }
        status, answered, content = self.request(
            str(request.method),
            str(request.url),
            headers,
            body.encode() if isinstance(body, str) else bytes(body),
        )
        kept = HTTPHeaders()
        for name, value in answered.items():
            kept[name] = value
        return AWSResponse(str(request.url), status, kept, _Raw(content))

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(url)
        sent: list[dict[str, Any]] = []
        received = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict[str, Any]:
            return next(received, {"type": "http.disconnect"})

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        named = {"host": parts.netloc, "content-length": str(len(body))} | {
            name.lower(): value for name, value in headers.items()
        }
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 4566),
        }
        await self._app(scope, receive, send)
        answered = {name.decode(): value.decode() for name, value in sent[0].get("headers", [])}
        content = b"".join(message.get("body", b"") for message in sent[1:])
        return int(sent[0]["status"]), answered, content


class _Raw(io.BytesIO):
    """A body as botocore reads it from a connection."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        while chunk := self.read(65536):
            yield chunk
