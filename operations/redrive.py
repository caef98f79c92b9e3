"""Dead letters: list them, or send them back: ``make redrive QUEUE=name ID=…``.

Without ``ID`` they are listed, without ``QUEUE`` those of all queues. What failed and would fail
again is buried again, as a new letter: put right what was wrong first. It may be stopped and
started again at any time.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout

from rich.console import Console
from rich.table import Table

from chalicelib.clock import now_ms
from chalicelib.dead_letters import STEPS, DeadLetters, Letter, Outcome
from chalicelib.errors import DarkroomError
from local.errors import StartFailed
from local.places import read_port
from operations.stage import UnknownStage, container_of

_SECOND_MS, _MINUTE_MS, _HOUR_MS, _DAY_MS = 1000, 60_000, 3_600_000, 86_400_000


class WrongChoice(Exception):
    """What was asked for does not exist; the text says what does."""


def step_of(queue: str) -> str | None:
    """The step that a queue's letters are archived under, None for all queues.

    Args:
        queue: One of `chalicelib.dead_letters.STEPS`, or nothing.

    Raises:
        WrongChoice: There is no such queue.
    """
    if queue and queue not in STEPS:
        raise WrongChoice(f"There is no queue {queue!r} of letters; it is {', '.join(STEPS)}.")
    return STEPS[queue] if queue else None


def chosen(letters: Iterable[Letter], ids: str) -> Iterator[Letter]:
    """The letters that were named: ``all``, or message ids with commas between.

    Raises:
        WrongChoice: There is no letter of one of the ids.
    """
    wanted = {word.strip() for word in ids.split(",")} - {""}
    everything = wanted == {"all"}
    for letter in letters:
        if everything or letter.message_id in wanted:
            wanted.discard(letter.message_id)
            yield letter
    if wanted and not everything:
        raise WrongChoice(f"There is no letter with the id {', '.join(sorted(wanted))}.")


def send_back(dead_letters: DeadLetters, letters: Iterable[Letter]) -> Iterator[Outcome]:
    """Send letters back one after the other; what became of each.

    Raises:
        ServiceUnavailable: AWS does not answer as it should; those before were sent.
    """
    for letter in letters:
        # What a function writes for CloudWatch is no part of what a command says.
        with redirect_stdout(sys.stderr):
            outcome = dead_letters.send_back(letter)
        yield outcome


def age(milliseconds: int) -> str:
    """A length of time in its largest unit: ``3 h``."""
    for unit, length in (("d", _DAY_MS), ("h", _HOUR_MS), ("min", _MINUTE_MS)):
        if milliseconds >= length:
            return f"{milliseconds // length} {unit}"
    return f"{max(milliseconds, 0) // _SECOND_MS} s"


def table_of(letters: Iterable[Letter], *, now: int) -> Table:
    """Letters, the oldest first."""
    table = Table("message id", "queue", "age", "about", "reason", box=None)
    for letter in sorted(letters, key=lambda letter: letter.buried_at_ms):
        table.add_row(
            letter.message_id,
            letter.queue,
            # One that nobody can read does not say when.
            age(now - letter.buried_at_ms) if letter.buried_at_ms else "-",
            letter.about or "-",
            letter.reason.code if letter.reason else "-",
        )
    return table


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    queues = f"{', '.join(STEPS)}; or nothing, for all of them"
    parser.add_argument("queue", nargs="?", default="", help=queues)
    parser.add_argument("--id", default="", help="message ids with commas between, or all")
    parser.add_argument("--stage", default="local")
    parser.add_argument("--aws-port", default="")
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        # A table in a file or a pipe need not be folded.
        console.width = 160
    counts: Counter[Outcome] = Counter()
    try:
        step = step_of(arguments.queue)
        port = read_port(arguments.aws_port, "AWS_PORT", 4566)
        dead_letters = container_of(arguments.stage, aws_port=port).letters
        letters = dead_letters.all_of(step)
        if not arguments.id:
            table = table_of(letters, now=now_ms())
            console.print(table if table.row_count else "There are no dead letters.")
            return 0
        for outcome in send_back(dead_letters, chosen(letters, arguments.id)):
            counts[outcome] += 1
    except KeyboardInterrupt:
        console.print("Stopped; the same command goes on.")
        return 130
    except (UnknownStage, StartFailed, WrongChoice, DarkroomError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"Error: {error}", markup=False)
        return 1
    finally:
        for outcome, count in counts.items():
            console.print(f"{count} {outcome}.")
    return 1 if {Outcome.UNREADABLE, Outcome.FAILED} & set(counts) else 0


if __name__ == "__main__":
    sys.exit(main())
