"""Every route as a client may use it: what it takes, what it answers, which errors it raises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chalicelib.api.answers import ref
from chalicelib.api.dead_letters import DEFAULT_PAGE as DEFAULT_LETTERS
from chalicelib.api.images import DEFAULT_PAGE, MAX_PAGE, RULES
from chalicelib.api.schemas import (
    DEAD_LETTERS_QUERY,
    MAX_REDRIVEN,
    MAX_UPDATES,
    STATUS_QUERY,
    Schema,
)
from chalicelib.api.tracking import DEFAULT_PAGE as DEFAULT_UPDATES
from chalicelib.errors import (
    BodyTooLarge,
    DarkroomError,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    ImageNotFound,
    InvalidCursor,
    InvalidRequest,
    NotRetryable,
    QuotaExceeded,
    UnsupportedMediaType,
)
from chalicelib.images import Status
from chalicelib.imaging.signature import ACCEPTED_TYPES
from chalicelib.models import REFERENCE_PATTERN

_IMAGE_ID = "37879645-9378-4272-b7e9-6ec9c0df5ee0"
_IMAGE_PATH = f"/images/{_IMAGE_ID}"


@dataclass(frozen=True, kw_only=True)
class GatewayRefusal:
    """An error that API Gateway answers by itself, as `infrastructure/resources.yaml` tells it."""

    status: str
    code: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A method of a path.

    Attributes:
        body: What it takes.
        status: Of the good answer, with its ``meaning`` and its ``content``.
        refusals: The errors that the route itself raises.
        headers: Headers of the good answer, by their names, with their meanings.
        signed: Whether it takes signed requests alone when deployed.
        others: Answers that are no errors in the one shape, by their statuses.
    """

    name: str
    tag: str
    summary: str
    description: str = ""
    parameters: Sequence[Mapping[str, Any]] = ()
    body: Mapping[str, Any] | None = None
    status: int = 200
    meaning: str
    content: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    refusals: Sequence[DarkroomError] = ()
    signed: bool = False
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


# What may come back of any route: the gateway stands in front of all of them.
ANYWHERE = (
    GatewayRefusal(
        status="429", code="too_many_requests", sentence="Too many requests; try again shortly."
    ),
    GatewayRefusal(status="4XX", code="request_refused", sentence="The request was refused."),
)
UNSIGNED = (
    GatewayRefusal(
        status="403",
        code="access_denied",
        sentence="These credentials may not do this, or the request is not signed with Signature "
        "Version 4.",
    ),
    GatewayRefusal(
        status="404",
        code="not_found",
        sentence="There is nothing at this path, or it takes signed requests alone; see the API's "
        "documentation.",
    ),
)
_KEY_REUSED = (IdempotencyKeyReused(), IdempotencyInProgress(30))
_NO_IMAGE = ImageNotFound(_IMAGE_ID)
# Where a quota is set; what the routes that cost have in common.
_NO_QUOTA_LEFT = QuotaExceeded(1800, requests=100, seconds=3600)
_NOT_JSON = UnsupportedMediaType("The body must be JSON (application/json), not 'text/plain'.")


def _json(schema: Mapping[str, Any], example: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema, "example": example}}


def _query(name: str, schema: Schema, *, required: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": required,
        "description": str(schema["description"]).capitalize() + ".",
        "schema": {key: value for key, value in schema.items() if key != "description"},
    }


_ID_PARAMETER = {
    "name": "image_id",
    "in": "path",
    "required": True,
    "description": "The id of an image.",
    "schema": {"type": "string"},
    "example": _IMAGE_ID,
}
_KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "1 to 128 printable characters; the same request with the same key gets the "
    "first answer again for 24 hours.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": 128,
        "pattern": "^[!-~]([ -~]{0,126}[!-~])?$",
    },
}
_REPLAYED = {"Idempotent-Replayed": "`true` where this is the first answer again."}
_PAGE_TYPE = {"text/html": {"schema": {"type": "string"}}}
_TOKEN_PARAMETER = _query("token", {"type": "string", "description": "the token of the link"})

