"""The pipeline on fakes: one place to put an upload in and to watch what comes out."""

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import quote_plus

import msgspec
from boto3.dynamodb.types import TypeSerializer
from PIL import Image as Pillow

from chalicelib import messages
from chalicelib.api.cursors import Cursors
from chalicelib.api.idempotency import Idempotency
from chalicelib.api.image_view import ImageView
from chalicelib.api.images import ImagesApi
from chalicelib.api.quota import Quota
from chalicelib.aws.image_rows import item_of
from chalicelib.batch import Batch, BatchFailed, Stage
from chalicelib.clock import now_ms
from chalicelib.errors import DarkroomError, ModelInputMismatch
from chalicelib.images import (
    ConversionStatus,
    Image,
    Original,
    Output,
    Prediction,
    Status,
    new_image_id,
    source_key,
)
from chalicelib.imaging import renditions
from chalicelib.imaging.formats import CopyFormat, Recipe
from chalicelib.imaging.limits import Limits
from chalicelib.inference.classifier import Classifier
from chalicelib.inference.package import ModelPackage
from chalicelib.messages import ImageMessage, dead_letter_key
from chalicelib.models import DEFAULT, ModelChoice, model_key
from chalicelib.pipeline.announce import Announce
from chalicelib.pipeline.backfill import Backfill
from chalicelib.pipeline.bury import Bury
from chalicelib.pipeline.check import Check
from chalicelib.pipeline.infer import Infer
from chalicelib.pipeline.ingest import Ingest
from chalicelib.pipeline.models import Models
from chalicelib.pipeline.optimise import Optimise
from chalicelib.pipeline.pending_uploads import PendingUploads
from chalicelib.pipeline.preprocess import Preprocess
from chalicelib.pipeline.queue_levels import QueueLevels
from chalicelib.pipeline.reuse import Reuse
from chalicelib.pipeline.shadow import Shadow
from chalicelib.pipeline.stuck_images import StuckCopies, StuckImages
from chalicelib.retry import Retry
from chalicelib.settings import Settings
from tests.fakes import (
    Crash,
    FakeAnnouncementTable,
    FakeCheckLog,
    FakeConversionRows,
    FakeEventTopic,
    FakeIdempotencyTable,
    FakeImageTable,
    FakeObjectStore,
    FakeQueue,
    FakeQuotaTable,
    FakeSecret,
    FakeWatchedParameter,
    Tombstone,
    Trail,
)

BUCKET = "uploads-bucket"
# One is enough to see where its file and its record go.
RENDITIONS = renditions.parse("small 4 3 letterbox #ffffff png")
RECIPE = Recipe(
    of_photos=(CopyFormat.WEBP, CopyFormat.JPEG),
    of_graphics=(CopyFormat.PNG,),
    webp_method=0,
    keep_rights=False,
)
PREDICTION = Prediction(
    classes=("ship", "truck"),
    probabilities=(0.7, 0.2),
    model_name="test",
    model_version="1",
    model_sha256="0" * 64,
)
SETTINGS = Settings(
    stage="test",
    uploads_bucket=BUCKET,
    renditions_bucket="renditions-bucket",
    images_table="images",
    idempotency_table="idempotency",
    tracking_table="tracking",
    flags_parameter="/flags",
    config_parameter="/config",
    notifications_table="notifications",
    suppressions_table="suppressions",
    notification_queue="notification",
    announcements_table="announcements",
    preprocessing_queue="preprocessing",
    inference_queue="inference",
    conversion_queue="conversion",
    signing_secret_parameter="/secret",
)
ON_THEIR_WAY = (Status.QUEUED, Status.PREPROCESSING, Status.PREPROCESSED, Status.INFERENCING)
# So often a message is received before SQS takes it for a dead letter.
MAX_RECEIVES = 5
# The step that each queue feeds, and how an image ends of which that gave up a message.
_ENDS: Mapping[str, tuple[str, Status | ConversionStatus]] = {
    "preprocessing": ("preprocess", Status.PREPROCESSING_FAILED),
    "inference": ("infer", Status.INFERENCE_FAILED),
    "conversion": ("optimise", ConversionStatus.FAILED),
}
# More deliveries than any test needs: a loop that comes this far goes round in circles.
_PATIENCE = 20
_STREAM_BEGINS_MS = 1_795_000_000_000
_LEASE_MS = 100_000


