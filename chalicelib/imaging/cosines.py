"""The low end of the discrete cosine transform, of pictures so small that numpy is not worth its
import: 60 ms, where this takes a millisecond.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

# Sides of small pictures: a few, again and again.
_KEPT_TABLES = 64


def low_frequencies(
    rows: Sequence[Sequence[float]], across: int, down: int
) -> list[tuple[float, ...]]:
    """How much of each low frequency is in a picture (DCT-II, not normalised).

    Convention: ``rows[y][x]``, from the top left.

    Args:
        rows: The picture, one channel.
        across: How many frequencies along x, from 0 on.
        down: Likewise, along y.

    Returns:
        ``[v][u]``: the mean of the pixels times cos(pi u (x + 1/2) / width) times
        cos(pi v (y + 1/2) / height).
    """
    height, width = len(rows), len(rows[0])
    horizontal = _cosines(width, across)
    along = [[math.sumprod(row, wave) for wave in horizontal] for row in rows]
    columns = list(zip(*along, strict=True))
    scale = 1 / (width * height)
    return [
        tuple(math.sumprod(column, wave) * scale for column in columns)
        for wave in _cosines(height, down)
    ]


@lru_cache(maxsize=_KEPT_TABLES)
def _cosines(side: int, frequencies: int) -> tuple[tuple[float, ...], ...]:
    return tuple(
        tuple(math.cos(math.pi * frequency * (at + 0.5) / side) for at in range(side))
        for frequency in range(frequencies)
    )
