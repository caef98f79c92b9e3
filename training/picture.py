"""The confusion matrix as a picture: a row a class, a column an answer.

Convention: the matrix is (classes, classes) int64, truths down and answers across; a cell is as
dark as its share of its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_CELL = 26
_MARGIN = 12
_FONT_SIZE = 13
_SMALL_SIZE = 10
_INK = (32, 32, 32)
_FAINT = (228, 228, 228)
_PAPER = (255, 255, 255)
# What a cell of the whole row is filled with, where the answer is right and where it is wrong.
_RIGHT, _WRONG = (31, 119, 80), (178, 48, 32)


def draw_confusion(matrix: NDArray[np.int64], labels: Sequence[str]) -> Image.Image:
    """Draw the matrix with its labels and the counts of its cells."""
    font = ImageFont.load_default(_FONT_SIZE)
    small = ImageFont.load_default(_SMALL_SIZE)
    names = round(max(font.getlength(label) for label in labels)) + _MARGIN
    left, top = names + _MARGIN + _FONT_SIZE + 8, names + _MARGIN + _FONT_SIZE + 8
    side = _CELL * len(labels)
    picture = Image.new("RGB", (left + side + _MARGIN, top + side + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((left + side / 2, _MARGIN), "answer", _INK, font, anchor="ma")
    picture.paste(_upwards("class", font), (_MARGIN, top + side // 2 - 20))
    totals = np.maximum(matrix.sum(axis=1), 1)
    for row, label in enumerate(labels):
        middle = top + _CELL * row + _CELL / 2
        pen.text((left - 6, middle), label, _INK, font, anchor="rm")
        name = _upwards(label, font)
        x = left + _CELL * row + (_CELL - name.width) // 2
        picture.paste(name, (x, top - 6 - name.height))
        for column in range(len(labels)):
            share = float(matrix[row, column] / totals[row])
            _draw_cell(
                pen,
                (left + _CELL * column, top + _CELL * row),
                count=int(matrix[row, column]),
                # Few wrong answers have to be seen too.
                shade=share if row == column else min(1.0, share * 3),
                colour=_RIGHT if row == column else _WRONG,
                font=small,
            )
    return picture


def write_confusion(matrix: NDArray[np.int64], labels: Sequence[str], path: Path) -> None:
    """Write the picture as a small PNG.

    Raises:
        OSError: it cannot be written.
    """
    draw_confusion(matrix, labels).quantize(256).save(path, optimize=True)


def _draw_cell(
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int],
    *,
    count: int,
    shade: float,
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    x, y = place
    fill = tuple(
        round(paper + (ink - paper) * shade) for paper, ink in zip(_PAPER, colour, strict=True)
    )
    pen.rectangle((x, y, x + _CELL, y + _CELL), fill=fill, outline=_FAINT)
    if count:
        ink = _PAPER if shade > 0.5 else _INK
        pen.text((x + _CELL / 2 + 0.5, y + _CELL / 2), str(count), ink, font, anchor="mm")


def _upwards(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Image.Image:
    """The text as a picture that is read from below."""
    _, _, right, bottom = font.getbbox(text)
    line = Image.new("RGB", (round(right) + 2, round(bottom) + 3), _PAPER)
    ImageDraw.Draw(line).text((0, 0), text, _INK, font)
    return line.transpose(Image.Transpose.ROTATE_90)