def photo(colour: str = "teal", *, size: tuple[int, int] = (40, 30), kind: str = "JPEG") -> bytes:
    """A small picture of one colour."""
    buffer = io.BytesIO()
    Pillow.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


PHOTO = photo()


def model_json(reference: str, *, side: int = 8) -> bytes:
    """A description of a model that takes squares of this many pixels."""
    name, _, version = reference.partition("@")
    return msgspec.json.encode(
        {
            "name": name,
            "version": version,
            "input": {"width": side, "height": side},
            "resize": {"rule": "shortest_edge", "shortest_edge": side + 1},
            "output": {"softmax": True},
            "sha256": "0" * 64,
        }
    )


def package_of(reference: str, *, side: int = 8) -> ModelPackage:
    """A package without a graph, for a `FakeClassifier`."""
    files = {"model.json": model_json(reference, side=side), "labels.txt": b"ship\ntruck\n"}
    return ModelPackage.open(reference, files.__getitem__)


# What the world's deployment carries.
DEPLOYED = package_of("test@1")


class FakeClassifier(Classifier):
    """Says the same of every picture of the right size; ``seen`` holds what it was shown.

    ``fault`` is raised instead; ``batches`` tells how many went through at once.
    """

    def __init__(
        self, side: int = 8, *, prediction: Prediction = PREDICTION, fault: Exception | None = None
    ) -> None:
        self.seen: list[bytes] = []
        self.batches: list[int] = []
        self.fault = fault
        self.prediction = prediction
        self._header = f"P6\n{side} {side}\n255\n".encode()

    def check(self, ppm: bytes) -> None:
        if not ppm.startswith(self._header):
            raise ModelInputMismatch("The prepared image is of another size.")

    def predict_batch(self, ppms: Sequence[bytes]) -> list[Prediction]:
        if self.fault is not None:
            raise self.fault
        for ppm in ppms:
            self.check(ppm)
        self.seen += ppms
        self.batches.append(len(ppms))
        return [self.prediction] * len(ppms)


