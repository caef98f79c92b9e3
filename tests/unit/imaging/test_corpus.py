"""Hundreds of odd, hostile and broken files from public repositories.

Which of them are images, which are none, and which may be either is judged by
what three decoders say of them; ``index.csv`` tells.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from chalicelib.errors import ImageRejected
from chalicelib.imaging.decode import Decoder, Header
from chalicelib.imaging.limits import Limits

DECODER = Decoder(Limits(max_bytes=50 * 1024 * 1024, max_pixels=64_000_000, max_side=30_000))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one file. ``code`` of its rejection; ``escaped`` is any other exception."""

    row: Mapping[str, str]
    header: Header | None = None
    thumbnail: npt.NDArray[np.float64] | None = None
    leftovers: Mapping[Any, Any] | None = None
    code: str | None = None
    escaped: str | None = None

    def __str__(self) -> str:
        return f"{self.row['file']}: {self.code or self.escaped or 'taken'} ({self.row['why']})"


def verdict(row: Mapping[str, str], body: bytes) -> Verdict:
    try:
        header = DECODER.header(body)
        size = header.scaled(256 / min(header.width, header.height))
        picture = DECODER.picture(body, size=size)
    except ImageRejected as error:
        return Verdict(row=row, code=error.code)
    except BaseException as error:  # noqa: BLE001 # that nothing else escapes is what is tested
        return Verdict(row=row, escaped=repr(error))
    assert picture.mode == "RGB"
    thumbnail = np.asarray(picture.resize((64, 64)), np.float64)
    return Verdict(row=row, header=header, thumbnail=thumbnail, leftovers=dict(picture.info))


@pytest.fixture(scope="module")
def verdicts(shared: Path) -> Mapping[str, Verdict]:
    """By file name."""
    corpus = shared / "corpus"
    with (corpus / "index.csv").open(encoding="utf-8", newline="") as index:
        rows = list(csv.DictReader(index))
    return {
        row["file"]: verdict(row, (corpus / "files" / row["file"]).read_bytes()) for row in rows
    }


def of_class(verdicts: Mapping[str, Verdict], expected: str) -> list[Verdict]:
    found = [one for one in verdicts.values() if one.row["expected"] == expected]
    assert found, f"no file is {expected}"
    return found


def test_every_valid_image_is_taken(verdicts: Mapping[str, Verdict]) -> None:
    assert [str(one) for one in of_class(verdicts, "valid") if one.thumbnail is None] == []


def test_every_file_that_no_decoder_takes_is_refused(verdicts: Mapping[str, Verdict]) -> None:
    assert [str(one) for one in of_class(verdicts, "must-reject") if one.code is None] == []


def test_files_that_decoders_disagree_on_are_taken_or_refused(
    verdicts: Mapping[str, Verdict],
) -> None:
    undecided = of_class(verdicts, "either")
    assert [str(one) for one in undecided if (one.code is None) == (one.thumbnail is None)] == []


def test_nothing_but_a_rejection_escapes(verdicts: Mapping[str, Verdict]) -> None:
    assert [str(one) for one in verdicts.values() if one.escaped is not None] == []


def test_nothing_of_any_file_is_left_but_its_pixels(verdicts: Mapping[str, Verdict]) -> None:
    assert [str(one) for one in verdicts.values() if one.leftovers] == []


def test_every_size_is_told_upright(verdicts: Mapping[str, Verdict]) -> None:
    wrong = [
        f"{one}: {one.header}"
        for one in verdicts.values()
        if one.header is not None
        and one.row["upright_width"]
        and (one.header.width, one.header.height)
        != (int(one.row["upright_width"]), int(one.row["upright_height"]))
    ]
    assert wrong == []


def test_every_turned_image_comes_out_as_its_upright_reference(
    verdicts: Mapping[str, Verdict],
) -> None:
    turned = [one for one in verdicts.values() if one.row["upright_ref"]]
    assert turned
    wrong = []
    for one in turned:
        reference = verdicts[one.row["upright_ref"]].thumbnail
        assert reference is not None
        assert one.thumbnail is not None
        difference = float(np.abs(one.thumbnail - reference).mean())
        if difference > float(one.row["upright_max_mae"]):
            wrong.append(f"{one}: {difference:.2f}")
    assert wrong == []
