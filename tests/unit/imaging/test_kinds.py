"""Photographs and drawings are told apart by what they are made of."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from chalicelib.imaging.kinds import Kind, kind_of
from tests import images

MODES = ("L", "LA", "RGB", "RGBA")


def noise(mode: str, size: tuple[int, int] = (200, 150)) -> Pillow.Image:
    random = np.random.default_rng(1)
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    pixels = random.integers(0, 256, (size[1], size[0], channels), np.uint8)
    return Pillow.fromarray(pixels[:, :, 0] if mode == "L" else pixels)


@pytest.mark.parametrize("mode", MODES)
def test_grain_is_a_photo_and_flat_areas_are_a_drawing(mode: str) -> None:
    assert kind_of(noise(mode), lossless=True) is Kind.PHOTO
    assert kind_of(images.marker(200, 150).convert(mode), lossless=True) is Kind.GRAPHIC


@pytest.mark.parametrize("mode", MODES)
def test_what_comes_from_a_lossy_file_is_a_photo(mode: str) -> None:
    """Its flat areas are gone."""
    assert kind_of(images.marker().convert(mode), lossless=False) is Kind.PHOTO


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (2, 2), (3, 129)])
def test_any_size_has_a_kind(size: tuple[int, int]) -> None:
    assert kind_of(Pillow.new("RGB", size), lossless=True) is Kind.GRAPHIC


def test_pixels_that_differ_in_their_opacity_alone_differ() -> None:
    alpha = noise("L", (200, 150))
    picture = Pillow.merge("RGBA", [Pillow.new("L", (200, 150), 9)] * 3 + [alpha])
    assert kind_of(picture, lossless=True) is Kind.PHOTO


@pytest.mark.parametrize("share", [0.0, 0.2, 0.28, 0.32, 0.5, 1.0])
def test_three_of_ten_pixels_like_their_neighbour_make_a_drawing(share: float) -> None:
    pixels = np.asarray(noise("L", (1000, 64))).copy()
    # Of each row's pixels so many are made alike, from the left.
    pixels[:, : int(1000 * share)] = 7
    expected = Kind.GRAPHIC if share >= 0.3 else Kind.PHOTO
    assert kind_of(Pillow.fromarray(pixels), lossless=True) is expected


@pytest.mark.parametrize(
    ("name", "kind"), [("png_rgb_4mp.png", Kind.PHOTO), ("png_rgba_3mp.png", Kind.GRAPHIC)]
)
def test_real_files_are_what_people_say_they_are(shared: Path, name: str, kind: Kind) -> None:
    with Pillow.open(shared / "photos/camera" / name) as image:
        assert kind_of(image.convert("RGBA"), lossless=True) is kind
