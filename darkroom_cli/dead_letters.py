"""Dead letters of a stage, straight from its bucket."""

from typing import Any

from chalicelib.container import Container
from chalicelib.dead_letters import STEPS
from darkroom_cli.problems import Problem
from operations.redrive import WrongChoice, chosen, send_back


def listed(container: Container, step: str | None) -> list[dict[str, Any]]:
    """The archived letters, the oldest first.

    Raises:
        ServiceUnavailable: S3 does not answer as it should.
    """
    letters = [
        {
            "step": letter.step,
            "key": letter.key,
            "buried_at_ms": letter.buried_at_ms,
            "message_id": letter.message_id,
            "about": letter.image_id or letter.tracking_id,
            "reason": letter.reason and letter.reason.code,
        }
        for letter in container.letters.all_of(step)
    ]
    return sorted(letters, key=lambda letter: letter["buried_at_ms"])


def sent_back(container: Container, step: str, ids: str) -> dict[str, int]:
    """Send letters back to their step; how many came to which outcome.

    Raises:
        Problem: There is no such step or letter.
        ServiceUnavailable: AWS does not answer as it should; those before were sent.
    """
    if step not in STEPS:
        raise Problem(f"There is no step {step!r}; there are {', '.join(STEPS)}.")
    counts: dict[str, int] = {}
    try:
        for outcome in send_back(
            container.letters, chosen(container.letters.all_of(STEPS[step]), ids)
        ):
            counts[str(outcome)] = counts.get(str(outcome), 0) + 1
    except WrongChoice as wrong:
        raise Problem(str(wrong)) from None
    return counts
