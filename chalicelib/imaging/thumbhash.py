"""ThumbHash: a picture in 5 to 25 bytes, to be shown until the picture itself is there.

By the definition of its inventor, Evan Wallace: https://evanw.github.io/thumbhash/ and the format
that is written down in https://github.com/evanw/thumbhash.
"""

import math
from collections.abc import Sequence

from PIL import Image as Pillow

from chalicelib.imaging.cosines import low_frequencies

# Frequencies of brightness along the longer side; fewer where a hash has to hold opacity too.
_BRIGHTNESS, _BRIGHTNESS_BESIDE_ALPHA = 7, 5
_COLOUR, _ALPHA = 3, 5
# Of either side, however narrow the picture is.
_LEAST = 3
_MAX_SIDE = 100
# What sums of floats leave of nothing; scaled up, a flat picture's hash would be of chance.
_NOISE = 1e-9

type Rows = Sequence[Sequence[float]]


def thumbhash(picture: Pillow.Image) -> bytes:
    """The ThumbHash of a small picture.

    Args:
        picture: Of mode RGB or RGBA, colours not multiplied by alpha, at most 100 pixels a side.
            Below 8 a side the definition finds frequencies that are not there.

    Raises:
        ValueError: It is larger.
    """
    width, height = picture.size
    if max(width, height) > _MAX_SIDE:
        raise ValueError(f"{width} x {height} pixels are more than {_MAX_SIDE} a side")
    red, green, blue, alpha = _channels(picture)
    transparent = sum(map(sum, alpha)) < width * height
    longest = max(width, height)
    most = _BRIGHTNESS_BESIDE_ALPHA if transparent else _BRIGHTNESS
    across, down = (max(1, _rounded(most * side / longest)) for side in (width, height))

    channels = (red, green, blue)
    brightness = _mixed(channels, (1 / 3, 1 / 3, 1 / 3))
    yellow_blue = _mixed(channels, (1 / 2, 1 / 2, -1))
    red_green = _mixed(channels, (1, -1, 0))
    l_mean, l_parts, l_scale = _parts(brightness, max(_LEAST, across), max(_LEAST, down))
    p_mean, p_parts, p_scale = _parts(yellow_blue, _COLOUR, _COLOUR)
    q_mean, q_parts, q_scale = _parts(red_green, _COLOUR, _COLOUR)

    landscape = width > height
    head = (
        _rounded(63 * l_mean)
        | _rounded(31.5 + 31.5 * p_mean) << 6
        | _rounded(31.5 + 31.5 * q_mean) << 12
        | _rounded(31 * l_scale) << 18
        | transparent << 23
    )
    shape = (
        (down if landscape else across)
        | _rounded(63 * p_scale) << 3
        | _rounded(63 * q_scale) << 9
        | landscape << 15
    )
    written = head.to_bytes(3, "little") + shape.to_bytes(2, "little")
    parts = [*l_parts, *p_parts, *q_parts]
    if transparent:
        a_mean, a_parts, a_scale = _parts(alpha, _ALPHA, _ALPHA)
        written += bytes([_rounded(15 * a_mean) | _rounded(15 * a_scale) << 4])
        parts += a_parts
    halves = [_rounded(15 * part) for part in parts]
    if len(halves) % 2:
        halves.append(0)
    packed = (low | high << 4 for low, high in zip(halves[::2], halves[1::2], strict=True))
    return written + bytes(packed)


def _channels(picture: Pillow.Image) -> tuple[Rows, Rows, Rows, Rows]:
    """Red, green, blue and alpha, 0 to 1, with what is transparent in the average colour."""
    width, height = picture.size
    red, green, blue, alpha = (
        [value / 255 for value in band.tobytes()] for band in picture.convert("RGBA").split()
    )
    opacity = sum(alpha)

    def solid(band: Sequence[float]) -> Rows:
        if opacity == len(band):
            return _rows(band, width, height)
        mean = sum(c * a for c, a in zip(band, alpha, strict=True)) / opacity if opacity else 0.0
        filled = [mean * (1 - a) + c * a for c, a in zip(band, alpha, strict=True)]
        return _rows(filled, width, height)

    return solid(red), solid(green), solid(blue), _rows(alpha, width, height)


def _rows(band: Sequence[float], width: int, height: int) -> Rows:
    return [band[y * width : (y + 1) * width] for y in range(height)]


def _mixed(channels: tuple[Rows, Rows, Rows], weights: tuple[float, float, float]) -> Rows:
    by_red, by_green, by_blue = weights
    return [
        [by_red * r + by_green * g + by_blue * b for r, g, b in zip(*rows, strict=True)]
        for rows in zip(*channels, strict=True)
    ]


def _parts(rows: Rows, across: int, down: int) -> tuple[float, list[float], float]:
    """The mean, the other low frequencies, each 0 to 1 around 1/2, and what they were divided by.

    Only the corner of the lowest ones is kept: those below the line between the two highest.
    """
    found = low_frequencies(rows, across, down)
    kept = [
        found[v][u] for v in range(down) for u in range(across) if u * down < across * (down - v)
    ]
    mean, *others = kept
    scale = max(map(abs, others), default=0.0)
    if scale < _NOISE:
        return mean, [0.5] * len(others), 0.0
    return mean, [0.5 + 0.5 * part / scale for part in others], scale


def _rounded(value: float) -> int:
    """To the nearest whole number, halves up, as the definition's language does."""
    return math.floor(value + 0.5)
