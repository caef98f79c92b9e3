"""AWS as far as the first call of a function needs it: everything about one image is there.

Answers at once, so that what is measured is the function. It judges nothing: whether the calls
are right is for the tests.
"""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

from boto3.dynamodb.types import TypeSerializer
from PIL import Image as Pillow

from chalicelib.aws.image_rows import item_of
from chalicelib.images import ConversionStatus, Image, Source, Status, source_key
from chalicelib.inference.package import ModelPackage
from chalicelib.messages import ImageMessage
from infrastructure.runtime_api import QuietServer
from local.samples import sample_photos

IMAGE_ID = "7f1d0a4e-3f3c-4b57-9c3e-5d1b7a0c2e11"
GENERATION = "v1"
MESSAGE = ImageMessage(image_id=IMAGE_ID, generation=GENERATION, attempt=1, queued_at_ms=0)
_PUBLISHED = (
    b"<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>"
)


class OneImage:
    """The endpoint of every service.

    Attributes:
        url: Where it listens.
    """

    def __init__(self) -> None:
        self._row = row_at(Status.QUEUED)
        self._photo = _photo()
        self._pixels = _pixels()
        self._server = QuietServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _of_call(self, operation: str) -> dict[str, Any]:
        """The answer of a service that speaks JSON."""
        answers: dict[str, dict[str, Any]] = {
            "GetItem": {"Item": self._row},
            "UpdateItem": {"Attributes": self._row},
            "GetQueueUrl": {"QueueUrl": f"{self.url}/000000000000/queue"},
            "GetQueueAttributes": {
                "Attributes": {
                    "ApproximateNumberOfMessages": "0",
                    "ApproximateNumberOfMessagesNotVisible": "0",
                }
            },
            "SendMessage": {"MessageId": "1"},
            # Nothing is stuck.
            "Query": {"Items": [], "Count": 0, "ScannedCount": 0},
            # A choice of models that leaves everything as it is, and a secret like any other.
            "GetParameter": {"Parameter": {"Name": "parameter", "Value": "{}", "Version": 1}},
        }
        return answers.get(operation, {})

    def _of_key(self, path: str) -> bytes:
        """The object of a path."""
        return self._pixels if path.partition("?")[0].endswith(".ppm") else self._photo

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        aws = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self._read()
                operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
                if not operation:
                    # SNS, which speaks XML.
                    self._send(_PUBLISHED, "text/xml")
                    return
                body = json.dumps(aws._of_call(operation)).encode()
                self._send(body, "application/x-amz-json-1.0")

            def do_GET(self) -> None:
                self._send(aws._of_key(self.path), "application/octet-stream")

            def do_PUT(self) -> None:
                self._read()
                self._send(b"", "application/xml")

            def do_HEAD(self) -> None:
                self._send(b"", "application/xml")

            def log_message(self, *_: Any) -> None:
                pass

            def _read(self) -> None:
                if self.headers.get("Expect") == "100-continue":
                    self.send_response_only(100)
                    self.end_headers()
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while (size := int(self.rfile.readline(), 16)) > 0:
                        self.rfile.read(size + 2)
                    while self.rfile.readline().strip():
                        pass
                    return
                self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def _send(self, body: bytes, content_type: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("x-amz-version-id", GENERATION)
                self.end_headers()
                self.wfile.write(body)

        return Handler


def row_at(status: Status) -> dict[str, Any]:
    """The image's row where it stands at this status, in the wire's form."""
    item = item_of(
        Image(
            image_id=IMAGE_ID,
            status=status,
            conversion_status=ConversionStatus.PENDING,
            created_at_ms=1_795_000_000_000,
            updated_at_ms=1_795_000_000_000,
            generation=GENERATION,
            source=Source(key=source_key(IMAGE_ID), version_id=GENERATION),
        )
    )
    return {name: TypeSerializer().serialize(value) for name, value in item.items()}


def _photo() -> bytes:
    """A sample photo as JPEG."""
    buffer = io.BytesIO()
    with Pillow.open(sample_photos()[0]) as photo:
        photo.convert("RGB").save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _pixels() -> bytes:
    """A model input of the default model, all grey."""
    shape = ModelPackage.installed("darkroom_model").description.input_shape()
    header = f"P6\n{shape.width} {shape.height}\n255\n".encode()
    return header + bytes([128]) * (shape.width * shape.height * 3)
