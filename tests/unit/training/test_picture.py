"""The confusion matrix as a picture; no torch needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from training.picture import draw_confusion, write_confusion

PACKAGE = Path(__file__).resolve().parents[3] / "vendor" / "darkroom_model"
LABELS = ("cat", "dog", "a longer name")


def darkness(picture: Image.Image) -> float:
    """How much ink is on it."""
    return float(255 - np.asarray(picture.convert("L"), np.float64).mean())


def test_what_is_always_right_is_green_and_what_is_always_wrong_is_red() -> None:
    right = np.asarray(draw_confusion(np.eye(3, dtype=np.int64) * 9, LABELS), np.int64)
    wrong = np.asarray(draw_confusion(np.roll(np.eye(3, dtype=np.int64), 1, 1), LABELS), np.int64)
    assert ((right[..., 1] - right[..., 0]) > 40).any()
    assert not ((right[..., 0] - right[..., 1]) > 40).any()
    assert ((wrong[..., 0] - wrong[..., 1]) > 40).any()
    assert not ((wrong[..., 1] - wrong[..., 0]) > 40).any()


def test_a_cell_is_as_dark_as_its_share_of_its_row_whatever_the_row_has() -> None:
    few = draw_confusion(np.array([[1, 1], [0, 2]]), LABELS[:2])
    many = draw_confusion(np.array([[5, 5], [0, 7]]), LABELS[:2])
    assert abs(darkness(few) - darkness(many)) < 0.5


def test_a_class_that_has_no_photos_is_drawn_too(tmp_path: Path) -> None:
    write_confusion(np.zeros((3, 3), np.int64), LABELS, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.width == picture.height


def test_the_card_shows_the_picture_that_is_packaged() -> None:
    assert "](confusion.png)" in (PACKAGE / "MODEL_CARD.md").read_text(encoding="utf-8")
    # It travels in the layer.
    assert (PACKAGE / "confusion.png").stat().st_size < 50_000
