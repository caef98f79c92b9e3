"""Dead letters of a stage: straight from its bucket, for the API has no route for them."""

import importlib
import importlib.util
import json
from typing import Any

from chalicelib.aws.clients import translated
from chalicelib.container import Container
from darkroom_cli.problems import Problem

_PREFIX = "dead-letters/"


def listed(container: Container, step: str | None) -> list[dict[str, Any]]:
    """The archived letters, the oldest first.

    Raises:
        ServiceUnavailable: S3 does not answer as it should.
    """
    s3, bucket = container.clients.s3, container.settings.uploads_bucket
    prefix = _PREFIX if step is None else f"{_PREFIX}{step}/"
    letters: list[dict[str, Any]] = []
    with translated():
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", []):
                body = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
                try:
                    letter = json.loads(body)
                except ValueError:
                    letter = {}
                known = letter if isinstance(letter, dict) else {}
                buried = int(entry["LastModified"].timestamp() * 1000)
                letters.append(
                    {
                        "step": entry["Key"].removeprefix(_PREFIX).split("/", 1)[0],
                        "key": entry["Key"],
                        "buried_at_ms": known.get("buried_at_ms", buried),
                        "message_id": known.get("message_id"),
                        "about": known.get("image_id") or known.get("tracking_id"),
                        "reason": (known.get("reason") or {}).get("code"),
                    }
                )
    return sorted(letters, key=lambda letter: letter["buried_at_ms"])


def sent_back(container: Container, step: str, ids: str) -> dict[str, int]:
    """Send letters back to their step; how many came to which outcome.

    Raises:
        Problem: This Darkroom cannot send them back, or there is no such step or letter.
    """
    if importlib.util.find_spec("operations.redrive") is None:
        raise Problem(
            "This version cannot send dead letters back; it has no operations/redrive.py."
        )
    redrive: Any = importlib.import_module("operations.redrive")
    if step not in redrive.STEPS:
        raise Problem(f"There is no step {step!r}; there are {', '.join(redrive.STEPS)}.")
    letters = redrive.dead_letters_of(container)
    counts: dict[str, int] = {}
    try:
        chosen = redrive.chosen(letters.all_of(redrive.STEPS[step]), ids)
        for outcome in redrive.send_back(letters, chosen):
            counts[str(outcome)] = counts.get(str(outcome), 0) + 1
    except redrive.WrongChoice as wrong:
        raise Problem(str(wrong)) from None
    return counts
