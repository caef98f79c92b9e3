"""AWS that costs nothing: what the stages read and write, in dictionaries.

None of the rules of the real ones: here every message is right and comes once. Their cost is
what the measurement leaves out.
"""

from collections.abc import Mapping
from dataclasses import replace

from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.object_store import ObjectStore, StoredObject
from chalicelib.aws.queues import Queue
from chalicelib.errors import ObjectMissing
from chalicelib.images import (
    ConversionStatus,
    Failure,
    Image,
    ImageInfo,
    Original,
    Output,
    Prediction,
    Source,
    Status,
    StoredCopy,
)
from chalicelib.messages import ImageMessage


class Refusal(Exception):
    """A stage failed, where every photo is good: there is nothing to measure."""


class MemoryTable(ImageTable):
    """Rows in a dictionary, each as it was made, and the keys that the stages recorded."""

    def __init__(self) -> None:
        self.rows: dict[str, Image] = {}
        self.model_input_keys: dict[str, str] = {}
        self.results_keys: dict[str, str] = {}

    def clear(self) -> None:
        """Forget all, so that memory does not grow with the run."""
        for known in (self.rows, self.model_input_keys, self.results_keys):
            known.clear()

    def add(self, image_id: str, generation: str, source: Source) -> None:
        """A row of an image that asks for predictions alone."""
        self.rows[image_id] = replace(
            _TEMPLATE, image_id=image_id, generation=generation, source=source
        )

    def start(self, message: ImageMessage, status: Status, *, now_ms: int) -> Image:
        """The row."""
        del status, now_ms
        return self.rows[message.image_id]

    def describe(
        self,
        message: ImageMessage,
        *,
        now_ms: int,
        model_input_key: str,
        original: Original | None = None,
        info: ImageInfo | None = None,
        renditions: Mapping[str, StoredCopy] | None = None,
        content_sha256: str | None = None,
    ) -> None:
        """Nothing is kept."""

    def finish(
        self,
        message: ImageMessage,
        status: Status,
        *,
        now_ms: int,
        timings_ms: Mapping[str, int],
        original: Original | None = None,
        info: ImageInfo | None = None,
        renditions: Mapping[str, StoredCopy] | None = None,
        model_input_key: str | None = None,
        prediction: Prediction | None = None,
        results_key: str | None = None,
        content_sha256: str | None = None,
    ) -> Image:
        """The row; only the keys are kept."""
        del status, now_ms, timings_ms, original, info, renditions, prediction, content_sha256
        if model_input_key is not None:
            self.model_input_keys[message.image_id] = model_input_key
        if results_key is not None:
            self.results_keys[message.image_id] = results_key
        return self.rows[message.image_id]

    def fail(
        self,
        message: ImageMessage,
        status: Status,
        failure: Failure,
        *,
        now_ms: int,
        original: Original | None = None,
        unchanged_since_ms: int | None = None,
    ) -> Image:
        """A photo was refused: say so at once."""
        del now_ms, original, unchanged_since_ms
        raise Refusal(f"{message.image_id}: {status}: {failure.code}")

    def note_fault(self, message: ImageMessage, fault: Failure, *, now_ms: int) -> None:
        """A stage failed: say so at once."""
        del now_ms
        raise Refusal(f"{message.image_id}: {fault.code}")


_TEMPLATE = Image(
    image_id="",
    status=Status.QUEUED,
    conversion_status=ConversionStatus.SKIPPED,
    created_at_ms=0,
    updated_at_ms=0,
    outputs=(Output.PREDICTIONS,),
)


class MemoryStore(ObjectStore):
    """Objects in a dictionary."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def get(self, key: str, *, version_id: str | None = None) -> StoredObject:
        """The object."""
        del version_id
        if key not in self.objects:
            raise ObjectMissing(key)
        return StoredObject(body=self.objects[key], content_type="")

    def put(
        self, key: str, body: bytes, *, content_type: str, cache_control: str = "private"
    ) -> str | None:
        """Keep it."""
        del content_type, cache_control
        self.objects[key] = body
        return None


class MemoryQueue(Queue):
    """The bodies that were sent and not taken yet."""

    def __init__(self) -> None:
        self.waiting_bodies: list[str] = []

    def send(self, body: str, *, delay_seconds: int = 0) -> None:  # noqa: ARG002 # nothing waits
        """Keep it."""
        self.waiting_bodies.append(body)

    def take(self) -> list[str]:
        """All that wait."""
        taken, self.waiting_bodies = self.waiting_bodies, []
        return taken

    def postpone(self, receipt_handle: str, seconds: int) -> None:
        """Nothing comes again here."""
