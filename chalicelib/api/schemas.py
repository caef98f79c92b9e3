"""The JSON Schemas of what clients send: the one source of what is checked and documented.

JSON Schema 2020-12, in words that draft 4 has too, because API Gateway's models are of that draft.
``description`` completes the sentence "... must be", which is what a client reads.
"""

from collections.abc import Mapping
from typing import Any

from chalicelib.dead_letters import STEPS

type Schema = Mapping[str, Any]

MAX_UPDATES = 100
# Seconds in place of milliseconds would be below, microseconds above: the years 2001 to 5138.
MIN_TIME_MS = 10**12
MAX_TIME_MS = 10**14

# No control characters, and none that ends a line: they have no business in a log or a mail.
PRINTABLE = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]+$"
# What a browser's <input type=email> takes (HTML Living Standard, 4.10.5.1.5), with a dot in it.
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
EMAIL = rf"^[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(\.{_LABEL})+$"

TRACKING_ID: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 100,
    "pattern": PRINTABLE,
    "description": "a text of 1 to 100 printable characters",
}

LOCATION: Schema = {
    "type": "object",
    "description": "an object of lat and lng",
    "properties": {
        "lat": {
            "type": "number",
            "minimum": -90,
            "maximum": 90,
            "description": "a number from -90 to 90, of at most 38 digits",
        },
        "lng": {
            "type": "number",
            "minimum": -180,
            "maximum": 180,
            "description": "a number from -180 to 180, of at most 38 digits",
        },
    },
    "required": ["lat", "lng"],
    "additionalProperties": False,
}

# POST /track.
TRACKING_UPDATE: Schema = {
    "type": "object",
    "description": "a JSON object",
    "properties": {
        "tracking_id": TRACKING_ID,
        "status": {
            "type": "string",
            "enum": ["pending", "in_transit", "delivered", "failed"],
            "description": "one of pending, in_transit, delivered, failed",
        },
        "location": LOCATION,
        "occurred_at": {
            "type": ["integer", "null"],
            "minimum": MIN_TIME_MS,
            "maximum": MAX_TIME_MS,
            "description": "a time in whole milliseconds since the Unix epoch",
        },
        "metadata": {
            "type": ["object", "null"],
            "description": "an object of at most 2048 bytes as JSON and 5 levels, without empty "
            "names and with numbers of at most 38 digits",
        },
        "image_id": {
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": 100,
            "description": "the id of an image",
        },
        "notify_email": {
            "type": ["string", "null"],
            "maxLength": 254,
            "pattern": EMAIL,
            "description": "an e-mail address such as someone@example.com",
        },
    },
    "required": ["tracking_id", "status", "location"],
    "additionalProperties": False,
}

# POST /track with the flag `batch_processing`. Each update is checked by itself, so that one that
# is wrong does not take the others with it.
TRACKING_BATCH: Schema = {
    "type": "object",
    "description": "a JSON object",
    "properties": {
        "updates": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_UPDATES,
            "description": f"a list of 1 to {MAX_UPDATES} updates",
        }
    },
    "required": ["updates"],
    "additionalProperties": False,
}

# GET /status, its query as JSON data.
STATUS_QUERY: Schema = {
    "type": "object",
    "description": "a query",
    "properties": {
        "tracking_id": TRACKING_ID,
        "limit": {
            "type": "integer",
            "minimum": 1,
            "maximum": 100,
            "description": "a whole number from 1 to 100",
        },
        "last_key": {"type": "string", "description": "the next_key of the page before"},
    },
    "required": ["tracking_id"],
}

_STEPS = tuple(STEPS.values())
MAX_REDRIVEN = 25

# GET /dead-letters.
DEAD_LETTERS_QUERY: Schema = {
    "type": "object",
    "description": "a query",
    "properties": {
        "step": {
            "type": "string",
            "enum": list(_STEPS),
            "description": f"one of {', '.join(_STEPS)}",
        },
        "limit": {
            "type": "integer",
            "minimum": 1,
            "maximum": 100,
            "description": "a whole number from 1 to 100",
        },
        "cursor": {"type": "string", "description": "the next_cursor of the page before"},
    },
}

# POST /dead-letters/redrive.
REDRIVE: Schema = {
    "type": "object",
    "description": "a JSON object",
    "properties": {
        "step": DEAD_LETTERS_QUERY["properties"]["step"],
        "message_ids": {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "maxItems": MAX_REDRIVEN,
            "description": f"a list of 1 to {MAX_REDRIVEN} message ids",
        },
        "cursor": {
            "type": "string",
            "description": "the next_cursor of the answer before; without message_ids alone",
        },
    },
    "required": ["step"],
    "additionalProperties": False,
}