def quota_of(table: FakeQuotaTable, requests: int, **changes: Any) -> Quota:
    """A quota of so many requests an hour."""
    given = {"secret": FakeSecret().value, "seconds": 3600, **changes}
    return Quota(table=table, requests=requests, **given)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A version of an object that was put into the uploads bucket."""

    key: str
    version_id: str | None
    size_bytes: int

    def record(self, *, name: str = "ObjectCreated:Put", raw_key: str | None = None) -> Any:
        """The record of its event, with the key as S3 encodes it."""
        entry = {
            "key": quote_plus(self.key, safe="/") if raw_key is None else raw_key,
            "size": self.size_bytes,
            "eTag": "0123456789abcdef0123456789abcdef",
            "sequencer": "0055AED6DCD90281E5",
        }
        if self.version_id is not None:
            entry["versionId"] = self.version_id
        return {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "eventName": name,
            "s3": {"bucket": {"name": BUCKET}, "object": entry},
        }

    def event(self) -> Any:
        """Its event."""
        return {"Records": [self.record()]}


class World:
    """All stages over fakes that share one trail."""

    def __init__(
        self, *, versioned: bool = True, max_bytes: int = 1_000_000, reusing: bool = False
    ) -> None:
        self.trail = Trail()
        self.images = FakeImageTable(self.trail)
        self.uploads = FakeObjectStore(self.trail, versioned=versioned, label="uploads")
        self.renditions = FakeObjectStore(self.trail, versioned=False, label="renditions")
        self.preprocessing_queue = FakeQueue(self.trail, label="preprocessing")
        self.inference_queue = FakeQueue(self.trail, label="inference")
        self.conversion_queue = FakeQueue(self.trail, label="conversion")
        self.conversions = FakeConversionRows(self.images)
        self.claims = FakeIdempotencyTable(self.trail)
        self.quotas = FakeQuotaTable(self.trail)
        self.buried: list[str] = []
        self.classifier = FakeClassifier()
        limits = Limits(max_bytes=max_bytes, max_pixels=10_000, max_side=1000)
        self.classifiers = {"test@1": self.classifier}
        self.choice = FakeWatchedParameter(ModelChoice())
        self.models = Models(
            deployed={DEFAULT: lambda: DEPLOYED}, uploads=self.uploads, choice=self.choice
        )
        self.ingest = Ingest(
            images=self.images,
            uploads=self.uploads,
            preprocessing_queue=self.preprocessing_queue,
        )
        # Off, but where a test is about it: many send the same photo.
        reuse = Reuse(images=self.images, renditions=self.renditions, enabled=reusing)
        self.preprocess = Preprocess(
            images=self.images,
            uploads=self.uploads,
            renditions=self.renditions,
            inference_queue=self.inference_queue,
            conversion_queue=self.conversion_queue,
            limits=limits,
            models=self.models,
            table=RENDITIONS,
            reuse=reuse,
        )
        self.infer = Infer(
            images=self.images,
            uploads=self.uploads,
            renditions=self.renditions,
            preprocessing_queue=self.preprocessing_queue,
            models=self.models,
            classifier_of=self.classifier_of,
            shadow=Shadow(
                uploads=self.uploads, models=self.models, classifier_of=self.classifier_of
            ),
            # One after the other, so that a call's number is always that of the same call.
            lanes=1,
        )
        self.optimise = Optimise(
            conversions=self.conversions,
            uploads=self.uploads,
            renditions=self.renditions,
            limits=limits,
            recipe=RECIPE,
            reuse=reuse,
        )
        self.backfill = Backfill(
            images=self.images,
            conversions=self.conversions,
            uploads=self.uploads,
            renditions=self.renditions,
            limits=limits,
            table=RENDITIONS,
        )
        self.bury = Bury(images=self.images, conversions=self.conversions, archive=self.uploads)
        self.topic = FakeEventTopic(self.trail)
        self.announcements = FakeAnnouncementTable(self.trail)
        # Of the stream alone.
        self.stream_now = _STREAM_BEGINS_MS
        self._records: list[dict[str, Any]] = []
        self.announce = Announce(
            topic=self.topic,
            announcements=self.announcements,
            archive=self.uploads,
            stage="test",
            now_ms=lambda: self.stream_now,
        )
        self.retries = Retry(
            images=self.images, queue_of=self.queue_of, conversion_queue=self.conversion_queue
        )
        # Of the check alone; what the stages write carries the time of the machine.
        self.now = now_ms()
        self.check_log = FakeCheckLog(self.trail)
        self.check = Check(
            parts={
                "queue_levels": QueueLevels(
                    queues={"inference": self.inference_queue},
                    dead_letters={"inference": FakeQueue(self.trail, label="dead")},
                ),
                "pending_uploads": PendingUploads(
                    images=self.images,
                    uploads=self.uploads,
                    ingest=self.ingest,
                    lost_seconds=600,
                    link_seconds=900,
                ),
                "stuck_images": StuckImages(
                    images=self.images,
                    queue_of=self.queue_of,
                    limits_seconds=dict.fromkeys(ON_THEIR_WAY, 3600),
                    requeues=2,
                ),
                "stuck_copies": StuckCopies(
                    images=self.images,
                    conversions=self.conversions,
                    queue=self.conversion_queue,
                    limit_seconds=3600,
                    requeues=2,
                ),
            },
            log=self.check_log,
            seconds=40,
            now_ms=lambda: self.now,
        )
        self.api = ImagesApi(
            settings=SETTINGS,
            images=self.images,
            uploads=self.uploads,
            renditions=self.renditions,
            retries=self.retries,
            is_model=self.models.has,
            view=ImageView(renditions=self.renditions, link_seconds=60),
            cursors=Cursors(secret=FakeSecret().value),
            idempotency=Idempotency(table=self.claims, new_id=new_image_id),
        )

    def with_quota(self, requests: int, **changes: Any) -> Self:
        """This world, where each caller may make so many requests an hour."""
        self.api = replace(self.api, quota=quota_of(self.quotas, requests, **changes))
        return self

    def queue_of(self, status: Status) -> FakeQueue:
        """The queue whose worker takes up an image that stands at this status."""
        if status is Status.PREPROCESSED:
            return self.inference_queue
        return self.preprocessing_queue

    def convert(self, message: ImageMessage) -> None:
        """What the container makes of a message in the conversion queue."""
        (self.backfill if message.renditions else self.optimise)(message)

    @property
    def copies(self) -> dict[str, bytes]:
        """The copies at full size, by their keys."""
        objects = self.renditions.objects
        return {key: body for key, body in objects.items() if key.startswith("formats/")}

    def classifier_of(self, package: ModelPackage) -> FakeClassifier:
        """The classifier that stands for a package's."""
        return self.classifiers[package.description.reference]

    def publish(self, reference: str, *, side: int = 8, says: str = "ship") -> FakeClassifier:
        """Put a model into the bucket; the classifier that stands for it."""
        name, _, version = reference.partition("@")
        self.store(model_key(reference, "model.json"), model_json(reference, side=side))
        self.store(model_key(reference, "labels.txt"), b"ship\ntruck\n")
        classifier = FakeClassifier(
            side,
            prediction=replace(
                PREDICTION, classes=(says, "other"), model_name=name, model_version=version
            ),
        )
        self.classifiers[reference] = classifier
        return classifier

    @property
    def results(self) -> dict[str, bytes]:
        """The result documents, by their keys."""
        objects = self.renditions.objects
        return {key: body for key, body in objects.items() if key.startswith("results/")}

    def create(self, *, outputs: Sequence[Output] = tuple(Output)) -> str:
        """A row that waits for its upload, as ``POST /images`` makes it."""
        image_id = new_image_id()
        self.images._put(
            Image(
                image_id=image_id,
                status=Status.PENDING_UPLOAD,
                conversion_status=ConversionStatus.PENDING,
                created_at_ms=1_795_000_000_000,
                updated_at_ms=1_795_000_000_000,
                outputs=tuple(outputs),
                original=Original(filename="cat.jpg"),
                link_expires_at=1_795_000_900,
            )
        )
        return image_id

    def store(self, key: str, body: bytes = PHOTO) -> Stored:
        """Put an object into the uploads bucket without leaving a trace in the trail."""
        silent, self.uploads.trail = self.uploads.trail, Trail()
        version_id = self.uploads.put(key, body, content_type="image/jpeg")
        self.uploads.trail = silent
        return Stored(key=key, version_id=version_id, size_bytes=len(body))

    def upload(self, image_id: str, body: bytes = PHOTO) -> Stored:
        """Use the upload link of an image."""
        return self.store(source_key(image_id), body)

    def row(self, image_id: str) -> Image:
        """The row of an image that is there."""
        row = self.images.rows[image_id]
        assert isinstance(row, Image), row
        return row

    @property
    def only_row(self) -> Image:
        """The one row there is."""
        [image_id] = self.images.rows
        return self.row(image_id)

    def deliver_event(self, event: Any) -> None:
        """Deliver an S3 event as Lambda does: again, until it is taken in."""
        for _ in range(_PATIENCE):
            with suppress(ExceptionGroup, Crash):
                self.ingest(event)
                return
        raise AssertionError("the event was never taken in")

    @property
    def records(self) -> list[dict[str, Any]]:
        """All that the stream of the images table holds, as if it had been written just now."""
        for before, after in self.images.changes[len(self._records) :]:
            self._records.append(record_of(before, after, event_id=str(len(self._records))))
        for record in self._records:
            record["dynamodb"]["ApproximateCreationDateTime"] = self.stream_now / 1000
        return self._records

    def stream(self) -> None:
        """Deliver all that the stream holds as Lambda does: again, until it is taken in."""
        for _ in range(_PATIENCE):
            with suppress(BatchFailed, Crash):
                self.announce({"Records": self.records})
                return
            # Whoever had claimed an event is dead, and his lease is over.
            self.stream_now += _LEASE_MS
        raise AssertionError("the stream was never taken in")

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that were published, in order."""
        return [msgspec.json.decode(body) for body, _ in self.topic.published]

    def poll(self, queue: FakeQueue, stage: Stage[ImageMessage]) -> bool:
        """Deliver one message as Lambda does; whether there was one.

        What fails, or kills its process, comes again, and is buried once it came too often.
        """
        queue.reappear()
        records = queue.receive(1)
        if not records:
            return False
        if int(records[0]["attributes"]["ApproximateReceiveCount"]) > MAX_RECEIVES:
            self.give_up(queue, records)
            return True
        faults = self.conversions if queue is self.conversion_queue else self.images
        batch = Batch(
            name=queue.label,
            decode=messages.decode,
            queue=queue,
            faults=faults,
            retry_base_seconds=1,
        )
        with suppress(BatchFailed, Crash):
            batch.run({"Records": records}, lambda: stage)
            queue.removed([record["receiptHandle"] for record in records])
        return True

    def give_up(self, queue: FakeQueue, records: Sequence[Any]) -> None:
        """Deliver messages as dead letters; they stay until they are buried."""
        step, failed_status = _ENDS[queue.label]
        with suppress(DarkroomError, Crash):
            self.bury({"Records": records}, step=step, failed_status=failed_status)
            self.buried += [dead_letter_key(step, record["messageId"]) for record in records]
            queue.removed([record["receiptHandle"] for record in records])

    def work(self) -> None:
        """Deliver all messages until the queues are empty."""
        for _ in range(_PATIENCE):
            busy = self.poll(self.preprocessing_queue, self.preprocess)
            busy = self.poll(self.inference_queue, self.infer) or busy
            busy = self.poll(self.conversion_queue, self.convert) or busy
            if not busy:
                return
        raise AssertionError("the queues never got empty")

    def run(self, upload: Stored) -> None:
        """From an upload to the end."""
        self.run_event(upload.event())

    def run_event(self, event: Any) -> None:
        """From the event of an upload to the end."""
        self.deliver_event(event)
        self.work()

    def completed(self) -> str:
        """An image that went all the way."""
        image_id = self.create()
        self.run(self.upload(image_id))
        assert self.row(image_id).status is Status.COMPLETED
        return image_id

    @property
    def sent(self) -> list[ImageMessage]:
        """All messages on the way to the predictions that were ever sent."""
        bodies = [*self.preprocessing_queue.sent, *self.inference_queue.sent]
        return [messages.decode(body) for body in bodies]

    def assert_statuses_never_went_back(self) -> None:
        """Within an attempt of an image the status only ever rises, and copies are final."""
        reached: dict[tuple[str, int], Status] = {}
        for image in self.images.history:
            before = reached.get((image.image_id, image.attempt), image.status)
            assert image.status.rank >= before.rank, (before, image.status)
            assert image.status is before or not before.final, (before, image.status)
            reached[image.image_id, image.attempt] = image.status
        conversions: dict[tuple[str, int], ConversionStatus] = {}
        for image in self.images.history:
            key = (image.image_id, image.attempt)
            known = conversions.get(key, ConversionStatus.PENDING)
            assert known in {ConversionStatus.PENDING, image.conversion_status}, key
            conversions[key] = image.conversion_status


def record_of(
    before: Image | Tombstone | None,
    after: Image | Tombstone | None,
    *,
    event_id: str = "1",
    at_ms: int = _STREAM_BEGINS_MS,
) -> dict[str, Any]:
    """The stream record of a write that found one row and left another."""
    images = {"OldImage": before, "NewImage": after}
    names = {(False, True): "INSERT", (True, True): "MODIFY", (True, False): "REMOVE"}
    return {
        "eventID": event_id,
        "eventName": names[before is not None, after is not None],
        "dynamodb": {
            **{name: _wire(row) for name, row in images.items() if row is not None},
            "ApproximateCreationDateTime": at_ms / 1000,
        },
    }


def _wire(row: Image | Tombstone) -> dict[str, Any]:
    item = item_of(row) if isinstance(row, Image) else {"image_id": "deleted", "removing": True}
    serialize = TypeSerializer().serialize
    return {name: serialize(value) for name, value in item.items()}


def first_message(image: Image, *, attempt: int | None = None) -> ImageMessage:
    """A message about an image as it stands."""
    assert image.generation is not None
    return ImageMessage(
        image_id=image.image_id,
        generation=image.generation,
        attempt=image.attempt if attempt is None else attempt,
        queued_at_ms=1_795_000_000_000,
    )
