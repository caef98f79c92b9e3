"""The life of an image: its record, its statuses, and which change may follow which.

Pure: no AWS, no clock, no I/O.

    pending_upload ─► queued ─► preprocessing ─► preprocessed ─► inferencing ─► completed
          │                           │                               │
          └─► expired                 └─► preprocessing_failed        └─► inference_failed

A status never goes back, except through a retry, which raises ``attempt``.
"""

import hashlib
import re
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """Where an image is on its way to its predictions."""

    PENDING_UPLOAD = "pending_upload"
    QUEUED = "queued"
    PREPROCESSING = "preprocessing"
    PREPROCESSED = "preprocessed"
    INFERENCING = "inferencing"
    COMPLETED = "completed"
    PREPROCESSING_FAILED = "preprocessing_failed"
    INFERENCE_FAILED = "inference_failed"
    EXPIRED = "expired"

    @property
    def rank(self) -> int:
        """How far along the way; a write may only raise it. All final statuses rank alike."""
        return _RANKS[self]

    @property
    def final(self) -> bool:
        """Whether nothing follows but a retry."""
        return self.rank == _FINAL_RANK

    @property
    def failed(self) -> bool:
        """Whether a retry is possible."""
        return self in {Status.PREPROCESSING_FAILED, Status.INFERENCE_FAILED}

    def before(self) -> tuple["Status", ...]:
        """The statuses from which this one may follow within one attempt."""
        return tuple(status for status in Status if status.rank < self.rank)


_FINAL_RANK = 5
_RANKS: dict[Status, int] = {
    Status.PENDING_UPLOAD: 0,
    Status.QUEUED: 1,
    Status.PREPROCESSING: 2,
    Status.PREPROCESSED: 3,
    Status.INFERENCING: 4,
    Status.COMPLETED: _FINAL_RANK,
    Status.PREPROCESSING_FAILED: _FINAL_RANK,
    Status.INFERENCE_FAILED: _FINAL_RANK,
    Status.EXPIRED: _FINAL_RANK,
}


class ConversionStatus(StrEnum):
    """Where the optimised copies are; independent of the predictions."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Output(StrEnum):
    """What a client can ask to be made of an image."""

    PREDICTIONS = "predictions"
    RENDITIONS = "renditions"
    FORMATS = "formats"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why an image failed: a code for programs, a sentence for people."""

    code: str
    message: str


