"""``GET /dead-letters`` and ``POST /dead-letters/redrive``: what was given up, and its way back."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from chalicelib.api import exact
from chalicelib.api.cursors import Cursors
from chalicelib.api.http import Answer, Request
from chalicelib.api.schemas import DEAD_LETTERS_QUERY, MAX_REDRIVEN, REDRIVE
from chalicelib.api.validation import check, refuse
from chalicelib.dead_letters import DeadLetters, Letter
from chalicelib.errors import UnsupportedMediaType

DEFAULT_PAGE = 25


@dataclass(frozen=True, kw_only=True)
class DeadLettersApi:
    """The routes under ``/dead-letters``.

    Args:
        letters: What was archived.
        cursors: Of its pages.
    """

    letters: DeadLetters
    cursors: Cursors

    def list_letters(self, request: Request) -> Answer:
        """``GET /dead-letters``: a page of letters, by step and message id; never their bodies.

        Raises:
            InvalidRequest: A parameter is wrong.
            InvalidCursor: The cursor was altered or belongs to another list.
            ServiceUnavailable: S3 does not answer as it should.
        """
        query: dict[str, Any] = dict(request.query)
        limit = query.get("limit", str(DEFAULT_PAGE))
        query["limit"] = int(limit) if limit.isascii() and limit.isdecimal() else limit
        check(query, DEAD_LETTERS_QUERY)
        step = query.get("step")
        letters, next_cursor = self._page(step, query.get("cursor"), query["limit"])
        items = [_shown(letter) for letter in letters]
        return Answer(status=200, body={"items": items, "next_cursor": next_cursor})

    def redrive(self, request: Request) -> Answer:
        """``POST /dead-letters/redrive``: send back the letters that are named, or a page of all.

        May be asked again at any time: a letter counts once.

        Raises:
            InvalidRequest: A field is wrong.
            InvalidCursor: The cursor was altered or belongs to another step.
            UnsupportedMediaType: The body is declared as something else than JSON.
            ServiceUnavailable: AWS does not answer as it should; those before were sent.
        """
        if request.content_type not in {"", "application/json"}:
            raise UnsupportedMediaType(
                f"The body must be JSON (application/json), not {request.content_type!r}."
            )
        body = exact.read_object(request.body)
        check(body, REDRIVE)
        ids = body.get("message_ids", [])
        if not all(isinstance(message_id, str) for message_id in ids):
            rule = REDRIVE["properties"]["message_ids"]["description"]
            refuse([("message_ids", f"must be {rule}")])
        step, next_cursor = body["step"], None
        results: list[dict[str, Any]] = []
        if "message_ids" in body:
            for message_id in dict.fromkeys(ids):
                letter = self.letters.find(step, message_id)
                results.append(
                    {"message_id": message_id, "outcome": "missing"}
                    if letter is None
                    else self._sent_back(letter)
                )
        else:
            # A page a request: each letter is some calls to AWS, and a request has 29 seconds.
            letters, next_cursor = self._page(step, body.get("cursor"), MAX_REDRIVEN)
            results = [self._sent_back(letter) for letter in letters]
        return Answer(status=200, body={"items": results, "next_cursor": next_cursor})

    def _page(
        self, step: str | None, cursor: str | None, limit: int
    ) -> tuple[list[Letter], str | None]:
        scope = f"dead-letters?step={step or ''}"
        after = None if cursor is None else self.cursors.open(scope, cursor)
        # One more: whether there is a next page.
        found = self.letters.all_of(step, after=after)
        page = list(islice(found, limit))
        more = next(iter(found), None) is not None
        return page, self.cursors.seal(scope, page[-1].key) if more else None

    def _sent_back(self, letter: Letter) -> dict[str, Any]:
        outcome = self.letters.send_back(letter)
        return {"message_id": letter.message_id, "outcome": outcome.name.lower()}


def _shown(letter: Letter) -> dict[str, Any]:
    """A letter without its body, which may tell an address."""
    return dict(_fields(letter))


def _fields(letter: Letter) -> Iterator[tuple[str, Any]]:
    yield "step", letter.step
    yield "message_id", letter.message_id
    yield "buried_at", letter.buried_at_ms // 1000
    for name in ("image_id", "tracking_id"):
        if getattr(letter, name) is not None:
            yield name, getattr(letter, name)
    if letter.reason is not None:
        yield "reason", {"code": letter.reason.code, "message": letter.reason.message}