_NO_TOKEN = {"400": {"description": "A page that says what is wrong.", "content": _PAGE_TYPE}}

_EXAMPLE_COPY = {
    "url": "https://example.com/thumb.jpg?signature",
    "width": 150,
    "height": 150,
    "bytes": 6123,
    "content_type": "image/jpeg",
    "quality": 85,
    "encoding_ms": 2,
}
_EXAMPLE_IMAGE = {
    "image_id": _IMAGE_ID,
    "status": "completed",
    "conversion_status": "completed",
    "created_at": 1795258860,
    "last_updated": 1795258862,
    "attempts": 1,
    "links": {"self": _IMAGE_PATH},
    "original": {"content_type": "image/jpeg", "bytes": 112525, "width": 640, "height": 427},
    "info": {
        "placeholder": "EykODYQHZ3iOdXeIhleHdieAdghI",
        "dominant_color": "#311f0b",
        "perceptual_hash": "9393c9ec6c4b83a1",
    },
    "timings_ms": {"queued": 12, "preprocessing": 61, "inferencing": 9, "conversion": 78},
    "renditions": {"thumb": _EXAMPLE_COPY},
    "results": {"classes": ["cat", "dog"], "probabilities": [0.61, 0.2], "confidence": 0.61},
    "top_prediction": "cat",
    "confidence": 0.61,
    "model": {"name": "darkroom-32", "version": "1.0.0"},
}
_EXAMPLE_UPDATE = {
    "tracking_id": "PX-1",
    "status": "delivered",
    "location": {"lat": 40.7128, "lng": -74.006},
    "image_id": _IMAGE_ID,
}
_EXAMPLE_KEPT = {
    "timestamp": 1795000000000,
    "occurred_at": 1794999990000,
    "status": "delivered",
    "location": {"lat": 40.7128, "lng": -74.006},
}

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("/images", "post"): Operation(
        name="create_image",
        tag="Images",
        summary="A new image",
        description="With nothing or JSON, or with the image's bytes and `Content-Type: image/…`, "
        f"at most 5 MiB. Types that are taken: {', '.join(ACCEPTED_TYPES)}. Larger images go "
        "through the link in the answer.",
        parameters=[_KEY_PARAMETER],
        body={
            "required": False,
            "content": {
                "application/json": {"schema": ref("NewImage")},
                "image/*": {},
            },
        },
        status=201,
        meaning="The image is known, and waits for its upload or is queued.",
        content=_json(
            ref("Created"),
            {
                "image_id": _IMAGE_ID,
                "status": "pending_upload",
                "upload_url": "https://example.com/uploads/source?signature",
                "upload": {
                    "url": "https://example.com/uploads",
                    "fields": {"key": f"uploads/{_IMAGE_ID}/source", "policy": "…"},
                },
                "expires_in": 900,
                "links": {"self": _IMAGE_PATH},
            },
        ),
        headers={"Location": "Path of the image.", **_REPLAYED},
        refusals=[
            InvalidRequest(f"filename {RULES['filename']}."),
            *_KEY_REUSED,
            BodyTooLarge(6_000_000, 5_242_880),
            UnsupportedMediaType(
                "The content is not an image of a type that is taken here: "
                f"{', '.join(ACCEPTED_TYPES)}."
            ),
            _NO_QUOTA_LEFT,
        ],
    ),
    ("/images", "get"): Operation(
        name="list_images",
        tag="Images",
        summary="A page of images, newest first",
        parameters=[
            _query(
                "status",
                {
                    "type": "string",
                    "enum": [status.value for status in Status],
                    "description": "only images of this status",
                },
            ),
            _query(
                "limit",
                {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MAX_PAGE,
                    "default": DEFAULT_PAGE,
                    "description": "how many at most",
                },
            ),
            _query(
                "cursor",
                {"type": "string", "description": "the `next_cursor` of the page before"},
            ),
        ],
        meaning="The page.",
        content=_json(ref("ImagePage"), {"items": [_EXAMPLE_IMAGE], "next_cursor": None}),
        refusals=[
            InvalidRequest(f"limit must be a whole number from 1 to {MAX_PAGE}."),
            InvalidCursor(),
        ],
    ),
    ("/images/{image_id}", "get"): Operation(
        name="get_image",
        tag="Images",
        summary="One image",
        parameters=[_ID_PARAMETER],
        meaning="The image.",
        content=_json(ref("Image"), _EXAMPLE_IMAGE),
        refusals=[_NO_IMAGE],
    ),
    ("/images/{image_id}", "delete"): Operation(
        name="delete_image",
        tag="Images",
        summary="Remove an image and everything made from it",
        parameters=[_ID_PARAMETER],
        status=204,
        meaning="It is gone.",
        refusals=[_NO_IMAGE],
    ),
    ("/images/{image_id}/retry", "post"): Operation(
        name="retry_image",
        tag="Images",
        summary="Take up a failed image again, from the step that failed",
        description="With `model`, a completed image too: another model is asked about it.",
        parameters=[
            _ID_PARAMETER,
            _query(
                "model",
                {
                    "type": "string",
                    "pattern": REFERENCE_PATTERN,
                    "description": "`NAME@VERSION` of a model that is there, or `default`",
                },
            ),
        ],
        status=202,
        meaning="It is on its way again.",
        content=_json(
            ref("Retried"),
            {
                "image_id": _IMAGE_ID,
                "status": "queued",
                "conversion_status": "pending",
                "attempts": 2,
                "links": {"self": _IMAGE_PATH},
            },
        ),
        refusals=[
            _NO_IMAGE,
            NotRetryable("completed"),
            InvalidRequest(
                "model must be default, or the NAME@VERSION of a model that is there, not 'x'."
            ),
            _NO_QUOTA_LEFT,
        ],
    ),
    ("/track", "post"): Operation(
        name="track",
        tag="Parcels",
        summary="An update of a parcel, or many",
        description='With the flag `batch_processing`, `{"updates": […]}` takes up to '
        f"{MAX_UPDATES} at once.",
        parameters=[_KEY_PARAMETER],
        body={
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [ref("NewUpdate"), ref("NewUpdates")]},
                    "example": _EXAMPLE_UPDATE,
                }
            },
        },
        meaning="The update was kept; of many, what became of each.",
        content=_json(
            {"anyOf": [ref("Stored"), ref("StoredBatch")]},
            {
                "message": "The update was stored.",
                "tracking_id": "PX-1",
                "timestamp": 1795000000000,
                "occurred_at": 1794999990000,
            },
        ),
        headers=_REPLAYED,
        refusals=[
            InvalidRequest(
                "status is missing; it must be one of pending, in_transit, delivered, failed.",
                problems=[
                    (
                        "status",
                        "is missing; it must be one of pending, in_transit, delivered, failed",
                    )
                ],
            ),
            _NO_IMAGE,
            *_KEY_REUSED,
            _NOT_JSON,
            _NO_QUOTA_LEFT,
        ],
        signed=True,
    ),
    ("/status", "get"): Operation(
        name="parcel_status",
        tag="Parcels",
        summary="How a parcel stands, and a page of its history",
        parameters=[
            _query(
                name,
                {**rule, **({"default": DEFAULT_UPDATES} if name == "limit" else {})},
                required=name in STATUS_QUERY["required"],
            )
            for name, rule in STATUS_QUERY["properties"].items()
        ],
        meaning="The parcel; without updates where nobody has heard of it.",
        content=_json(
            ref("History"),
            {
                "tracking_id": "PX-1",
                "current": {**_EXAMPLE_KEPT, "status_changed_at": 1794999990000},
                "updates": [_EXAMPLE_KEPT],
                "count": 1,
                "next_key": None,
            },
        ),
        refusals=[
            InvalidRequest(
                "limit must be a whole number from 1 to 100.",
                problems=[("limit", "must be a whole number from 1 to 100")],
            ),
            InvalidCursor(),
        ],
        signed=True,
    ),
    ("/unsubscribe", "get"): Operation(
        name="unsubscribe_page",
        tag="Parcels",
        summary="The page that a link in an e-mail opens; changes nothing",
        parameters=[_TOKEN_PARAMETER],
        meaning="The page that asks.",
        content=_PAGE_TYPE,
        others=_NO_TOKEN,
    ),
    ("/unsubscribe", "post"): Operation(
        name="unsubscribe",
        tag="Parcels",
        summary="No more e-mails: from that page, or from a mail client (RFC 8058)",
        parameters=[_TOKEN_PARAMETER],
        body={
            "required": True,
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "scope": {"type": "string", "enum": ["parcel", "all"]},
                            "List-Unsubscribe": {"type": "string", "enum": ["One-Click"]},
                        },
                    }
                }
            },
        },
        meaning="A page that says so.",
        content=_PAGE_TYPE,
        others=_NO_TOKEN,
    ),
    ("/dead-letters", "get"): Operation(
        name="list_dead_letters",
        tag="Service",
        summary="A page of what was given up, with the reason, without the messages' bodies",
        parameters=[
            _query(name, {**rule, **({"default": DEFAULT_LETTERS} if name == "limit" else {})})
            for name, rule in DEAD_LETTERS_QUERY["properties"].items()
        ],
        meaning="The page.",
        content=_json(
            ref("DeadLetterPage"),
            {
                "items": [
                    {
                        "step": "infer",
                        "message_id": _IMAGE_ID,
                        "buried_at": 1795258860,
                        "image_id": _IMAGE_ID,
                        "reason": {"code": "worker_lost", "message": "Processing stopped."},
                    }
                ],
                "next_cursor": None,
            },
        ),
        refusals=[
            InvalidRequest(
                "limit must be a whole number from 1 to 100.",
                problems=[("limit", "must be a whole number from 1 to 100")],
            ),
            InvalidCursor(),
        ],
        signed=True,
    ),
    ("/dead-letters/redrive", "post"): Operation(
        name="redrive_dead_letters",
        tag="Service",
        summary="Send dead letters back: those that are named, or all of a step",
        description=f"All of a step go by {MAX_REDRIVEN} a request: ask again with `next_cursor` "
        "until it is null. The same request may be sent again: a letter counts once.",
        body={
            "required": True,
            "content": {
                "application/json": {
                    "schema": ref("Redrive"),
                    "example": {"step": "infer", "message_ids": [_IMAGE_ID]},
                }
            },
        },
        meaning="What became of each.",
        content=_json(
            ref("Redriven"),
            {"items": [{"message_id": _IMAGE_ID, "outcome": "sent"}], "next_cursor": None},
        ),
        refusals=[
            InvalidRequest(
                "step is missing; it must be one of ingest, infer.",
                problems=[("step", "is missing; it must be one of ingest, infer")],
            ),
            InvalidCursor(),
            _NOT_JSON,
        ],
        signed=True,
    ),
    ("/health", "get"): Operation(
        name="health",
        tag="Service",
        summary="Whether everything that the service depends on answers",
        meaning="All is well.",
        content=_json(
            ref("Health"),
            {"status": "ok", "checks": {"preprocessing_queue": {"status": "ok", "waiting": 0}}},
        ),
        others={
            "503": {
                "description": "Something does not answer: `failing` names it.",
                "content": _json(
                    {"anyOf": [ref("Health"), ref("Error")]},
                    {
                        "status": "degraded",
                        "checks": {"images_table": {"status": "failing"}},
                        "failing": ["images_table"],
                    },
                ),
            }
        },
    ),
    ("/", "get"): Operation(
        name="console",
        tag="Service",
        summary="The console, a page for people",
        meaning="The page.",
        content=_PAGE_TYPE,
    ),
    ("/docs", "get"): Operation(
        name="reference",
        tag="Service",
        summary="This document as a page for people",
        meaning="The page.",
        content=_PAGE_TYPE,
    ),
    ("/openapi.json", "get"): Operation(
        name="openapi",
        tag="Service",
        summary="This document",
        meaning="The document.",
        content={"application/json": {"schema": {"type": "object"}}},
    ),
}
