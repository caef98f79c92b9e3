"""The routes under ``/images``."""

import base64
import binascii
import mimetypes
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from chalicelib import telemetry
from chalicelib.api.cursors import Cursors
from chalicelib.api.http import Answer, Request, json_object
from chalicelib.api.idempotency import Idempotency
from chalicelib.api.image_view import ImageView
from chalicelib.api.quota import Quota
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.object_store import ObjectStore
from chalicelib.clock import now_ms, now_seconds
from chalicelib.errors import (
    BodyTooLarge,
    ImageExists,
    ImageNotFound,
    InvalidRequest,
    Superseded,
    UnsupportedMediaType,
)
from chalicelib.images import (
    ConversionStatus,
    FocalPoint,
    Image,
    Kept,
    Original,
    Output,
    Source,
    Status,
    derived_prefixes,
    is_image_id,
    source_key,
)
from chalicelib.imaging.signature import ACCEPTED_TYPES, SIGNATURE_BYTES, media_type_of
from chalicelib.models import is_reference
from chalicelib.retry import Retry
from chalicelib.settings import Settings

MAX_METADATA_BYTES = 2048
DEFAULT_PAGE = 25
MAX_PAGE = 100

Filename = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
# Type and subtype of RFC 6838, 4.2, below "image".
ContentType = Annotated[str, Meta(pattern=r"^image/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$")]
Outputs = Annotated[list[Literal["predictions", "renditions", "formats"]], Meta(min_length=1)]

Share = Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class FocalPointField:
    """The field ``focal_point``: shares of width and height, from the top left."""

    x: Share
    y: Share


# Every field that POST /images takes, with what it may be.
FIELDS: Mapping[str, Any] = {
    "filename": Filename,
    "content_type": ContentType,
    "image_base64": str,
    "outputs": Outputs,
    "keep": list[Literal["camera"]],
    "reuse": bool,
    # DynamoDB takes no empty name.
    "focal_point": FocalPointField,
    "metadata": dict[Annotated[str, Meta(min_length=1)], str],
}
# What each field must be; completes the sentence of a refusal.
RULES: Mapping[str, str] = {
    "filename": "must be a text of 1 to 255 printable characters",
    "content_type": "must be an image type such as image/jpeg",
    "image_base64": "must be a text in base64",
    "outputs": "must be a list of at least one of predictions, renditions, formats",
    "keep": "must be a list of what to keep of the file, of which there is camera",
    "reuse": "must be true or false",
    "focal_point": "must be an object of x and y, each from 0 to 1",
    "metadata": "must be a flat object of texts with names",
}


