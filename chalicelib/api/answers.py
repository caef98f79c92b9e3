"""The JSON Schemas of what clients get. They may have more fields one day, and never fewer.

JSON Schema 2020-12, as parts of the document that `openapi.py` makes. Nothing is checked against
them at run time; tests hold every answer of the real API to them.
"""

from collections.abc import Mapping
from typing import Any

from chalicelib.api.schemas import Schema
from chalicelib.dead_letters import Outcome
from chalicelib.images import ConversionStatus, Status
from chalicelib.parcels import ParcelStatus

# The codes in the record of an image that failed.
IMAGE_CODES: Mapping[str, str] = {
    "unsupported_media_type": "not a JPEG, PNG, GIF, WebP, BMP or TIFF, judged by its bytes",
    "image_empty": "a file of no bytes",
    "image_too_large": "more bytes than are taken",
    "image_dimensions_too_large": "more pixels, or a longer side, than are taken",
    "image_too_complex": "a JPEG in more passes than are taken, or one that takes longer than it "
    "may",
    "image_truncated": "the end of the file is missing",
    "image_corrupt": "damaged in another way",
    "object_missing": "the upload was removed before it was read",
    "model_input_unusable": "the prepared image could not be used, even after it was made anew",
    "model_unusable": "the model could not be loaded",
    "service_unavailable": "AWS did not answer, every time it was tried",
    "internal_error": "a fault of ours, every time it was tried",
    "worker_lost": "the process died without a word, every time it was tried",
    "processing_stuck": "nobody was heard of for hours, every time it was started again; the check "
    "gave it up",
}


