"""What the fuzzer found worth keeping, on every run: files that reach a part of the decoder each.

They are made by the fuzzer out of `seeds.py` alone, and of everything that it made those are kept
that together reach all that it reached, as far as they are small.
"""

from pathlib import Path

import pytest

from tests.fuzz.seeds import seeds
from tests.fuzz.target import taken

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())
SEEDS = seeds()
# They only look valid: their ends are missing.
BROKEN = {name for name in SEEDS if name.endswith("-cut")}


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_a_file_that_was_found_is_taken_or_refused_and_nothing_else(path: Path) -> None:
    taken(path.read_bytes())


def test_the_files_that_were_found_are_of_both_kinds_and_small() -> None:
    assert len(CORPUS) > 50
    assert sum(path.stat().st_size for path in CORPUS) < 60_000
    ends = [taken(path.read_bytes()) for path in CORPUS]
    assert 0.1 < sum(ends) / len(ends) < 0.9


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_what_the_fuzzer_starts_from_is_an_image_unless_it_was_cut(name: str) -> None:
    assert taken(SEEDS[name]) == (name not in BROKEN)
