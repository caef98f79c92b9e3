import io
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pillow

from chalicelib.imaging.scaling import decode_smaller, scaled
from tests import images

# Eight bits, two roundings, and a JPEG's own loss at quality 95.
TOLERANCE = 4.0


def opened(body: bytes) -> Pillow.Image:
    return Pillow.open(io.BytesIO(body))


def waves(width: int, height: int) -> Pillow.Image:
    """A picture with soft structure in every direction and colour."""
    y, x = np.mgrid[0:height, 0:width] / 97.0
    channels = [np.sin(x + shift) * np.cos(y - shift) for shift in (0.0, 1.0, 2.0)]
    pixels = np.stack(channels, axis=-1) * 100 + 128
    return Pillow.fromarray(pixels.astype(np.uint8))


def difference(one: Pillow.Image, other: Pillow.Image) -> float:
    pixels: npt.NDArray[np.int64] = np.asarray(one, int) - np.asarray(other, int)
    return float(np.abs(pixels).mean())


@pytest.mark.parametrize(
    ("size", "wanted", "decoded"),
    [
        # The least fraction that leaves a quarter more than is wanted; a half may be just that.
        ((1600, 1200), (320, 240), (400, 300)),
        ((1600, 1200), (321, 241), (800, 600)),
        ((1600, 1200), (640, 480), (800, 600)),
        ((1600, 1200), (641, 481), (800, 600)),
        ((1600, 1200), (800, 600), (800, 600)),
        ((1600, 1200), (801, 600), (1600, 1200)),
        ((1600, 1200), (160, 120), (200, 150)),
        ((1600, 1200), (10, 8), (200, 150)),
        ((8000, 100), (4000, 50), (4000, 50)),
    ],
)
def test_a_jpeg_is_decoded_no_larger_than_needed(
    size: tuple[int, int], wanted: tuple[int, int], decoded: tuple[int, int]
) -> None:
    image = opened(images.encoded(Pillow.new("RGB", size), "JPEG"))
    decode_smaller(image, wanted)
    image.load()
    assert image.size == decoded


@pytest.mark.parametrize("side", [1500, 1100, 800, 700, 600, 400, 300, 150, 64])
@pytest.mark.parametrize("media_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_quick_reduction_looks_like_a_careful_one(
    side: int, media_format: str, mode: str
) -> None:
    original = waves(1600, 1200).convert(mode)
    size = (side, side * 3 // 4)
    options = {"quality": 95} if media_format == "JPEG" else {}
    image = opened(images.encoded(original, media_format, **options))
    if media_format == "JPEG":
        decode_smaller(image, size)
    image.load()
    small = scaled(image, size, original=original.size)
    assert small.mode == mode
    assert difference(small, original.resize(size, Pillow.Resampling.LANCZOS)) < TOLERANCE


def test_a_picture_that_has_its_size_is_left_as_it_is() -> None:
    original = waves(300, 200)
    assert scaled(original, (300, 200), original=(300, 200)) == original


def test_a_flat_picture_stays_flat_to_its_edges() -> None:
    """Sharpening must not make a frame."""
    for media_format in ("JPEG", "PNG"):
        body = images.encoded(Pillow.new("RGB", (1600, 1200), (40, 90, 200)), media_format)
        image = opened(body)
        if media_format == "JPEG":
            decode_smaller(image, (640, 480))
        image.load()
        small = scaled(image, (640, 480), original=(1600, 1200))
        extrema = cast("tuple[tuple[int, int], ...]", small.getextrema())
        assert all(highest - lowest <= 1 for lowest, highest in extrema), media_format


def test_a_jpeg_that_keeps_red_green_and_blue_keeps_its_colours() -> None:
    body = images.encoded(images.marker(1600, 1200), "JPEG", keep_rgb=True, quality=95)
    image = opened(body)
    decode_smaller(image, (320, 240))
    image.load()
    assert image.mode == "RGB"
    assert images.is_marker(scaled(image, (320, 240), original=(1600, 1200)))
