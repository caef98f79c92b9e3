"""Our stages between edges that cost nothing: messages in, result documents out."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from benchmarks.inference.edges import MemoryQueue, MemoryStore, MemoryTable
from chalicelib import messages
from chalicelib.container import Container
from chalicelib.images import Source, new_image_id, source_key
from chalicelib.messages import ImageMessage
from infrastructure.trigger_events import sqs_event

_GENERATION = "1"
_ENVIRON = {
    "STAGE": "benchmark",
    # The photos come again and again.
    "REUSE_RESULTS": "no",
    "UPLOADS_BUCKET": "uploads",
    "RENDITIONS_BUCKET": "renditions",
    "IMAGES_TABLE": "images",
    "IDEMPOTENCY_TABLE": "idempotency",
    "PREPROCESSING_QUEUE": "preprocessing",
    "INFERENCE_QUEUE": "inference",
    "CONVERSION_QUEUE": "conversion",
    "TRACKING_TABLE": "tracking",
    "NOTIFICATIONS_TABLE": "notifications",
    "SUPPRESSIONS_TABLE": "suppressions",
    "NOTIFICATION_QUEUE": "notification",
    "ANNOUNCEMENTS_TABLE": "announcements",
    "FLAGS_PARAMETER": "/flags",
    "CONFIG_PARAMETER": "/config",
    "SIGNING_SECRET_PARAMETER": "/secret",
    # As large as the peers take them.
    "MAX_UPLOAD_BYTES": str(2**30),
}


class MemoryContainer(Container):
    """Puts everything together as in a Lambda function, but for the edges."""

    def __init__(self) -> None:
        super().__init__(environ=_ENVIRON)

    @cached_property
    def images(self) -> MemoryTable:
        """The rows."""
        return MemoryTable()

    @cached_property
    def uploads(self) -> MemoryStore:
        """Originals and model inputs."""
        return MemoryStore()

    @cached_property
    def renditions(self) -> MemoryStore:
        """Result documents."""
        return MemoryStore()

    @cached_property
    def preprocessing_queue(self) -> MemoryQueue:
        """In front of `preprocess`."""
        return MemoryQueue()

    @cached_property
    def inference_queue(self) -> MemoryQueue:
        """In front of `infer`."""
        return MemoryQueue()

    @cached_property
    def conversion_queue(self) -> MemoryQueue:
        """In front of `optimise`; nothing is sent there, since only predictions are asked for."""
        return MemoryQueue()


class Stages:
    """`preprocess` and `infer` of one process, called as app.py calls them."""

    def __init__(self) -> None:
        self._container = MemoryContainer()

    def upload(self, jpeg: bytes) -> ImageMessage:
        """Put an original where `preprocess` finds it; the message that tells it so."""
        image_id = new_image_id()
        source = Source(key=source_key(image_id))
        self._container.uploads.objects[source.key] = jpeg
        self._container.images.add(image_id, _GENERATION, source)
        return ImageMessage(image_id=image_id, generation=_GENERATION, attempt=1, queued_at_ms=0)

    def prepare(self, bodies: Sequence[str]) -> list[str]:
        """`preprocess`, an event for each message as the queue is set up; what it sends on."""
        batch = self._container.preprocessing_batch
        for body in bodies:
            batch.run(sqs_event(body), lambda: self._container.preprocess)
        return self._container.inference_queue.take()

    def infer(self, event: Mapping[str, Any]) -> None:
        """`infer`, on an event as Lambda delivers it."""
        self._container.inference_batch.run_together(event, lambda: self._container.infer.together)

    def classify(self, jpegs: Sequence[bytes]) -> list[bytes]:
        """From files to result documents, through both stages."""
        uploads = [self.upload(jpeg) for jpeg in jpegs]
        sent = self.prepare([messages.encode(message) for message in uploads])
        self.infer(sqs_event(*sent))
        documents = [self.document(message) for message in uploads]
        self._container.images.clear()
        self._container.uploads.objects.clear()
        self._container.renditions.objects.clear()
        return documents

    def document(self, message: ImageMessage) -> bytes:
        """The result document of an image."""
        key = self._container.images.results_keys[message.image_id]
        return self._container.renditions.objects[key]

    def answer(self, message: ImageMessage) -> dict[str, Any]:
        """What the result document of an image holds."""
        result: dict[str, Any] = json.loads(self.document(message))
        return result

    def pixels(self, message: ImageMessage) -> bytes:
        """The model input of an image that was prepared, as PPM."""
        return self._container.uploads.objects[
            self._container.images.model_input_keys[message.image_id]
        ]