@dataclass(frozen=True, kw_only=True)
class NewImage:
    """A checked request for a new image."""

    original: Original
    outputs: tuple[Output, ...] = tuple(Output)
    keep: tuple[Kept, ...] = ()
    reuse: bool = True
    metadata: Mapping[str, str]
    focal_point: FocalPoint
    declared_type: str | None = None
    body: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class ImagesApi:
    """What a client can do with images.

    All methods raise `ServiceUnavailable` where AWS does not answer as it should.

    Args:
        quota: What each caller may ask for; None: as much as it likes.
    """

    settings: Settings
    images: ImageTable
    uploads: ObjectStore
    renditions: ObjectStore
    retries: Retry
    is_model: Callable[[str], bool]
    view: ImageView
    cursors: Cursors
    idempotency: Idempotency
    quota: Quota | None = None

    def create(self, request: Request) -> Answer:
        """``POST /images``.

        Raises:
            InvalidRequest: A field is wrong.
            BodyTooLarge: The image in the body is over the limit.
            UnsupportedMediaType: The body, or the image in it, is of no type that is taken.
            QuotaExceeded: The caller has asked for too much.
        """
        return self.idempotency.run(request, lambda image_id: self._create(image_id, request))

    def get(self, image_id: str) -> Answer:
        """``GET /images/{image_id}``.

        Raises:
            ImageNotFound: There is no such image.
        """
        return Answer(status=200, body=self.view.shown(self._known(image_id)))

    def list_images(self, request: Request) -> Answer:
        """``GET /images``.

        Raises:
            InvalidRequest: A parameter is wrong.
            InvalidCursor: The cursor was altered or belongs to another query.
        """
        status = _status_parameter(request.query.get("status"))
        limit = _limit_parameter(request.query.get("limit"))
        query = f"images?status={status or ''}"
        cursor = request.query.get("cursor")
        before = None if cursor is None else self.cursors.open(query, cursor)
        page, place = self.images.page(status=status, limit=limit, before=before)
        return Answer(
            status=200,
            body={
                "items": [self.view.shown(image) for image in page],
                "next_cursor": None if place is None else self.cursors.seal(query, place),
            },
        )

    def retry(self, image_id: str, *, model: str | None = None, caller: str = "") -> Answer:
        """``POST /images/{image_id}/retry``, with ``model`` also of a completed image.

        Raises:
            ImageNotFound: There is no such image.
            NotRetryable: Nothing failed, or the image is still on its way.
            InvalidRequest: There is no such model.
            QuotaExceeded: The caller has asked for too much.
        """
        image = self._known(image_id)
        self.retries.check(image, model=model)
        if model is not None and not (is_reference(model) and self.is_model(model)):
            raise InvalidRequest(
                f"model must be default, or the NAME@VERSION of a model that is there, "
                f"not {model[:140]!r}."
            )
        if self.quota is not None:
            self.quota.charge(caller)
        retried = self.retries(image, model=model)
        return Answer(
            status=202,
            body={
                "image_id": image_id,
                "status": retried.status,
                "conversion_status": retried.conversion_status,
                "attempts": retried.attempt,
                "links": {"self": self.view.link(image_id)},
            },
        )

    def delete(self, image_id: str) -> Answer:
        """``DELETE /images/{image_id}``.

        Raises:
            ImageNotFound: There is no such image.
        """
        if not is_image_id(image_id):
            raise ImageNotFound(image_id)
        source = self.images.begin_removal(image_id, now=now_seconds())
        if source is not None:
            self.uploads.delete(source.key, version_id=source.version_id)
        self.uploads.delete_prefix(source_key(image_id))
        for prefix in derived_prefixes(image_id):
            self.uploads.delete_prefix(prefix)
            self.renditions.delete_prefix(prefix)
        self.images.finish_removal(image_id)
        telemetry.logger().info("image deleted", image_id=image_id)
        return Answer(status=204)

    def _known(self, image_id: str) -> Image:
        if not is_image_id(image_id):
            raise ImageNotFound(image_id)
        return self.images.get(image_id)

    def _create(self, image_id: str, request: Request) -> Answer:
        new = self._read(request)
        if self.quota is not None:
            self.quota.charge(request.caller)
        expires_in = self.settings.upload_link_seconds
        wants_formats = Output.FORMATS in new.outputs
        image = Image(
            image_id=image_id,
            status=Status.PENDING_UPLOAD,
            conversion_status=(
                ConversionStatus.PENDING if wants_formats else ConversionStatus.SKIPPED
            ),
            created_at_ms=now_ms(),
            updated_at_ms=now_ms(),
            outputs=new.outputs,
            keep=new.keep,
            reuse=new.reuse,
            original=new.original,
            metadata=new.metadata,
            focal_point=new.focal_point,
            link_expires_at=now_seconds() + expires_in,
        )
        try:
            self.images.create(image)
        except ImageExists:
            # The first try of a request with an Idempotency-Key came this far and crashed.
            telemetry.logger().info("taking up a request again", image_id=image_id)
        key = source_key(image_id)
        links = {"self": self.view.link(image_id)}
        if new.body is not None:
            status = self._store(image_id, key, new)
            return Answer(
                status=201,
                body={"image_id": image_id, "status": status, "links": links},
                headers={"Location": links["self"]},
            )
        form = self.uploads.upload_form(
            key,
            content_type=new.declared_type,
            max_bytes=self.settings.max_upload_bytes,
            expires_in=expires_in,
        )
        return Answer(
            status=201,
            body={
                "image_id": image_id,
                "status": Status.PENDING_UPLOAD,
                "upload_url": self.uploads.upload_url(key, expires_in=expires_in),
                "upload": {"url": form.url, "fields": form.fields},
                "expires_in": expires_in,
                "links": links,
            },
            headers={"Location": links["self"]},
        )

    def _store(self, image_id: str, key: str, new: NewImage) -> Status:
        """Put the image into the bucket; the bucket's event, and nothing else, queues it."""
        body = new.body or b""
        version_id = self.uploads.put(
            key, body, content_type=new.original.content_type or "application/octet-stream"
        )
        if version_id is not None:
            try:
                self.images.accept(
                    image_id,
                    generation=version_id,
                    source=Source(key=key, version_id=version_id),
                    size_bytes=len(body),
                    now_ms=now_ms(),
                )
            except Superseded:
                # A request that was taken up again: its first upload was accepted already.
                telemetry.logger().info("an earlier upload counts", image_id=image_id)
        return Status.QUEUED

    def _read(self, request: Request) -> NewImage:
        content_type = request.content_type
        if content_type.startswith("image/"):
            return self._with_body(request.body, {})
        if request.body.strip() and content_type not in {"", "application/json"}:
            raise UnsupportedMediaType(
                "The body must be JSON (application/json) or an image (image/...), "
                f"not {content_type!r}."
            )
        fields = checked_fields(json_object(request.body))
        encoded = fields.get("image_base64")
        if encoded is not None:
            return self._with_body(self._decoded(encoded), fields)
        filename = fields.get("filename")
        declared = fields.get("content_type") or _type_of_name(filename)
        return NewImage(
            original=Original(filename=filename, content_type=declared),
            outputs=_outputs(fields),
            keep=_kept(fields),
            reuse=fields.get("reuse", True),
            metadata=fields.get("metadata", {}),
            focal_point=_focal_point(fields),
            declared_type=declared,
        )

    def _decoded(self, text: str) -> bytes:
        # Some clients send a data URL, as browsers make them.
        text = re.sub(r"^data:[^,;]{0,100};base64,", "", text)
        limit = self.settings.max_body_bytes
        if len(text) * 3 // 4 > limit + 3:
            raise BodyTooLarge(len(text) * 3 // 4, limit)
        try:
            return base64.b64decode(re.sub(r"\s", "", text), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidRequest("image_base64 must be a text in base64.") from None

    def _with_body(self, body: bytes, fields: Mapping[str, Any]) -> NewImage:
        if not body:
            raise InvalidRequest("The image is empty, or was sent without a Content-Length.")
        if len(body) > self.settings.max_body_bytes:
            raise BodyTooLarge(len(body), self.settings.max_body_bytes)
        media_type = media_type_of(body[:SIGNATURE_BYTES])
        if media_type is None:
            raise UnsupportedMediaType(
                "The content is not an image of a type that is taken here: "
                f"{', '.join(ACCEPTED_TYPES)}."
            )
        return NewImage(
            original=Original(
                filename=fields.get("filename"), content_type=media_type, bytes=len(body)
            ),
            outputs=_outputs(fields),
            keep=_kept(fields),
            reuse=fields.get("reuse", True),
            metadata=fields.get("metadata", {}),
            focal_point=_focal_point(fields),
            body=body,
        )


def checked_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a JSON body that are set, each of its type. Null counts as not set.

    Raises:
        InvalidRequest: Names every field that is wrong.
    """
    problems = [
        f"{name[:64]!r} is not a field of this request" for name in body if name not in FIELDS
    ]
    checked: dict[str, Any] = {}
    for name, rule in FIELDS.items():
        value = body.get(name)
        if value is None:
            continue
        try:
            checked[name] = msgspec.convert(value, rule)
        except msgspec.ValidationError:
            problems.append(f"{name} {RULES[name]}")
    size_bytes = len(msgspec.json.encode(checked.get("metadata", {})))
    if size_bytes > MAX_METADATA_BYTES:
        problems.append(
            f"metadata has {size_bytes} bytes as JSON and may have {MAX_METADATA_BYTES}"
        )
    if problems:
        raise InvalidRequest("; ".join(problems) + ".")
    return checked


def _outputs(fields: Mapping[str, Any]) -> tuple[Output, ...]:
    chosen = fields.get("outputs")
    return tuple(Output) if chosen is None else tuple(o for o in Output if o in chosen)


def _kept(fields: Mapping[str, Any]) -> tuple[Kept, ...]:
    return tuple(kept for kept in Kept if kept in fields.get("keep", ()))


def _focal_point(fields: Mapping[str, Any]) -> FocalPoint:
    chosen = fields.get("focal_point")
    return FocalPoint() if chosen is None else FocalPoint(x=chosen.x, y=chosen.y)


def _type_of_name(filename: str | None) -> str | None:
    # The suffix alone: given a whole name, mimetypes would read a data URL out of it.
    guessed = mimetypes.guess_type(f"x{PurePosixPath(filename or '').suffix}")[0]
    return guessed if guessed is not None and guessed.startswith("image/") else None


def _status_parameter(text: str | None) -> Status | None:
    if text is None:
        return None
    try:
        return Status(text)
    except ValueError:
        raise InvalidRequest(f"status must be one of {', '.join(Status)}.") from None


def _limit_parameter(text: str | None) -> int:
    if text is None:
        return DEFAULT_PAGE
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= MAX_PAGE):
        raise InvalidRequest(f"limit must be a whole number from 1 to {MAX_PAGE}.")
    return int(text)
