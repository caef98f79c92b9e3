"""Dead letters of a stage, straight from its bucket."""

from typing import Any

from chalicelib.clock import now_ms
from chalicelib.container import Container
from darkroom_cli.problems import Misused, Problem
from operations.redrive import WrongChoice, age, chosen, send_back, step_of


def listed(container: Container, queue: str | None) -> list[dict[str, Any]]:
    """The archived letters of a queue, or of all, the oldest first.

    Raises:
        Misused: There is no such queue.
        ServiceUnavailable: S3 does not answer as it should.
    """
    now = now_ms()
    letters = [
        {
            "queue": letter.queue,
            "message_id": letter.message_id,
            "buried_at_ms": letter.buried_at_ms,
            "age": age(now - letter.buried_at_ms) if letter.buried_at_ms else None,
            "about": letter.about,
            "reason": letter.reason and letter.reason.code,
            "key": letter.key,
        }
        for letter in container.letters.all_of(_step_of(queue or ""))
    ]
    return sorted(letters, key=lambda letter: letter["buried_at_ms"])


def sent_back(container: Container, queue: str, ids: str) -> dict[str, int]:
    """Send letters back to their queue; how many came to which outcome.

    Raises:
        Misused: There is no such queue.
        Problem: There is no such letter; those that there are were sent.
        ServiceUnavailable: AWS does not answer as it should; those before were sent.
    """
    step = _step_of(queue)
    counts: dict[str, int] = {}
    try:
        for outcome in send_back(container.letters, chosen(container.letters.all_of(step), ids)):
            counts[str(outcome)] = counts.get(str(outcome), 0) + 1
    except WrongChoice as wrong:
        raise Problem(str(wrong)) from None
    return counts


def _step_of(queue: str) -> str | None:
    try:
        return step_of(queue)
    except WrongChoice as wrong:
        raise Misused(str(wrong)) from None
