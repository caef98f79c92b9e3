"""The published form of events about images, for tests that hold events to it."""

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA = Path(__file__).resolve().parent.parent / "docs" / "image-event.schema.json"
_VALIDATOR = Draft202012Validator(json.loads(SCHEMA.read_text()))


def problems_of(event: Any) -> list[str]:
    """What is wrong with an event by the schema, a sentence for each."""
    return [f"{error.json_path}: {error.message}" for error in _VALIDATOR.iter_errors(event)]
