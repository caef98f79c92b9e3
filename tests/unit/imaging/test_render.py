from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pillow

from chalicelib.imaging.render import model_input, to_ppm
from chalicelib.models import ModelInputShape
from tests import images

SHAPE = ModelInputShape(width=128, height=128, shortest_edge=128, filter="bilinear")
CROPPED = ModelInputShape(width=112, height=112, shortest_edge=128, filter="bicubic")
WIDE = ModelInputShape(width=96, height=64, shortest_edge=96, filter="lanczos")
FILTERS = {
    "nearest": Pillow.Resampling.NEAREST,
    "box": Pillow.Resampling.BOX,
    "hamming": Pillow.Resampling.HAMMING,
    "bilinear": Pillow.Resampling.BILINEAR,
    "bicubic": Pillow.Resampling.BICUBIC,
    "lanczos": Pillow.Resampling.LANCZOS,
}
# Even remainders, so that the centre falls between whole pixels.
SIZES = [
    (256, 256),
    (512, 256),
    (256, 512),
    (400, 300),
    (300, 400),
    (64, 64),
    (100, 50),
    (640, 360),
]


def smooth(width: int, height: int) -> Pillow.Image:
    """A picture whose colours tell the place: red runs across, green runs down."""
    across = np.linspace(0, 255, width)[np.newaxis, :].repeat(height, axis=0)
    down = np.linspace(0, 255, height)[:, np.newaxis].repeat(width, axis=1)
    pixels = np.stack([across, down, (across + down) / 2], axis=2)
    return Pillow.fromarray(pixels.round().astype(np.uint8))


def plain(picture: Pillow.Image, shape: ModelInputShape) -> Pillow.Image:
    """The rule as it is written down: the whole picture is scaled, then the centre is cut out."""
    scale = shape.shortest_edge / min(picture.size)
    width, height = (round(side * scale) for side in picture.size)
    scaled = picture.resize((width, height), FILTERS[shape.filter])
    left, top = (width - shape.width) // 2, (height - shape.height) // 2
    return scaled.crop((left, top, left + shape.width, top + shape.height))


def values(picture: Pillow.Image) -> npt.NDArray[np.float64]:
    return np.asarray(picture, np.float64)


@pytest.mark.parametrize("shape", [SHAPE, CROPPED, WIDE], ids=["square", "cropped", "wide"])
@pytest.mark.parametrize("size", SIZES)
def test_the_result_is_that_of_the_plain_rule(
    size: tuple[int, int], shape: ModelInputShape
) -> None:
    picture = smooth(*size)
    difference = np.abs(values(model_input(picture, shape)) - values(plain(picture, shape)))
    # An odd remainder moves the centre by half a pixel.
    assert difference.max() <= 3
    assert difference.mean() < 1.2


def test_a_photo_like_picture_is_that_of_the_plain_rule() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (128, 192, 3), np.uint8)
    picture = Pillow.fromarray(noise).resize((1536, 1024), Pillow.Resampling.BICUBIC)
    difference = np.abs(values(model_input(picture, SHAPE)) - values(plain(picture, SHAPE)))
    # The quick reduction before the filter costs less than one level; measured 0.8, at most 3.
    assert difference.mean() < 1
    assert difference.max() <= 4


@pytest.mark.parametrize("size", [(128, 128), (112, 112)])
def test_a_picture_of_the_right_size_stays_as_it_is(size: tuple[int, int]) -> None:
    shape = ModelInputShape(width=size[0], height=size[1], shortest_edge=size[0], filter="bilinear")
    picture = smooth(*size)
    assert model_input(picture, shape).tobytes() == picture.tobytes()


@pytest.mark.parametrize(
    "size",
    [(1, 1), (1, 30_000), (30_000, 1), (2, 5000), (5000, 2), (127, 129), (129, 127), (3, 2)],
)
@pytest.mark.parametrize("shape", [SHAPE, CROPPED, WIDE], ids=["square", "cropped", "wide"])
def test_any_shape_of_picture_fits(size: tuple[int, int], shape: ModelInputShape) -> None:
    result = model_input(Pillow.new("RGB", size, images.BLUE), shape)
    assert (result.mode, result.size) == ("RGB", (shape.width, shape.height))
    assert (values(result) == images.BLUE).all()


