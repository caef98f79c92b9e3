"""A ThumbHash is the one that its definition asks for, and shows the picture that it was made of."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from chalicelib.imaging.thumbhash import thumbhash
from tests import images

type Plane = npt.NDArray[np.float64]


def made(width: int, height: int, mode: str) -> Pillow.Image:
    """A picture by a formula, without symmetries, which the reference was given too."""
    pixels = bytes(
        value
        for y in range(height)
        for x in range(width)
        for value in (
            (x * x * 3 + y) % 256,
            (y * y + 5 * x) % 256,
            (x * y * 7 + x) % 256,
            255 if x < width // 2 else y * 11 % 256,
        )[: len(mode)]
    )
    return Pillow.frombytes(mode, (width, height), pixels)


@pytest.mark.parametrize(
    ("width", "height", "mode", "expected"),
    [
        (32, 24, "RGB", "ddf70515864044655567876478688897905c36c3ff"),
        (24, 32, "RGB", "dce7050d06203253764876477686789860782cd0fc"),
        (31, 7, "RGB", "d9370e1a865054767577688792bdffd158"),
        (100, 63, "RGB", "2008060c8253501866479666676660581b4067"),
        (9, 30, "RGBA", "96a7891a0a3a5063377776f687079aaa9f658678949867"),
    ],
)
def test_it_is_that_of_the_reference(width: int, height: int, mode: str, expected: str) -> None:
    """What version 0.1.1 of its inventor's JavaScript makes of the same pixels."""
    assert thumbhash(made(width, height, mode)).hex() == expected


class Decoded:
    """A hash read back by the definition's format, for the tests alone.

    Convention: ``rgba[y, x]``, 0 to 1, from the top left.
    """

    def __init__(self, body: bytes) -> None:
        head, shape = int.from_bytes(body[:3], "little"), int.from_bytes(body[3:5], "little")
        self.transparent, landscape = bool(head >> 23), bool(shape >> 15)
        most = 5 if self.transparent else 7
        across, down = (most, shape & 7) if landscape else (shape & 7, most)
        self.aspect = across / down
        self.halves = [
            half for byte in body[6 if self.transparent else 5 :] for half in (byte & 15, byte >> 4)
        ]
        planes = [
            self._plane((head & 63) / 63, (head >> 18 & 31) / 31, max(3, across), max(3, down)),
            self._plane((head >> 6 & 63) / 31.5 - 1, (shape >> 3 & 63) / 63, 3, 3),
            self._plane((head >> 12 & 63) / 31.5 - 1, (shape >> 9 & 63) / 63, 3, 3),
        ]
        alpha = np.ones((16, 16))
        if self.transparent:
            alpha = self._plane((body[5] & 15) / 15, (body[5] >> 4) / 15, 5, 5)
        brightness, yellow_blue, red_green = planes
        blue = brightness - 2 / 3 * yellow_blue
        red = (3 * brightness - blue + red_green) / 2
        self.rgba = np.stack([red, red - red_green, blue, alpha], axis=-1).clip(0, 1)
        assert self.halves in ([], [0]), "more or less in the hash than its header says"

    def _plane(self, mean: float, scale: float, across: int, down: int) -> Plane:
        places = (np.arange(16) + 0.5) / 16
        plane = np.full((16, 16), mean)
        for v in range(down):
            for u in range(across):
                if (u, v) == (0, 0) or u * down >= across * (down - v):
                    continue
                part = (self.halves.pop(0) / 7.5 - 1) * scale
                wave = np.outer(np.cos(math.pi * v * places), np.cos(math.pi * u * places))
                # A cosine transform's parts weigh twice as much as its mean, along each axis.
                plane += part * wave * (2 if u else 1) * (2 if v else 1)
        return plane


def seen(picture: Pillow.Image) -> Plane:
    """What a hash should show of a picture: 16 x 16 pixels, 0 to 1."""
    small = picture.convert("RGBA").resize((16, 16), Pillow.Resampling.BOX)
    return np.asarray(small, dtype=np.float64) / 255


colours = st.tuples(*[st.integers(0, 255)] * 3)
sides = st.integers(8, 100)


@given(sides, sides, colours)
def test_one_colour_comes_back(width: int, height: int, colour: tuple[int, int, int]) -> None:
    shown = Decoded(thumbhash(Pillow.new("RGB", (width, height), colour))).rgba
    # 6 bits for brightness, and for each difference of colours, which ranges from -1 to 1.
    assert np.abs(shown[..., :3] - np.array(colour) / 255).max() < 0.06
    assert (shown[..., 3] == 1).all()


@given(sides, sides)
def test_the_shape_comes_back(width: int, height: int) -> None:
    decoded = Decoded(thumbhash(Pillow.new("RGB", (width, height), "teal")))
    # As sevenths of the longer side.
    shorter = 7 * min(decoded.aspect, 1 / decoded.aspect)
    assert abs(shorter - 7 * min(width, height) / max(width, height)) <= 0.5
    assert (decoded.aspect > 1) <= (width > height)


@given(st.lists(colours, min_size=4, max_size=4), st.sampled_from([(32, 24), (20, 30), (32, 32)]))
def test_four_quarters_come_back(
    quarters: Sequence[tuple[int, ...]], size: tuple[int, int]
) -> None:
    """Sharp edges are beyond a few frequencies; the middle of each quarter is not."""
    picture = Pillow.new("RGB", (2, 2))
    picture.putdata(list(quarters))
    picture = picture.resize(size, Pillow.Resampling.BILINEAR)
    shown, meant = Decoded(thumbhash(picture)).rgba, seen(picture)
    assert np.abs(shown - meant)[..., :3].mean() < 0.08


@given(st.integers(1, 31), st.integers(0, 254))
def test_what_is_transparent_comes_back(column: int, opacity: int) -> None:
    picture = Pillow.new("RGBA", (32, 24), (200, 40, 90, 255))
    picture.paste((200, 40, 90, opacity), (column, 0, 32, 24))
    decoded = Decoded(thumbhash(picture))
    assert decoded.transparent
    assert np.abs(decoded.rgba[..., 3] - seen(picture)[..., 3]).mean() < 0.12


def test_what_nobody_sees_has_no_colour() -> None:
    """An editor leaves any colour where it is transparent."""
    picture = Pillow.new("RGBA", (20, 20), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 10, 20))
    assert np.abs(Decoded(thumbhash(picture)).rgba[..., 0]).max() < 0.06


@pytest.mark.parametrize("colour", ["white", "black", "teal", (0, 0, 0, 0)])
def test_a_flat_picture_has_no_parts_of_chance(colour: str | tuple[int, ...]) -> None:
    mode = "RGB" if isinstance(colour, str) else "RGBA"
    for size in ((10, 10), (31, 7), (100, 99)):
        body = thumbhash(Pillow.new(mode, size, colour))
        halves = [half for byte in body[5 + (mode == "RGBA") :] for half in (byte & 15, byte >> 4)]
        assert set(halves) <= {8, 0}
        assert halves.count(0) <= 1


def test_it_has_25_bytes_at_most() -> None:
    assert max(len(thumbhash(made(w, h, m))) for w in (1, 16, 99) for h in (1, 16, 99)
               for m in ("RGB", "RGBA")) <= 25  # fmt: skip


def test_a_picture_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="101 x 2 pixels"):
        thumbhash(images.marker(101, 2))
