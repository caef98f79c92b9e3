"""The books of the soak see what is wrong with them."""

from dataclasses import replace

import pytest

from chalicelib.images import Image, Status
from tests.chaos.ledger import Ledger
from tests.unit.pipeline.world import World


def books() -> tuple[Ledger, Image, list[str]]:
    """Of a run with one image that went all the way."""
    world = World()
    row = world.row(world.completed())
    keys = [*world.renditions.objects, *world.uploads.objects]
    return Ledger(sent={row.image_id: True}), row, keys


def test_books_that_balance_are_silent() -> None:
    ledger, row, keys = books()
    for status in (Status.QUEUED, Status.PREPROCESSED, Status.COMPLETED, Status.COMPLETED):
        ledger.see(row.image_id, 1, status)
    assert ledger.disagreements([row], keys) == []


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("lost", "lost"),
        ("ghost", "nobody sent it"),
        ("stuck", "not ended"),
        ("blamed", "with the reason"),
        ("no object", "told of and not there"),
        ("orphan", "there and not told of"),
        ("twice", "results more than once"),
        ("back", "went from"),
        ("poison", "a bad file is completed"),
    ],
)
def test_whatever_is_wrong_is_told(what: str, told: str) -> None:
    ledger, row, keys = books()
    rows = [row]
    match what:
        case "lost":
            rows = []
        case "ghost":
            ledger.sent.clear()
        case "stuck":
            rows = [replace(row, status=Status.INFERENCING)]
        case "blamed":
            rows = [replace(row, status=Status.INFERENCE_FAILED)]
        case "no object":
            keys.remove(row.results_key or "")
        case "orphan":
            keys.append(f"formats/{row.image_id}/x.webp")
        case "twice":
            keys.append(f"results/{row.image_id}/{row.generation}/other@1.json")
        case "back":
            ledger.see(row.image_id, 1, Status.COMPLETED)
            ledger.see(row.image_id, 1, Status.QUEUED)
        case "poison":
            ledger.sent[row.image_id] = False
    assert any(told in line for line in ledger.disagreements(rows, keys))
