from functools import lru_cache

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from chalicelib.imaging.decode import Decoder
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.render import ModelInputShape, model_input, to_ppm
from tests import images

DECODER = Decoder(Limits(max_bytes=10**8, max_pixels=64_000_000, max_side=30_000))
sides = st.integers(1, 2000)
orientations = st.sampled_from(images.ORIENTATIONS)
shapes = st.builds(
    ModelInputShape,
    width=st.integers(1, 256),
    height=st.integers(1, 256),
    shortest_edge=st.integers(1, 300),
    filter=st.sampled_from(["bilinear", "bicubic", "lanczos"]),
)
SHAPE = ModelInputShape(width=128, height=128, shortest_edge=128, filter="bilinear")


@lru_cache(maxsize=4)
def blank(width: int, height: int) -> Pillow.Image:
    return Pillow.new("RGB", (width, height), images.YELLOW)


@given(sides, sides, shapes)
def test_any_picture_becomes_exactly_what_the_model_wants(
    width: int, height: int, shape: ModelInputShape
) -> None:
    result = model_input(blank(width, height), shape)
    assert (result.mode, result.size) == ("RGB", (shape.width, shape.height))
    # One colour stays that colour, but for the rounding of a large reduction.
    extremes = np.array(result.getextrema())
    assert np.abs(extremes - np.array(images.YELLOW)[:, np.newaxis]).max() <= 2


@given(sides, sides, orientations, st.sampled_from(["JPEG", "PNG", "TIFF", "WEBP"]))
def test_any_size_in_any_orientation_is_told_and_decoded_upright(
    width: int, height: int, orientation: int, media_format: str
) -> None:
    sideways = orientation in {5, 6, 7, 8}
    stored = blank(height, width) if sideways else blank(width, height)
    options = {"quality": 1, "method": 0} if media_format == "WEBP" else {}
    body = images.encoded(stored, media_format, exif=images.exif_of(orientation), **options)
    header = DECODER.header(body)
    assert (header.width, header.height) == (width, height)
    size = header.scaled(SHAPE.scale(width, height))
    picture = DECODER.picture(body, size=size)
    assert picture.size == size
    assert len(to_ppm(model_input(picture, SHAPE))) == len(b"P6\n128 128\n255\n") + 128 * 128 * 3


@given(st.integers(16, 2000), st.integers(16, 2000), orientations)
def test_the_middle_of_the_marker_is_in_the_middle_of_the_model_input(
    width: int, height: int, orientation: int
) -> None:
    # Even sides, so that the four quarters meet in the very middle.
    width, height = width // 2 * 2, height // 2 * 2
    body = images.turned("PNG", orientation, width=width, height=height, compress_level=1)
    size = DECODER.header(body).scaled(SHAPE.scale(width, height))
    picture = DECODER.picture(body, size=size)
    assert images.is_marker(model_input(picture, SHAPE), tolerance=2)
