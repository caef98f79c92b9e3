"""What was given up, kept where it can be looked at and sent again: docs/adr/0001."""

from collections.abc import Mapping
from typing import Any

import msgspec

from chalicelib.aws.object_store import ObjectStore
from chalicelib.clock import now_ms
from chalicelib.images import Failure
from chalicelib.messages import dead_letter_key


def keep(
    archive: ObjectStore,
    *,
    step: str,
    letter_id: str,
    body: Any,
    reason: Failure | None,
    **about: Any,
) -> None:
    """Archive a letter; the same one always in the same place.

    Args:
        archive: The bucket.
        step: What could not be done with it.
        letter_id: The id that its source gave it.
        body: The letter.
        reason: Why it was given up, if that is known.
        about: What else is known of it.

    Raises:
        ServiceUnavailable: S3 does not answer as it should.
    """
    document: Mapping[str, Any] = {
        "step": step,
        "message_id": letter_id,
        "body": body,
        "buried_at_ms": now_ms(),
        "reason": reason,
        **about,
    }
    archive.put(
        dead_letter_key(step, letter_id),
        msgspec.json.encode(document, enc_hook=str),
        content_type="application/json",
    )
