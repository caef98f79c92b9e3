"""PNG files of our own: exactly the pixels, as small as they are quick."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pillow
from PIL import PngImagePlugin

from chalicelib.imaging import png
from chalicelib.imaging.png import Effort
from tests import images

MODES = ("L", "LA", "RGB", "RGBA")
SIZES = [(1, 1), (1, 7), (7, 1), (3, 2), (5, 31), (33, 32), (17, 33), (64, 65), (2, 1000)]
# Depth by the number of colours: what a palette's numbers need.
DEPTHS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 16: 4, 17: 8, 255: 8, 256: 8}


def random_picture(mode: str, size: tuple[int, int], *, colours: int | None = None) -> Pillow.Image:
    """A picture without order, with at most so many colours."""
    random = np.random.default_rng(size[0] * 1000 + size[1] + (colours or 0))
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    shape = (size[1], size[0], channels)
    if colours is None:
        pixels = random.integers(0, 256, shape, np.uint8)
    else:
        # All different, and each is there.
        table = np.arange(colours, dtype=np.uint32) * 0x010F0305 + 0x20406080
        palette = table.view(np.uint8).reshape(colours, 4)[:, :channels]
        numbers = np.arange(size[0] * size[1]) % colours
        pixels = palette[random.permutation(numbers)].reshape(shape)
    squeezed = pixels[:, :, 0] if channels == 1 else pixels
    picture = Pillow.fromarray(np.ascontiguousarray(squeezed))
    assert picture.mode == mode
    return picture


def chunks(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each chunk, its checksum compared."""
    assert body[:8] == b"\x89PNG\r\n\x1a\n"
    at = 8
    while at < len(body):
        length, name = struct.unpack_from(">I4s", body, at)
        content = body[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", body, at + 8 + length)
        assert checksum == zlib.crc32(name + content)
        yield name, content
        at += 12 + length
    assert at == len(body)


def header(body: bytes) -> tuple[int, int]:
    """Depth and colour type."""
    content = dict(chunks(body))[b"IHDR"]
    _, _, depth, colour_type, compression, filtering, interlace = struct.unpack(">IIBBBBB", content)
    assert (compression, filtering, interlace) == (0, 0, 0)
    return depth, colour_type


def filters_of(body: bytes) -> list[int]:
    """The number of each row's filter."""
    parts = dict(chunks(body))
    width, height, depth, colour_type, *_ = struct.unpack(">IIBBBBB", parts[b"IHDR"])
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    rows = zlib.decompress(parts[b"IDAT"])
    length = 1 + (width * bits + 7) // 8
    assert len(rows) == length * height
    return list(rows[::length])


def decoded_by_hand(body: bytes) -> npt.NDArray[np.uint8]:
    """The rows of a PNG of whole bytes, by the words of its specification, 9.2 to 9.4."""
    parts = dict(chunks(body))
    width, height, _, colour_type, *_ = struct.unpack(">IIBBBBB", parts[b"IHDR"])
    step = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    raw = zlib.decompress(parts[b"IDAT"])
    length = width * step
    rows: list[bytearray] = []
    for number in range(height):
        start = number * (length + 1)
        kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + length])
        above = rows[-1] if rows else bytearray(length)
        for at in range(length):
            left = row[at - step] if at >= step else 0
            corner = above[at - step] if at >= step else 0
            estimate = left + above[at] - corner
            nearest = min((left, above[at], corner), key=lambda value: abs(estimate - value))
            predicted = (0, left, above[at], (left + above[at]) // 2, nearest)[kind]
            row[at] = (row[at] + predicted) % 256
        rows.append(row)
    return np.array(rows, np.uint8)


def opened(body: bytes, mode: str) -> Pillow.Image:
    with Pillow.open(io.BytesIO(body)) as image:
        assert isinstance(image, PngImagePlugin.PngImageFile)
        # Every chunk's checksum.
        image.verify()
    with Pillow.open(io.BytesIO(body)) as image:
        return image.convert(mode)


def assert_exact(picture: Pillow.Image, effort: Effort) -> bytes:
    body = png.encoded(picture, effort)
    again = opened(body, picture.mode)
    assert again.size == picture.size
    assert again.tobytes() == picture.tobytes()
    names = [name for name, _ in chunks(body)]
    assert names[0] == b"IHDR"
    assert names[-2:] == [b"IDAT", b"IEND"]
    assert set(names[1:-2]) <= {b"PLTE", b"tRNS"}
    assert names == sorted(names, key=[b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"].index)
    return body


@pytest.mark.parametrize("effort", Effort)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", MODES)
def test_exactly_the_pixels_come_back(mode: str, size: tuple[int, int], effort: Effort) -> None:
    assert_exact(random_picture(mode, size), effort)


@pytest.mark.parametrize("effort", Effort)
@pytest.mark.parametrize("mode", MODES)
def test_exactly_the_pixels_of_smooth_pictures_come_back(mode: str, effort: Effort) -> None:
    ramp = Pillow.radial_gradient("L").resize((301, 203))
    bands = [ramp.rotate(90 * n) for n in range({"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode])]
    picture = Pillow.merge(mode, bands)
    body = assert_exact(picture, effort)
    assert max(filters_of(body)) > 0


@pytest.mark.parametrize("effort", Effort)
@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
def test_a_decoder_written_from_the_specification_reads_the_same(mode: str, effort: Effort) -> None:
    """Pillow's own decoder could be as wrong as ours is; the rows are also read by hand."""
    ramp = np.linspace(0, 300, 41 * 35).reshape(35, 41)[:, :, np.newaxis]
    grain = np.random.default_rng(9).integers(0, 9, (35, 41, 4))
    pixels = ((ramp + grain * [1, 2, 3, 4]) % 256).astype(np.uint8)
    channels = {"LA": 2, "RGB": 3, "RGBA": 4}[mode]
    picture = Pillow.fromarray(np.ascontiguousarray(pixels[:, :, :channels]))
    body = png.encoded(picture, effort)
    assert header(body) == (8, {"LA": 4, "RGB": 2, "RGBA": 6}[mode])
    assert decoded_by_hand(body).tobytes() == picture.tobytes()


@pytest.mark.parametrize("number", range(5))
def test_each_filter_is_that_of_the_specification(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(png, "_FILTERS", {number: png._FILTERS[number]})
    for size in ((41, 67), (1, 40), (40, 1)):
        picture = random_picture("RGB", size)
        body = png.encoded(picture, Effort.LAST_RESORT)
        if len(picture.getcolors(4000) or []) > 256:
            assert set(filters_of(body)) == {number}
            assert decoded_by_hand(body).tobytes() == picture.tobytes()
        assert opened(body, "RGB").tobytes() == picture.tobytes()


# --- Palettes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [16, 17, 19, 23])
@pytest.mark.parametrize("colours", DEPTHS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_up_to_256_colours_have_a_palette_with_as_few_bits_as_they_need(
    mode: str, colours: int, width: int
) -> None:
    picture = random_picture(mode, (width, 37), colours=colours)
    body = assert_exact(picture, Effort.GRAPHIC)
    assert header(body) == (DEPTHS[colours], 3)
    parts = dict(chunks(body))
    assert len(parts[b"PLTE"]) == 3 * colours
    assert (b"tRNS" in parts) == (mode == "RGBA")
    assert set(filters_of(body)) == {0}


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_257_colours_have_none(mode: str) -> None:
    body = assert_exact(random_picture(mode, (30, 30), colours=257), Effort.GRAPHIC)
    assert header(body) == (8, {"RGB": 2, "RGBA": 6}[mode])


def test_a_palette_tells_the_opacity_of_no_more_colours_than_it_has_to() -> None:
    picture = Pillow.new("RGBA", (40, 4), (1, 2, 3, 255))
    for number in range(20):
        picture.putpixel((number, 0), (number, 0, 0, 255 if number > 2 else number * 100))
    parts = dict(chunks(assert_exact(picture, Effort.GRAPHIC)))
    assert list(parts[b"tRNS"]) == [0, 100, 200]


def test_colours_under_full_transparency_are_kept() -> None:
    picture = Pillow.new("RGBA", (2, 1), (255, 0, 0, 0))
    picture.putpixel((1, 0), (0, 0, 255, 0))
    assert_exact(picture, Effort.GRAPHIC)


@pytest.mark.parametrize("levels", [1, 2, 3, 4, 5, 16])
@pytest.mark.parametrize("mode", ["L", "LA"])
def test_few_greys_have_a_palette(mode: str, levels: int) -> None:
    grey = Pillow.fromarray(
        (np.arange(24 * 9, dtype=np.uint8).reshape(9, 24) % levels) * (255 // levels)
    )
    body = assert_exact(grey.convert(mode), Effort.GRAPHIC)
    assert header(body)[1] == 3


def test_many_greys_stay_numbers_that_a_filter_can_work_on() -> None:
    body = assert_exact(Pillow.linear_gradient("L"), Effort.GRAPHIC)
    assert header(body) == (8, 0)


@pytest.mark.parametrize("levels", [2, 16, 256])
def test_greys_told_in_colours_are_stored_as_greys(levels: int) -> None:
    ramp = Pillow.linear_gradient("L").point(lambda value: value * levels // 256 * 255 // levels)
    in_colour = ramp.convert("RGB")
    body = png.encoded(in_colour, Effort.GRAPHIC)
    assert opened(body, "RGB").tobytes() == in_colour.tobytes()
    assert body == png.encoded(ramp, Effort.GRAPHIC)


# --- Filters and sizes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number"), [("noise", 0), ("columns", 2), ("rows", 1)], ids=["none", "up", "sub"]
)
def test_the_filter_that_leaves_least_is_chosen(name: str, number: int) -> None:
    """Columns repeat downwards, rows to the right, and in noise nothing does."""
    random = np.random.default_rng(4)
    pixels = random.integers(0, 256, (64, 64, 3), np.uint8)
    if name == "columns":
        pixels[:] = (
            random.integers(0, 256, (1, 64, 3), np.uint8)
            + np.arange(64, dtype=np.uint8)[:, None, None]
        )
    elif name == "rows":
        pixels[:] = (
            random.integers(0, 256, (64, 1, 3), np.uint8)
            + np.arange(64, dtype=np.uint8)[:, None] * 3
        )
    body = png.encoded(Pillow.fromarray(pixels), Effort.PHOTO)
    assert set(filters_of(body)) == {number}


def test_the_last_resort_chooses_for_each_row() -> None:
    # Noise, then the same a little lighter, then a ramp: nothing for the first row, "up" for the
    # second, "sub" for the third.
    pixels = np.random.default_rng(4).integers(0, 256, (63, 64, 3), np.uint8)
    pixels[1::3] = pixels[::3] + 1
    pixels[2::3] = pixels[2::3, :1] + 3 * np.arange(64, dtype=np.uint8)[:, np.newaxis]
    picture = Pillow.fromarray(pixels)
    body = assert_exact(picture, Effort.LAST_RESORT)
    assert set(filters_of(body)[1::3]) <= {2, 4}
    assert set(filters_of(body)[2::3]) <= {1, 4}


def test_a_photo_takes_about_what_other_encoders_make_of_it() -> None:
    ramp = Pillow.radial_gradient("L").resize((400, 300))
    grain = np.random.default_rng(2).integers(0, 12, (300, 400, 3), np.uint8)
    photo = np.asarray(ramp)[:, :, None] // 2 + grain
    picture = Pillow.fromarray(photo.astype(np.uint8))
    pillows = len(images.encoded(picture, "PNG", optimize=True))
    assert len(png.encoded(picture, Effort.PHOTO)) < 1.15 * pillows
    assert len(png.encoded(picture, Effort.LAST_RESORT)) < 1.02 * pillows


def test_the_same_picture_gives_the_same_bytes() -> None:
    for mode in MODES:
        picture = random_picture(mode, (50, 40))
        assert png.encoded(picture, Effort.PHOTO) == png.encoded(picture.copy(), Effort.PHOTO)


def test_an_exif_block_stands_where_decoders_look_for_it() -> None:
    exif = Pillow.Exif()
    exif[0x8298] = "(c) A. Author"
    body = png.encoded(images.marker(), Effort.GRAPHIC, exif=exif.tobytes())
    names = [name for name, _ in chunks(body)]
    assert names.index(b"eXIf") < names.index(b"IDAT")
    with Pillow.open(io.BytesIO(body)) as image:
        assert dict(image.getexif()) == {0x8298: "(c) A. Author"}
