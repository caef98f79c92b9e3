"""An object was put into the uploads bucket: take it in, and queue it.

Two kinds arrive: uploads to a link of the API, whose row exists, and objects
put straight under ``uploads/``, which get a row here.

The row comes before the message, unlike in the later steps: it decides which
version of an upload counts, and S3 delivers the event again after a crash.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from chalicelib import messages, telemetry
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.object_store import ObjectStore
from chalicelib.aws.queues import Queue
from chalicelib.clock import now_ms
from chalicelib.errors import ImageExists, ImageNotFound, MessageRejected, Superseded
from chalicelib.images import (
    UPLOAD_PREFIX,
    ConversionStatus,
    Image,
    Kept,
    Original,
    Source,
    Status,
    image_id_of_key,
    image_id_of_object,
)
from chalicelib.messages import ImageMessage

# An object's name is shown to people; nothing else depends on it.
MAX_FILENAME_CHARACTERS = 255

STEP = "ingest"


@dataclass(frozen=True, kw_only=True)
class Upload:
    """One version of one object that was created in the uploads bucket."""

    bucket: str
    key: str
    version_id: str | None
    etag: str
    size_bytes: int

    @property
    def generation(self) -> str:
        """What tells this version from every other one of the same key."""
        return self.version_id or self.etag


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """Takes in uploads. A fault is raised, and S3 delivers the event again.

    Args:
        keep: What of a file is kept in its record where nobody was asked.
    """

    images: ImageTable
    uploads: ObjectStore
    preprocessing_queue: Queue
    keep: tuple[Kept, ...] = ()
    name: str = STEP

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take in every upload that an S3 event tells of.

        A record that fails keeps no other one waiting; the event as a whole
        fails after the last, and is delivered again.

        Raises:
            ExceptionGroup: What went wrong, of every record that failed.
        """
        faults: list[Exception] = []
        for record in event.get("Records", []):
            try:
                upload = read_record(record)
                if upload is not None:
                    self.take_in(upload)
            # One record's fault, of whatever kind, must not cost the others.
            except Exception as fault:  # noqa: BLE001
                telemetry.logger().exception("ingest: a record failed")
                telemetry.count(self.name, ProcessingErrors=1)
                faults.append(fault)
        if faults:
            raise ExceptionGroup("ingest: records to be delivered again", faults)

    def take_in(self, upload: Upload) -> None:
        """Take one upload in; as often as it is asked, the image is queued for one version of it.

        Raises:
            ServiceUnavailable: AWS does not answer as it should; it has to be asked again.
        """
        log = telemetry.logger()
        try:
            image = self._accepted(upload)
        except Superseded as superseded:
            log.info("ingest: dropped: %s", superseded)
            if superseded.gone:
                # The link was used after its image had been deleted: nobody owns this object.
                self.uploads.delete(upload.key, version_id=upload.version_id)
            return
        if image.status is not Status.QUEUED:
            log.info("ingest: image %s is at %s already", image.image_id, image.status)
            return
        self.preprocessing_queue.send(
            messages.encode(
                ImageMessage(
                    image_id=image.image_id,
                    generation=upload.generation,
                    attempt=image.attempt,
                    queued_at_ms=now_ms(),
                )
            )
        )
        telemetry.count(self.name, UploadAccepted=1)
        log.info("ingest: image %s queued", image.image_id)

    def _accepted(self, upload: Upload) -> Image:
        image_id = image_id_of_key(upload.key)
        if image_id is not None:
            try:
                return self._accept(image_id, upload)
            except ImageNotFound:
                # A key like ours that we never gave out, or one whose row has run out.
                telemetry.logger().info(
                    "ingest: no row for %s, treated as a direct upload", image_id
                )
        image_id = image_id_of_object(upload.bucket, upload.key, upload.generation)
        try:
            self.images.create(
                Image(
                    image_id=image_id,
                    status=Status.PENDING_UPLOAD,
                    conversion_status=ConversionStatus.PENDING,
                    created_at_ms=now_ms(),
                    updated_at_ms=now_ms(),
                    keep=self.keep,
                    original=Original(filename=filename_of(upload.key)),
                )
            )
        except ImageExists:
            telemetry.logger().info("ingest: image %s is known", image_id)
        return self._accept(image_id, upload)

    def _accept(self, image_id: str, upload: Upload) -> Image:
        return self.images.accept(
            image_id,
            generation=upload.generation,
            source=Source(key=upload.key, version_id=upload.version_id),
            size_bytes=upload.size_bytes,
            now_ms=now_ms(),
        )


def read_record(record: Mapping[str, Any]) -> Upload | None:
    """The upload that a record of an S3 event tells of, or None where it tells of none.

    Raises:
        KeyError: It is the record of a created object, but lacks a field that S3 always sends.
    """
    log = telemetry.logger()
    name = str(record.get("eventName", ""))
    if not name.startswith("ObjectCreated:"):
        log.info("ingest: ignored event %r", name)
        return None
    bucket, entry = record["s3"]["bucket"], record["s3"]["object"]
    # S3 encodes keys in events as HTML forms do: a space is "+", everything else is %XX.
    key = unquote_plus(entry["key"])
    size_bytes = int(entry.get("size", 0))
    if not key.startswith(UPLOAD_PREFIX):
        log.info("ingest: ignored an object outside %s", UPLOAD_PREFIX)
        return None
    if key.endswith("/") and size_bytes == 0:
        log.info("ingest: ignored a folder marker")
        return None
    version_id = entry.get("versionId")
    return Upload(
        bucket=bucket["name"],
        key=key,
        # An unversioned bucket has no version, or one that is called "null".
        version_id=None if version_id in (None, "", "null") else str(version_id),
        etag=str(entry.get("eTag", "")).strip('"'),
        size_bytes=size_bytes,
    )


def event_of(body: str) -> Mapping[str, Any]:
    """The S3 event in a dead letter: as it came, or in the envelope of a failure destination.

    Raises:
        MessageRejected: It is neither.
    """
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    if isinstance(event, dict):
        event = event.get("requestPayload", event)
    if not isinstance(event, dict) or not isinstance(event.get("Records"), list):
        raise MessageRejected("The letter is no event of S3.")
    return event


def image_of_event(event: Mapping[str, Any]) -> str | None:
    """The id that the first upload of an event has, or is going to have; None where there is none.

    Raises:
        KeyError, TypeError, AttributeError: A field is missing that S3 always sends.
    """
    for record in event["Records"]:
        upload = read_record(record)
        if upload is not None:
            return image_id_of_key(upload.key) or image_id_of_object(
                upload.bucket, upload.key, upload.generation
            )
    return None


def filename_of(key: str) -> str | None:
    """The last part of a key, as a name to show."""
    name = key.rstrip("/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable())[:MAX_FILENAME_CHARACTERS] or None
