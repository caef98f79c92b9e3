from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from chalicelib.imaging.decode import Decoder
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.render import model_input, to_ppm
from chalicelib.models import ModelInputShape
from tests import images

type FloatImage = npt.NDArray[np.float64]

DECODER = Decoder(Limits(max_bytes=10**8, max_pixels=64_000_000, max_side=30_000))
sides = st.integers(1, 2000)
orientations = st.sampled_from(images.ORIENTATIONS)
shapes = st.builds(
    ModelInputShape,
    width=st.integers(1, 256),
    height=st.integers(1, 256),
    shortest_edge=st.integers(1, 300),
    filter=st.sampled_from(["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]),
    rule=st.sampled_from(["shortest_edge", "stretch", "letterbox"]),
    # The ground is of the picture's colour, so that one colour stays one.
    fill=st.just(images.YELLOW),
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
    size = header.scaled(SHAPE.picture_scale(width, height))
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
    size = DECODER.header(body).scaled(SHAPE.picture_scale(width, height))
    picture = DECODER.picture(body, size=size)
    assert images.is_marker(model_input(picture, SHAPE), tolerance=2)


def tells_its_place(width: int, height: int) -> Pillow.Image:
    """A picture whose colours tell the place: red runs across, green runs down."""
    across = np.linspace(0, 255, width)[np.newaxis, :].repeat(height, axis=0)
    down = np.linspace(0, 255, height)[:, np.newaxis].repeat(width, axis=1)
    pixels = np.stack([across, down, np.full_like(down, 128)], axis=2)
    return Pillow.fromarray(pixels.round().astype(np.uint8))


def plain(
    shape: ModelInputShape, width: int, height: int
) -> tuple[list[FloatImage], list[FloatImage]]:
    """The rule as it is written down, for columns and rows: how `tells_its_place` is coloured at
    the place of the picture that each shows, and how far inside the picture that place is, in
    pixels of the input.
    """
    if shape.rule == "stretch":
        scaled = float(shape.width), float(shape.height)
    else:
        fit = shape.width / width, shape.height / height
        edge = shape.shortest_edge / min(width, height)
        scale = edge if shape.rule == "shortest_edge" else min(fit)
        scaled = width * scale, height * scale
    colours, depths = [], []
    for side, original, length in zip(
        (shape.width, shape.height), (width, height), scaled, strict=True
    ):
        # The middle of the scaled picture lies on the middle of the input.
        place = np.arange(side) + 0.5 - (side - length) / 2
        colour = (place / length * original - 0.5) / (original - 1) * 255
        colours.append(np.clip(colour, 0, 255))
        depths.append(np.minimum(place, length - place))
    return colours, depths


@given(
    st.integers(20, 600),
    st.integers(20, 600),
    st.integers(16, 128),
    st.integers(16, 128),
    st.integers(0, 60),
    st.sampled_from(["bilinear", "box", "hamming", "bicubic"]),
    st.sampled_from(["shortest_edge", "stretch", "letterbox"]),
)
def test_each_pixel_of_a_model_input_shows_the_place_that_the_rule_says(
    width: int,
    height: int,
    wide: int,
    high: int,
    margin: int,
    name: Any,
    rule: Any,
) -> None:
    shape = ModelInputShape(
        width=wide,
        height=high,
        filter=name,
        rule=rule,
        shortest_edge=max(wide, high) + margin,
        fill=(0, 0, 255),
    )
    made = np.asarray(model_input(tells_its_place(width, height), shape), np.float64)
    colours, depths = plain(shape, width, height)
    depth = np.minimum(depths[0][np.newaxis, :], depths[1][:, np.newaxis])
    # Sizes and places are rounded to whole pixels; a filter has no neighbours beyond the edge.
    inside, outside = depth >= 1, depth <= -1
    expected = np.broadcast_arrays(colours[0][np.newaxis, :], colours[1][:, np.newaxis])
    for channel, (side, original, scaled) in enumerate(
        (
            (wide, width, shape.scale(width, height) * width),
            (high, height, shape.scale(width, height) * height),
        )
    ):
        wrong = np.abs(made[..., channel] - expected[channel])[inside]
        # Half a pixel of the input for each rounding, or a pixel of the picture.
        allowed = 255 * (1.5 / min(side, max(scaled, 1)) + 1 / original) + 2
        assert wrong.size == 0 or wrong.max() <= allowed
    if rule == "letterbox":
        assert (made[outside] == shape.fill).all()
    else:
        assert (depth >= 0).all()
