"""Rounds in which every contender has its turn, so that a noisy machine disturbs all alike."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.inference.contenders import Contender
from benchmarks.inference.figures import Row, check_agreement, row_of
from benchmarks.inference.load import Slice

# How far the probability of the best class may be off between two decoders of one photo.
DECODER_TOLERANCE = 0.1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a contest found.

    Attributes:
        rows: In the order of the loads, and in each in the order of the contenders.
        slices: All rounds of a contender under a load.
    """

    rows: list[Row]
    slices: Mapping[tuple[str, int], list[Slice]]


def contest(
    contenders: Sequence[Contender],
    *,
    loads: Sequence[int],
    rounds: int,
    seconds: float,
    tolerance: float,
    progress: Callable[[str], None],
) -> Outcome:
    """Start all, compare their answers, let them run in turns, end all.

    Args:
        contenders: The first is the one whose answers the others are compared with.
        loads: Photos at a time.
        rounds: Turns of each contender under each load.
        seconds: Length of a turn.
        tolerance: See `figures.check_agreement`.
        progress: Told what happens.

    Raises:
        StartFailed: A contender does not come up.
        Disagreement: They do not answer the same.
    """
    with ExitStack() as started:
        answers: dict[str, Mapping[str, Any]] = {}
        for contender in contenders:
            progress(f"starting {contender.name}")
            started.callback(contender.end)
            contender.start()
            answers[contender.name] = contender.answers()
        check_agreement(answers, tolerance=tolerance)
        turns = [(contender, load) for load in loads for contender in contenders]
        for contender, load in turns:
            progress(f"warming up {contender.name}")
            contender.run(load, seconds)
        slices: dict[tuple[str, int], list[Slice]] = {
            (contender.name, load): [] for contender, load in turns
        }
        for number in range(rounds):
            # Every other round backwards: who comes after whom must not matter.
            for contender, load in turns[:: 1 if number % 2 == 0 else -1]:
                progress(f"round {number + 1} of {rounds}: {contender.name}, {load} at a time")
                slices[contender.name, load].append(contender.run(load, seconds))
        memory: dict[tuple[str, int], float] = {}
        for contender, load in turns:
            progress(f"memory of {contender.name}")
            memory[contender.name, load] = contender.memory_mb(load, seconds)
    rows = [
        row_of(contender.name, load, slices[contender.name, load], memory[contender.name, load])
        for contender, load in turns
    ]
    return Outcome(rows=rows, slices=slices)