# Why inference failed where the prepared image is what has to be made anew.
INPUT_UNUSABLE = Failure(
    code="model_input_unusable",
    message="The prepared image cannot be used, even after it was made anew; retry later.",
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the original lies: the one version of the one object that counts."""

    key: str
    version_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class FocalPoint:
    """What matters most in a picture, upright: 0 to 1 from the left, 0 to 1 from the top."""

    x: float = 0.5
    y: float = 0.5


@dataclass(frozen=True, kw_only=True)
class StoredCopy:
    """A copy of an image, made and kept. ``width`` and ``height`` are pixels.

    Attributes:
        quality: Of the encoder, 1 to 100; None where the copy keeps exact pixels.
        encoder: What made it, with its version; ``original`` for the original's own pixels.
        encoding_ms: Milliseconds that making it took.
        bytes_saved: By how much it is smaller than the original, negative where it is larger.
        frames: Of an animation that was kept.
    """

    key: str
    content_type: str
    bytes: int
    width: int
    height: int
    quality: int | None = None
    encoder: str | None = None
    encoding_ms: int | None = None
    bytes_saved: int | None = None
    frames: int | None = None


class Kept(StrEnum):
    """What of a file may be kept in its image's record, if it is asked for."""

    CAMERA = "camera"


@dataclass(frozen=True, kw_only=True)
class Camera:
    """What a photo was taken with, as its file says. Nothing that tells by whom, when or where.

    Attributes:
        exposure_seconds: How long the shutter was open.
        iso: The sensitivity.
        focal_length_mm: Of the lens, in millimetres.
    """

    make: str | None = None
    model: str | None = None
    exposure_seconds: float | None = None
    f_number: float | None = None
    iso: int | None = None
    focal_length_mm: float | None = None


@dataclass(frozen=True, kw_only=True)
class Original:
    """What came in, as far as it is known. ``width`` and ``height`` are pixels, upright.

    Attributes:
        orientation: How the file said it is turned, 1 to 8 as EXIF counts; 1 is upright.
        mode: How its pixels are kept: ``RGB``, ``CMYK``, ``P`` (a palette), ``I;16``.
        color_profile: What its colour profile calls itself.
        frames: Of an animation that is kept as one.
        kind: ``photo`` or ``graphic``.
        camera: What it was taken with; only where that is kept.
    """

    filename: str | None = None
    content_type: str | None = None
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    sha256: str | None = None
    orientation: int | None = None
    mode: str | None = None
    color_profile: str | None = None
    frames: int | None = None
    kind: str | None = None
    camera: Camera | None = None


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """What an image looks like, in a few bytes.

    Attributes:
        placeholder: Its ThumbHash, in base64.
        dominant_color: The colour of the largest part of it, in sRGB: ``#rrggbb``.
        perceptual_hash: 64 bits as 16 hexadecimal digits; None for an image of one colour.
    """

    placeholder: str
    dominant_color: str
    perceptual_hash: str | None = None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The best classes of an image, best first.

    Attributes:
        classes: Labels.
        probabilities: Softmax over all classes of the model, one for each of ``classes``.
        model_name: Which model said so.
        model_version: In which version.
        model_sha256: Of the file that the model was run from.
    """

    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    model_name: str
    model_version: str
    model_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Image:
    """One row of the images table.

    Attributes:
        created_at_ms: Milliseconds since the Unix epoch, UTC.
        updated_at_ms: Likewise, of the last change.
        attempt: Raised by 1 at every retry; a write of an earlier attempt is refused.
        generation: The object version that was accepted; a write for another is refused.
        outputs: What is to be made.
        keep: What of the file is to be kept in the record.
        reuse: Whether results of an earlier image of the same bytes may be taken.
        content_sha256: Of the file, by which later images of the same bytes find this one; only
            where something was worked out for it.
        original: What is known of the file that came in.
        source: Where it lies; unknown until it was uploaded.
        focal_point: What a cut keeps in view.
        info: What it looks like.
        renditions: The small copies, by name.
        formats: The copies at full size, by format.
        link_expires_at: Unix seconds until which the upload link works.
        timings_ms: Milliseconds of each step.
        error: Why it failed; only where it did.
        last_error: The last fault of the running attempt, which a retry may still heal.
        conversion_error: Why the copies at full size were not made; only where they failed.
        conversion_last_error: The last fault of making them.
        model: Which model a retry asked for; None for the active one.
        requeues: How often the check sent the running attempt on its way again.
        conversion_requeues: Likewise, the copies at full size of the running attempt.
    """

    image_id: str
    status: Status
    conversion_status: ConversionStatus
    created_at_ms: int
    updated_at_ms: int
    attempt: int = 1
    generation: str | None = None
    outputs: tuple[Output, ...] = tuple(Output)
    keep: tuple[Kept, ...] = ()
    reuse: bool = True
    content_sha256: str | None = None
    original: Original = Original()
    metadata: Mapping[str, str] = field(default_factory=dict)
    source: Source | None = None
    focal_point: FocalPoint = FocalPoint()
    info: ImageInfo | None = None
    renditions: Mapping[str, StoredCopy] = field(default_factory=dict)
    formats: Mapping[str, StoredCopy] = field(default_factory=dict)
    link_expires_at: int | None = None
    prediction: Prediction | None = None
    results_key: str | None = None
    model_input_key: str | None = None
    timings_ms: Mapping[str, int] = field(default_factory=dict)
    error: Failure | None = None
    last_error: Failure | None = None
    conversion_error: Failure | None = None
    conversion_last_error: Failure | None = None
    model: str | None = None
    requeues: int = 0
    conversion_requeues: int = 0

    @property
    def retryable(self) -> bool:
        """Whether something failed, and no prediction is under way that a retry would stop."""
        conversion_failed = self.conversion_status is ConversionStatus.FAILED
        return self.status.failed or (self.status is Status.COMPLETED and conversion_failed)

    @property
    def retry_from(self) -> Status:
        """The status at which a retry takes up the work again.

        ``completed`` means that there is nothing to take up but the copies at full size.
        """
        if self.status is Status.COMPLETED:
            return Status.COMPLETED
        if self.status is Status.INFERENCE_FAILED and self.error != INPUT_UNUSABLE:
            return Status.PREPROCESSED
        return Status.QUEUED

    @property
    def retries_conversion(self) -> bool:
        """Whether a retry sends the copies at full size on their way again itself.

        From ``queued`` on `preprocess` does. Where they are only under way, too: the retry
        begins a new attempt, for which the message that is under way no longer counts.
        """
        unfinished = {ConversionStatus.PENDING, ConversionStatus.FAILED}
        return self.retry_from is not Status.QUEUED and self.conversion_status in unfinished

    def wants(self, output: Output) -> bool:
        """Whether a client asked for it (or did not choose)."""
        return output in self.outputs


def new_image_id() -> str:
    """A random id: 122 bits that nobody can guess."""
    return str(uuid.uuid4())


def image_id_of_object(bucket: str, key: str, generation: str) -> str:
    """The id of an object that was put into the bucket without asking the API first.

    The same object version always gets the same id, so that all of its events meet one row.
    """
    digest = hashlib.sha256(f"{bucket}\n{key}\n{generation}".encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


_IMAGE_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def is_image_id(text: str) -> bool:
    """Whether the text has the form of an id that this service gives out."""
    return _IMAGE_ID.fullmatch(text) is not None


UPLOAD_PREFIX = "uploads/"


def source_key(image_id: str) -> str:
    """The key that the API hands out for an upload; never made from a user's file name."""
    return f"{UPLOAD_PREFIX}{image_id}/source"


def image_id_of_key(key: str) -> str | None:
    """The id in a key of the form of `source_key`, else None."""
    prefix, _, rest = key.partition("/")
    image_id, _, name = rest.partition("/")
    if f"{prefix}/" == UPLOAD_PREFIX and name == "source" and is_image_id(image_id):
        return image_id
    return None


def model_input_key(image_id: str, generation: str, recipe: str) -> str:
    """Where the pixels that a model sees are kept between preprocess and infer.

    ``recipe`` is the fingerprint of how they are made: another model finds its own, or none.
    """
    return f"processed/{image_id}/{generation}/model-input-{recipe}.ppm"


def results_key(image_id: str, generation: str, model: str) -> str:
    """Where the result document of an image by a model, ``NAME@VERSION``, is kept."""
    return f"results/{image_id}/{generation}/{model}.json"


def derived_prefixes(image_id: str) -> tuple[str, ...]:
    """The prefixes of everything that is made from an image, in either bucket."""
    return tuple(
        f"{folder}/{image_id}/" for folder in ("processed", "renditions", "formats", "results")
    )


def shard_of(image_id: str, shards: int) -> int:
    """Which of the index's hash keys an image falls under.

    A bare status as hash key would be one hot partition at 1,000 writes a second.
    """
    return zlib.crc32(image_id.encode()) % shards