def test_the_middle_of_a_panorama_is_kept_and_its_ends_are_cut_off() -> None:
    panorama = Pillow.new("RGB", (1000, 100), images.RED)
    panorama.paste(images.GREEN, (450, 0, 550, 100))
    result = values(model_input(panorama, SHAPE))
    assert (result[:, 2:-2] == images.GREEN).all()


def test_the_middle_of_a_tower_is_kept_and_its_ends_are_cut_off() -> None:
    tower = Pillow.new("RGB", (100, 1000), images.RED)
    tower.paste(images.GREEN, (0, 450, 100, 550))
    result = values(model_input(tower, SHAPE))
    assert (result[2:-2] == images.GREEN).all()


def test_left_stays_left_and_top_stays_top() -> None:
    assert images.is_marker(model_input(images.marker(300, 300), SHAPE))


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_each_filter_is_the_one_that_it_says(
    name: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"],
) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (200, 200, 3), np.uint8)
    picture = Pillow.fromarray(noise)
    shape = ModelInputShape(width=128, height=128, shortest_edge=128, filter=name)
    expected = picture.resize((128, 128), FILTERS[name])
    assert model_input(picture, shape).tobytes() == expected.tobytes()


def test_a_stretched_picture_is_kept_whole_whatever_its_shape() -> None:
    shape = ModelInputShape(width=96, height=64, filter="bilinear", rule="stretch")
    picture = smooth(500, 100)
    assert model_input(picture, shape).size == (96, 64)
    expected = picture.resize((96, 64), Pillow.Resampling.BILINEAR)
    assert np.abs(values(model_input(picture, shape)) - values(expected)).max() <= 2


@pytest.mark.parametrize(
    ("size", "box"),
    [((200, 100), (0, 16, 64, 48)), ((100, 200), (16, 0, 48, 64)), ((30, 30), (0, 0, 64, 64))],
)
def test_a_letterboxed_picture_is_kept_whole_in_its_shape_on_the_ground(
    size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    shape = ModelInputShape(
        width=64, height=64, filter="bilinear", rule="letterbox", fill=images.GREEN
    )
    result = model_input(Pillow.new("RGB", size, images.RED), shape)
    expected = Pillow.new("RGB", (64, 64), images.GREEN)
    expected.paste(images.RED, box)
    assert result.tobytes() == expected.tobytes()


@pytest.mark.parametrize("rule", ["stretch", "letterbox"])
@pytest.mark.parametrize("size", [(1, 1), (1, 30_000), (30_000, 1), (3, 2)])
def test_any_shape_of_picture_fits_by_any_rule(
    size: tuple[int, int], rule: Literal["stretch", "letterbox"]
) -> None:
    shape = ModelInputShape(width=31, height=17, filter="bicubic", rule=rule, fill=images.BLUE)
    result = model_input(Pillow.new("RGB", size, images.BLUE), shape)
    assert (result.mode, result.size) == ("RGB", (31, 17))
    assert (values(result) == images.BLUE).all()


def test_a_decode_is_as_large_as_the_more_enlarged_side_of_a_stretched_picture_needs() -> None:
    stretch = ModelInputShape(width=100, height=50, filter="bilinear", rule="stretch")
    letterbox = ModelInputShape(width=100, height=50, filter="bilinear", rule="letterbox")
    assert stretch.scale(1000, 100) == 0.5
    assert letterbox.scale(1000, 100) == 0.1


def test_a_ppm_is_its_header_and_the_raw_pixels() -> None:
    picture = Pillow.new("RGB", (3, 2), (1, 2, 3))
    picture.putpixel((2, 0), (9, 8, 7))
    rows = bytes([1, 2, 3, 1, 2, 3, 9, 8, 7]) + bytes([1, 2, 3] * 3)
    assert to_ppm(picture) == b"P6\n3 2\n255\n" + rows


def test_a_ppm_of_every_model_input_has_its_size() -> None:
    body = to_ppm(model_input(images.marker(), WIDE))
    assert body.startswith(b"P6\n96 64\n255\n")
    assert len(body) == len(b"P6\n96 64\n255\n") + 96 * 64 * 3
