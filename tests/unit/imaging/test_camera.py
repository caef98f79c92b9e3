"""What a photo was taken with is read from its file, whatever the file says, and nothing else is."""

import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL.TiffImagePlugin import IFDRational

from chalicelib.errors import ImageRejected
from chalicelib.images import Camera
from chalicelib.imaging.decode import Decoder
from chalicelib.imaging.limits import Limits
from tests import images

DECODER = Decoder(Limits(max_bytes=10**8, max_pixels=64_000_000, max_side=30_000))
MAKE, MODEL, ARTIST, SERIAL, OWNER = 0x010F, 0x0110, 0x013B, 0xA431, 0xA430
TIME, F_NUMBER, ISO, FOCAL_LENGTH, DATE = 0x829A, 0x829D, 0x8827, 0x920A, 0x9003
PHOTO, PLACE = 0x8769, 0x8825
CAMERA = Camera(
    make="Example", model="Box 1", exposure_seconds=0.0125, f_number=2.8, iso=200,
    focal_length_mm=35.0,
)  # fmt: skip


def exif_with(photo: dict[int, Any] | None = None, **first: Any) -> Pillow.Exif:
    exif = Pillow.Exif()
    exif[MAKE], exif[MODEL] = first.get("make", "Example"), first.get("model", "Box 1")
    exif[ARTIST] = "Ada Owner"
    known = {TIME: IFDRational(1, 80), F_NUMBER: IFDRational(28, 10), ISO: 200,
             FOCAL_LENGTH: IFDRational(35, 1), DATE: "2026:01:02 03:04:05", SERIAL: "SN-4711",
             OWNER: "Ada Owner"}  # fmt: skip
    exif.get_ifd(PHOTO).update(known if photo is None else photo)
    exif.get_ifd(PLACE).update({1: "N", 2: (52.0, 31.0, 12.0)})
    return exif


def read(body: bytes) -> Camera | None:
    return DECODER.header(body, with_camera=True).camera


def a_jpeg(exif: Pillow.Exif) -> bytes:
    return images.encoded(images.marker(), "JPEG", exif=exif)


@pytest.mark.parametrize("media_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_it_is_read_of_every_format_that_tells_it(media_format: str) -> None:
    body = images.encoded(images.marker(), media_format, exif=exif_with())
    if media_format == "TIFF":
        # Pillow writes the blocks of a TIFF without what hangs on them.
        assert read(body) is not None
        return
    assert read(body) == CAMERA


def test_it_is_not_read_unless_it_was_asked_for() -> None:
    assert DECODER.header(a_jpeg(exif_with())).camera is None


def test_nothing_of_the_owner_the_place_or_the_time_comes_along() -> None:
    text = msgspec.json.encode(read(a_jpeg(exif_with()))).decode()
    for private in ("Ada", "4711", "2026", "52", "31"):
        assert private not in text


@pytest.mark.parametrize("media_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_file_that_tells_nothing_has_none(media_format: str) -> None:
    assert read(images.encoded(images.marker(), media_format)) is None


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (TIME, IFDRational(1, 0)),
        (TIME, IFDRational(0, 0)),
        (TIME, IFDRational(0, 1)),
        (TIME, IFDRational(4294967295, 1)),
        (F_NUMBER, IFDRational(0, 7)),
        (F_NUMBER, IFDRational(4000000000, 1)),
        (ISO, 0),
        (ISO, ()),
        (FOCAL_LENGTH, IFDRational(1, 0)),
        (TIME, "1/80"),
        (F_NUMBER, b"\xff\xfe"),
        (ISO, "two hundred"),
    ],
)
def test_a_number_that_cannot_be_true_is_left_out_and_the_others_stay(tag: int, value: Any) -> None:
    photo = {TIME: IFDRational(1, 80), F_NUMBER: IFDRational(28, 10), ISO: 200,
             FOCAL_LENGTH: IFDRational(35, 1), tag: value}  # fmt: skip
    camera = read(a_jpeg(exif_with(photo)))
    assert camera is not None
    named = {
        TIME: "exposure_seconds",
        F_NUMBER: "f_number",
        ISO: "iso",
        FOCAL_LENGTH: "focal_length_mm",
    }
    for number, name in named.items():
        assert getattr(camera, name) == (None if number == tag else getattr(CAMERA, name)), name


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Example\0SN-4711", "Example"),
        ("  Example  ", "Example"),
        ("Exa\x1b[2Jmple\r\n", "Exa[2Jmple"),
        ("x" * 5000, "x" * 64),
        ("", None),
        (" \0 ", None),
    ],
)
def test_a_name_is_short_and_printable(written: str, shown: str | None) -> None:
    camera = read(a_jpeg(exif_with(make=written)))
    assert camera is not None
    assert camera.make == shown


def with_block(block: bytes) -> bytes:
    return images.jpeg_with_exif(block)


def entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHI4s", tag, kind, count, value)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        # A block that says it has 65,535 entries.
        b"II*\0\x08\0\0\0\xff\xff",
        # A name of 4 GB, and one of no type that there is.
        b"II*\0\x08\0\0\0\x01\0" + entry(MAKE, 2, 2**32 - 1, b"\x1a\0\0\0") + bytes(8),
        b"II*\0\x08\0\0\0\x01\0" + entry(MAKE, 99, 1, b"abcd") + bytes(8),
        # The photo's block is the block itself, or lies behind the end.
        b"II*\0\x08\0\0\0\x01\0" + entry(PHOTO, 4, 1, b"\x08\0\0\0") + bytes(4),
        b"II*\0\x08\0\0\0\x01\0" + entry(PHOTO, 4, 1, b"\xff\xff\xff\x7f") + bytes(4),
        # It is a text, or many numbers.
        b"II*\0\x08\0\0\0\x01\0" + entry(PHOTO, 2, 4, b"abc\0") + bytes(4),
        b"II*\0\x08\0\0\0\x01\0" + entry(PHOTO, 4, 9, b"\x08\0\0\0") + bytes(4),
    ],
)
def test_a_block_that_lies_costs_its_picture_nothing(block: bytes) -> None:
    body = with_block(block)
    assert read(body) is None
    assert DECODER.picture(body, size=(4, 4)).size == (4, 4)


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
def test_no_block_costs_its_picture_anything(noise: bytes, place: int, value: int) -> None:
    good = exif_with().tobytes().removeprefix(b"Exif\0\0")
    at = place % len(good)
    for block in (noise, good[:at] + bytes([value]) + good[at + 1 :], good[:at], good + noise):
        camera = read(with_block(block))
        if camera is not None:
            for name in (camera.make, camera.model):
                assert name is None or (name.isprintable() and 0 < len(name) <= 64)
            assert camera.iso is None or camera.iso > 0


def test_what_real_cameras_write_is_read(shared: Path) -> None:
    folder = shared / "photos" / "camera"
    found = {path.name: read(path.read_bytes()) for path in sorted(folder.glob("*.jpg"))}
    known = {name: camera for name, camera in found.items() if camera is not None}
    assert len(known) >= 4
    for name, camera in known.items():
        assert camera.make, name
        assert camera.exposure_seconds is None or camera.exposure_seconds < 60, name
    assert any(
        camera.f_number and camera.iso and camera.focal_length_mm for camera in known.values()
    )


def test_no_file_of_the_collection_breaks_it(shared: Path) -> None:
    for path in sorted((shared / "photos" / "tricky").iterdir()):
        try:
            camera = read(path.read_bytes())
        except ImageRejected:
            continue
        assert camera is None or camera != Camera()
