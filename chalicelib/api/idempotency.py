"""`Idempotency-Key`: the same key with the same request gets the first answer again."""

import hashlib
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from chalicelib.api.http import Answer, Request
from chalicelib.aws.idempotency_table import IdempotencyTable
from chalicelib.clock import now_seconds
from chalicelib.errors import InvalidRequest, RequestError, ServiceUnavailable

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"

_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?")


@dataclass(frozen=True, kw_only=True)
class Idempotency:
    """Runs a request once for each key.

    Args:
        table: Where keys and answers are kept.
        new_id: Makes the id of what a request creates.
    """

    table: IdempotencyTable
    new_id: Callable[[], str]

    def run(self, request: Request, work: Callable[[str], Answer]) -> Answer:
        """Do the work, or give the answer that it got before.

        Args:
            request: With or without the header.
            work: Takes the id of what is created; done again with the same id after a crash.

        Raises:
            InvalidRequest: The header is not of 1 to 128 printable characters.
            IdempotencyKeyReused: The key belongs to another request.
            IdempotencyInProgress: The first request is still being worked on.
        """
        key = request.headers.get(HEADER.lower())
        if key is None:
            return work(self.new_id())
        if not _KEY.fullmatch(key):
            raise InvalidRequest(f"{HEADER} must be 1 to 128 printable ASCII characters.")
        scoped = hashlib.sha256(f"{request.method} {request.path}\n{key}".encode()).hexdigest()
        claim = self.table.claim(
            scoped, fingerprint(request), subject_id=self.new_id(), now=now_seconds()
        )
        if claim.answer is not None:
            first = json.loads(claim.answer)
            return Answer(
                status=first["status"],
                body=first["body"],
                headers={**first["headers"], REPLAYED_HEADER: "true"},
            )
        try:
            answer = work(claim.subject_id)
        except RequestError:
            # Nothing was made: a corrected request may use the key.
            self.table.release(scoped)
            raise
        except ServiceUnavailable:
            # The client is told to come again soon, and must not be told then that it is too soon.
            with suppress(ServiceUnavailable):
                self.table.end_lease(scoped)
            raise
        kept = {"status": answer.status, "body": answer.body, "headers": dict(answer.headers)}
        self.table.settle(scoped, json.dumps(kept))
        return answer


def fingerprint(request: Request) -> str:
    """A hash of everything that makes two requests the same."""
    digest = hashlib.sha256()
    for part in (request.method, request.path, request.content_type):
        digest.update(part.encode() + b"\n")
    digest.update(request.body)
    return digest.hexdigest()