def ref(name: str) -> dict[str, Any]:
    """A reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(
    description: str, required: Mapping[str, Any], optional: Mapping[str, Any] | None = None
) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": {**required, **(optional or {})},
        "required": list(required),
    }


def _text(description: str, **rules: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **rules}


def _count(description: str, *, minimum: int | None = 0) -> dict[str, Any]:
    lowest = {} if minimum is None else {"minimum": minimum}
    return {"type": "integer", "description": description, **lowest}


def _share(description: str) -> dict[str, Any]:
    return {"type": "number", "minimum": 0, "maximum": 1, "description": description}


def _url(description: str) -> dict[str, Any]:
    return _text(description, format="uri")


def _list_of(items: Any, description: str) -> dict[str, Any]:
    return {"type": "array", "items": items, "description": description}


def _named(values: Any, description: str) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values, "description": description}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_IMAGE_ID = _text("The id of an image: random, and not to be guessed.", format="uuid")
_STATUS = {
    "type": "string",
    "enum": [status.value for status in Status],
    "description": "How far the image is on its way to its predictions; never goes back, but by a "
    "retry.",
}
_CONVERSION = {
    "type": "string",
    "enum": [status.value for status in ConversionStatus],
    "description": "How far the copies at full size are; independent of the status.",
}
_LINKS = _object("Paths in this API.", {"self": _text("Path of the image.")})
_PARCEL = {
    "type": "string",
    "enum": [status.value for status in ParcelStatus],
    "description": "How a parcel stands.",
}
_PLACE = _object(
    "Numbers come back as they were sent.",
    {
        "lat": {"type": "number", "minimum": -90, "maximum": 90, "description": "Degrees north."},
        "lng": {"type": "number", "minimum": -180, "maximum": 180, "description": "Degrees east."},
    },
)
_TIME = _count("Seconds since the Unix epoch.")
_TIME_MS = _count("Milliseconds since the Unix epoch.")
_PROOF = {"image_id": _text("The photo that proves it."), "image": ref("ImageInBrief")}
_STEP = {
    "distance_m": {
        "type": "number",
        "minimum": 0,
        "description": "Metres along the surface from the update received before; with the flag "
        "`enhanced_tracking`.",
    },
    "seconds_since_last_update": {
        "type": "number",
        "description": "Seconds since the update received before; likewise.",
    },
}

SCHEMAS: Mapping[str, Schema] = {
    "Error": _object(
        "What every error looks like.",
        {
            "error": _text("One sentence that a person can act on.", minLength=1),
            "code": _text("A name that programs may branch on.", pattern="^[a-z][a-z0-9_]*$"),
            "request_id": _text("Names the request in the log."),
        },
        {"errors": _list_of(ref("Problem"), "Each wrong field, where they are known apart.")},
    ),
    "Problem": _object(
        "A wrong field.",
        {"field": _text("Its path, with dots."), "message": _text("What is wrong with it.")},
    ),
    "Created": _object(
        "A new image. The links are there unless the image came with the request.",
        {"image_id": _IMAGE_ID, "status": _STATUS, "links": _LINKS},
        {
            "upload": _object(
                "A form for the upload, whose policy bounds size and type: send `fields`, then the "
                "file as `file`.",
                {
                    "url": _url("Where to send it."),
                    "fields": _named({"type": "string"}, "What has to stand in it."),
                },
            ),
            "upload_url": _url("A link to the same place for a plain PUT."),
            "expires_in": _count("Seconds that both work."),
        },
    ),
    "Failure": _object(
        "Why something failed.",
        {
            "code": _text(
                "One of:\n"
                + "".join(f"\n- `{code}`: {meaning}" for code, meaning in IMAGE_CODES.items()),
                pattern="^[a-z][a-z0-9_]*$",
            ),
            "message": _text("One sentence that a person can act on."),
        },
    ),
    "Original": _object(
        "What came in, as far as it is known.",
        {},
        {
            "filename": _text("A name to show."),
            "content_type": _text("By its bytes, once they were read."),
            "bytes": _count("Size of the file."),
            "width": _count("Pixels, upright."),
            "height": _count("Pixels, upright."),
            "sha256": _text("Of the file's bytes.", pattern="^[0-9a-f]{64}$"),
            "orientation": _count("How the file says it is turned, as EXIF counts.", minimum=1),
            "mode": _text("How its pixels are kept: `RGB`, `CMYK`, `P` for a palette, `I;16`."),
            "color_profile": _text("What its colour profile calls itself."),
            "frames": _count("Pictures of an animation that is kept as one.", minimum=1),
            "kind": _text("`photo` or `graphic`."),
            "camera": ref("Camera"),
        },
    ),
    "Camera": _object(
        "What a photo was taken with, as its file says; only where `keep` asked for it.",
        {},
        {
            "make": _text("Who made the camera."),
            "model": _text("What it is called."),
            "exposure_seconds": {
                "type": "number",
                "minimum": 0,
                "description": "How long the shutter was open.",
            },
            "f_number": {"type": "number", "minimum": 0, "description": "The aperture."},
            "iso": _count("The sensitivity."),
            "focal_length_mm": {
                "type": "number",
                "minimum": 0,
                "description": "Of the lens, in millimetres.",
            },
        },
    ),
    "Info": _object(
        "What the image looks like, in a few bytes.",
        {
            "placeholder": _text("Its ThumbHash, in base64: shown until a copy is loaded."),
            "dominant_color": _text(
                "The colour of the largest part of it, in sRGB.", pattern="^#[0-9a-f]{6}$"
            ),
        },
        {
            "perceptual_hash": _text(
                "64 bits, of which images that look alike have most in common; absent of an image "
                "of one colour.",
                pattern="^[0-9a-f]{16}$",
            )
        },
    ),
    "Copy": _object(
        "A copy of an image, with a link that works for a while.",
        {
            "url": _url("A signed link that a browser can open."),
            "width": _count("Pixels."),
            "height": _count("Pixels."),
            "bytes": _count("Size of the file."),
            "content_type": _text("Its type."),
        },
        {
            "quality": _count("Of the encoder, 1 to 100; absent where pixels are exact."),
            "encoder": _text("What made it; `original` for the original's own pixels."),
            "encoding_ms": _count("Milliseconds that making it took."),
            "bytes_saved": _count(
                "By how much it is smaller than the original; negative where it is larger.",
                minimum=None,
            ),
            "frames": _count("Pictures of an animation that was kept.", minimum=1),
        },
    ),
    "Image": _object(
        "An image. What is not known yet is absent.",
        {
            "image_id": _IMAGE_ID,
            "status": _STATUS,
            "conversion_status": _CONVERSION,
            "created_at": _TIME,
            "last_updated": _TIME,
            "attempts": _count("Raised by one at each retry.", minimum=1),
            "links": _LINKS,
        },
        {
            "original": ref("Original"),
            "info": ref("Info"),
            "metadata": _named({"type": "string"}, "As it was sent."),
            "timings_ms": _named({"type": "integer"}, "Milliseconds of each step."),
            "renditions": _named(ref("Copy"), "Small copies, by name."),
            "formats": _named(ref("Copy"), "Copies at full size, by format."),
            "results": _object(
                "The best classes, best first.",
                {
                    "classes": _list_of({"type": "string"}, "Labels."),
                    "probabilities": _list_of(
                        _share("Softmax over all classes of the model."), "One for each class."
                    ),
                    "confidence": _share("The first of the probabilities."),
                },
            ),
            "top_prediction": _text("The best class."),
            "confidence": _share("How sure the model is of it."),
            "model": _object(
                "Which model said so.",
                {"name": _text("Its name."), "version": _text("Its version.")},
                {"sha256": _text("Of the file that it was run from.")},
            ),
            "results_url": _url("A signed link to the result document."),
            "error": ref("Failure"),
            "conversion_error": ref("Failure"),
        },
    ),
    "ImageInBrief": _object(
        "A photo of a parcel, as far as it is known.",
        {"image_id": _text("The id of an image."), "status": _STATUS, "links": _LINKS},
        {
            "thumb": ref("Copy"),
            "top_prediction": _text("The best class."),
            "confidence": _share("How sure the model is of it."),
        },
    ),
    "ImagePage": _object(
        "A page of images, newest first.",
        {
            "items": _list_of(ref("Image"), "The images."),
            "next_cursor": _or_null(_text("The `cursor` of the next page; null on the last one.")),
        },
    ),
    "DeadLetter": _object(
        "A message that was given up.",
        {
            "step": _text("What could not be done."),
            "message_id": _text("The id that its queue or stream gave it."),
            "buried_at": _count("When it was given up, in seconds since the Unix epoch."),
        },
        {
            "image_id": _text("Which image it is about."),
            "tracking_id": _text("Which parcel."),
            "reason": ref("Failure"),
        },
    ),
    "DeadLetterPage": _object(
        "A page of dead letters, by step and message id.",
        {
            "items": _list_of(ref("DeadLetter"), "The letters."),
            "next_cursor": _or_null(_text("The `cursor` of the next page; null on the last one.")),
        },
    ),
    "Redriven": _object(
        "What became of letters that were to be sent back.",
        {
            "items": _list_of(
                _object(
                    "One letter.",
                    {
                        "message_id": _text("Which."),
                        "outcome": _text(
                            "`sent`, and removed; `settled`: nothing was left to do, and it is "
                            "removed; `under_way`, `unreadable` and `failed` are kept; `missing`: "
                            "there is none.",
                            enum=[*(one.name.lower() for one in Outcome), "missing"],
                        ),
                    },
                ),
                "The letters.",
            ),
            "next_cursor": _or_null(
                _text("The `cursor` to go on with, where there are more; null at the end.")
            ),
        },
    ),
    "Retried": _object(
        "What a retry set going.",
        {
            "image_id": _IMAGE_ID,
            "status": _STATUS,
            "conversion_status": _CONVERSION,
            "attempts": _count("Raised by one.", minimum=1),
            "links": _LINKS,
        },
    ),
    "Stored": _object(
        "An update that was kept.",
        {
            "message": _text("What happened, in a sentence."),
            "tracking_id": _text("Of the parcel."),
            "timestamp": _TIME_MS,
            "occurred_at": _TIME_MS,
        },
        _STEP,
    ),
    "StoredBatch": _object(
        "What became of each of many updates, in their order.",
        {
            "message": _text("What happened, in a sentence."),
            "stored": _count("How many were kept."),
            "results": _list_of(
                _object(
                    "The answer that the update would have got alone, or the error.",
                    {"status": _count("Its HTTP status.", minimum=200)},
                ),
                "One for each update.",
            ),
        },
    ),
    "Update": _object(
        "One update of a parcel.",
        {"timestamp": _TIME_MS, "occurred_at": _TIME_MS, "status": _PARCEL, "location": _PLACE},
        {"metadata": {"type": "object", "description": "As it was sent."}, **_PROOF, **_STEP},
    ),
    "Current": _object(
        "How a parcel stands, by the update that happened last.",
        {
            "status": _PARCEL,
            "location": _PLACE,
            "timestamp": _TIME_MS,
            "occurred_at": _TIME_MS,
            "status_changed_at": _TIME_MS,
        },
        {**_PROOF, "seconds_since_last_update": _STEP["seconds_since_last_update"]},
    ),
    "History": _object(
        "How a parcel stands, and a page of its history, newest first.",
        {
            "tracking_id": _text("Of the parcel."),
            "current": _or_null(ref("Current")),
            "updates": _list_of(ref("Update"), "In the order in which they arrived."),
            "count": _count("How many updates this page has."),
            "next_key": _or_null(_text("The `last_key` of the next page; null on the last one.")),
        },
    ),
    "Health": _object(
        "Whether everything that the service depends on answers.",
        {
            "status": {"type": "string", "enum": ["ok", "degraded"], "description": "All in all."},
            "checks": _named(
                _object(
                    "One part.",
                    {
                        "status": {
                            "type": "string",
                            "enum": ["ok", "failing"],
                            "description": "Whether it answers.",
                        }
                    },
                    {
                        "waiting": _count("Messages that wait in a queue."),
                        "in_flight": _count("Messages that are worked on."),
                        "dead_letters": _count("Letters of the queue that wait to be buried."),
                        "last_run": _or_null(
                            _count("When the check last ran, in seconds since the Unix epoch.")
                        ),
                        "took_ms": _count("Milliseconds that it took."),
                        "found": _named({"type": "integer"}, "What it found, and how many."),
                        "not_done": _list_of({"type": "string"}, "The parts of it that failed."),
                    },
                ),
                "Each part by its name.",
            ),
        },
        {"failing": _list_of({"type": "string"}, "The parts that do not answer.")},
    ),
}
