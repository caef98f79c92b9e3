"""A picture at its full size, the frames of an animation, and what a header tells of both."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import BmpImagePlugin, ImageCms
from PIL import Image as Pillow

from chalicelib.errors import ImageRejected
from chalicelib.imaging import colours
from chalicelib.imaging.budget import OutOfTime
from chalicelib.imaging.decode import Decoder, on_white
from chalicelib.imaging.limits import Limits
from tests import images

ROOT = Path(__file__).resolve().parents[3]
LIMITS = Limits(max_bytes=10**8, max_pixels=64_000_000, max_side=30_000)
DECODER = Decoder(LIMITS)


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


# --- The whole picture ----------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", images.ORIENTATIONS)
@pytest.mark.parametrize("media_format", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
def test_it_is_upright_and_of_full_size(media_format: str, orientation: int) -> None:
    whole = DECODER.whole(images.turned(media_format, orientation))
    assert whole.picture.size == (48, 32)
    assert images.is_marker(whole.picture)
    # Pillow turns a TIFF before anyone can ask how it was.
    assert whole.as_stored == (orientation == 1 or media_format == "TIFF")


@pytest.mark.parametrize(
    ("body", "mode"),
    [
        (images.encoded(images.marker(), "PNG"), "RGB"),
        (images.with_alpha("PNG"), "RGBA"),
        (images.encoded(images.marker().convert("RGBA"), "PNG"), "RGB"),
        (images.encoded(images.marker().convert("L"), "PNG"), "L"),
        (images.grey_alpha_png(), "LA"),
        (images.encoded(Pillow.new("LA", (4, 4), (9, 255)), "PNG"), "L"),
        (images.palette_png(transparent=True), "RGBA"),
        (images.palette_png(transparent=False), "RGB"),
        (images.bilevel("TIFF"), "L"),
        (images.deep_grey("PNG"), "L"),
        (images.deep_colour_png(), "RGBA"),
        (images.cmyk_jpeg(), "RGB"),
        (images.ycck_jpeg(), "RGB"),
    ],
)
def test_it_has_one_of_four_modes_and_an_alpha_only_where_that_says_something(
    body: bytes, mode: str
) -> None:
    whole = DECODER.whole(body)
    assert whole.picture.mode == mode
    assert whole.picture.info == {}
    assert dict(whole.picture.getexif()) == {}


def test_deep_greys_are_scaled_and_not_clipped() -> None:
    seen = np.asarray(DECODER.whole(images.deep_grey("PNG")).picture)[0].astype(int)
    assert np.abs(seen - images.deep_grey_ramp()[0] / 257).max() <= 1


@pytest.mark.parametrize(
    ("body", "as_stored"),
    [
        (images.encoded(images.marker(), "JPEG"), True),
        (images.encoded(images.marker(), "JPEG", icc_profile=srgb()), True),
        (images.encoded(images.marker(), "JPEG", icc_profile=b"nonsense"), True),
        (images.encoded(images.marker(), "JPEG", icc_profile=images.swapping_profile()), False),
        (images.cmyk_jpeg(), False),
        (images.encoded(images.marker(), "JPEG", exif=images.exif_of(9)), True),
        (images.encoded(images.marker(), "JPEG", exif=images.exif_of(0)), True),
    ],
    ids=["plain", "sRGB", "broken profile", "other profile", "inks", "turned 9", "turned 0"],
)
def test_it_knows_whether_the_file_shows_just_that(body: bytes, *, as_stored: bool) -> None:
    assert DECODER.whole(body).as_stored is as_stored


@pytest.mark.parametrize("media_format", [*images.FORMATS, "MPO"])
def test_it_knows_whether_the_file_keeps_exact_pixels(media_format: str) -> None:
    whole = DECODER.whole(images.encoded(images.marker(), media_format))
    assert whole.lossless == (media_format not in {"JPEG", "MPO"})
    expected = "jpeg" if media_format == "MPO" else media_format.lower()
    assert whole.media_type == f"image/{expected}"


@pytest.mark.parametrize("media_format", images.FORMATS)
def test_whole_and_reduced_picture_agree(media_format: str) -> None:
    body = images.noise(media_format)
    whole = on_white(DECODER.whole(body).picture)
    reduced = DECODER.picture(body, size=whole.size)
    assert reduced.tobytes() == whole.tobytes()


@pytest.mark.parametrize("media_format", images.FORMATS)
def test_a_broken_file_is_refused(media_format: str) -> None:
    with pytest.raises(ImageRejected):
        DECODER.whole(images.truncated(media_format))


def test_a_file_over_a_limit_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ImageRejected) as caught:
        DECODER.whole(images.claiming("PNG", 16_000, 16_000))
    assert caught.value.code == "image_dimensions_too_large"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError("broken data stream"), "image_corrupt"),
        (OSError("image file is truncated"), "image_truncated"),
        (EOFError(), "image_truncated"),
        (SyntaxError("not a TIFF file"), "image_corrupt"),
        (ValueError("odd"), "image_corrupt"),
        (TypeError("odd"), "image_corrupt"),
        (IndexError("odd"), "image_corrupt"),
        (KeyError("odd"), "image_corrupt"),
        (RuntimeError("odd"), "image_corrupt"),
        (NotImplementedError("odd"), "image_corrupt"),
        (RecursionError("odd"), "image_corrupt"),
        (OverflowError("odd"), "image_corrupt"),
        (ZeroDivisionError("odd"), "image_corrupt"),
        (AssertionError("odd"), "image_corrupt"),
        (AttributeError("odd"), "image_corrupt"),
        (struct.error("odd"), "image_corrupt"),
        (zlib.error("odd"), "image_corrupt"),
        (Pillow.DecompressionBombError("odd"), "image_corrupt"),
        (MemoryError(), "image_dimensions_too_large"),
        (OutOfTime(), "image_too_complex"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
def test_whatever_a_decoder_raises_becomes_a_code(
    error: BaseException, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defects 37, 38 and 67, and invariant 25: 14 classes were seen on 16,109 files."""

    def load(_: object) -> None:
        raise error

    monkeypatch.setattr(BmpImagePlugin.BmpImageFile, "load", load)
    body = images.encoded(images.marker(), "BMP")
    with pytest.raises(ImageRejected) as caught:
        DECODER.whole(body)
    assert caught.value.code == code
    assert "odd" not in caught.value.public_message


_NEEDS_144_MB = """
import io
from dataclasses import replace
from PIL import Image
from chalicelib.errors import ImageRejected
from chalicelib.imaging.decode import Decoder
from tests.unit.imaging.test_whole import LIMITS
buffer = io.BytesIO()
Image.new("RGB", (6000, 6000)).save(buffer, "PNG")
tight = Decoder(replace(LIMITS, decode_memory_bytes=32_000_000))
for read in (tight.whole, lambda body: tight.picture(body, size=(9, 9))):
    try:
        read(buffer.getvalue())
    except ImageRejected as error:
        print(error.code)
print(Decoder(LIMITS).whole(buffer.getvalue()).picture.size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is held")
def test_a_picture_that_needs_more_memory_than_it_may_is_refused() -> None:
    """In a fresh process: what one has freed and kept counts as held."""
    finished = subprocess.run(
        [sys.executable, "-c", _NEEDS_144_MB],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'vendor'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    refused = "image_dimensions_too_large"
    assert finished.stdout.splitlines() == [refused, refused, "(6000, 6000)"]


def test_a_picture_that_takes_longer_than_it_may_is_refused() -> None:
    """A JPEG that goes over 36 million pixels again and again, as it may up to the limit."""
    hurried = Decoder(replace(LIMITS, decode_seconds=1))
    with pytest.raises(ImageRejected) as caught:
        hurried.whole(images.of_many_passes())
    assert caught.value.code == "image_too_complex"
    assert "longer than the 1 seconds" in caught.value.public_message


@pytest.mark.parametrize("media_format", images.FORMATS)
def test_nothing_of_the_file_is_held_once_the_picture_is_read(media_format: str) -> None:
    """A WebP's decoder keeps two more canvases: 512 MB at 64 megapixels, while copies are made."""
    picture = DECODER.whole(images.encoded(images.marker(), media_format)).picture
    assert type(picture) is Pillow.Image


# --- What the header tells ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "mode"),
    [
        (images.encoded(images.marker(), "JPEG"), "RGB"),
        (images.cmyk_jpeg(), "CMYK"),
        (images.palette_png(transparent=True), "P"),
        (images.grey_alpha_png(), "LA"),
        (images.bilevel("PNG"), "1"),
        (images.deep_grey("PNG"), "I;16"),
        (images.encoded(images.marker(), "GIF"), "P"),
        (images.encoded(Pillow.new("F", (2, 2)), "TIFF"), "F"),
        (images.png_turned_at_the_end(6), "RGB"),
    ],
)
def test_it_tells_how_pixels_are_kept(body: bytes, mode: str) -> None:
    assert DECODER.header(body).mode == mode


@pytest.mark.parametrize("orientation", images.ORIENTATIONS)
@pytest.mark.parametrize("media_format", ["JPEG", "PNG", "WEBP", "MPO"])
def test_it_tells_how_the_file_is_turned(media_format: str, orientation: int) -> None:
    assert DECODER.header(images.turned(media_format, orientation)).orientation == orientation


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_it_tells_no_orientation_that_does_not_exist(orientation: int) -> None:
    body = images.encoded(images.marker(), "JPEG", exif=images.exif_of(orientation))
    assert DECODER.header(body).orientation == 1


@pytest.mark.parametrize("media_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_it_tells_what_the_profile_calls_itself(media_format: str) -> None:
    body = images.encoded(images.marker(), media_format, icc_profile=srgb())
    assert DECODER.header(body).profile == "sRGB built-in"
    assert DECODER.header(images.encoded(images.marker(), media_format)).profile is None
    broken = images.encoded(images.marker(), media_format, icc_profile=b"nonsense" * 20)
    assert DECODER.header(broken).profile is None


@pytest.mark.parametrize(
    ("body", "frames"),
    [
        (images.animation("GIF"), 2),
        (images.animation("WEBP"), 2),
        (images.animation("PNG"), 2),
        # Pages of a scan, and the other eye's view, are no animation.
        (images.animation("TIFF"), 1),
        (images.mpo(), 1),
        (images.encoded(images.marker(), "GIF"), 1),
        (images.encoded(images.marker(), "WEBP"), 1),
    ],
)
def test_it_counts_the_frames_of_animations(body: bytes, frames: int) -> None:
    assert DECODER.header(body).frames == frames
    assert Decoder(replace(LIMITS, max_frames=1)).header(body).frames == 1
    assert Decoder(replace(LIMITS, max_animation_pixels=100)).header(body).frames == 1


# --- Frames -----------------------------------------------------------------------------------


@pytest.mark.parametrize("media_format", ["GIF", "WEBP", "PNG"])
def test_frames_come_in_their_order_with_their_durations(media_format: str) -> None:
    frames = list(DECODER.frames(images.animation(media_format)))
    assert [frame.milliseconds for frame in frames] == [50, 50]
    assert images.is_marker(frames[0].picture.convert("RGB"))
    assert images.pixel(frames[1].picture.convert("RGB"), (5, 5)) == images.BLUE
    assert {frame.picture.size for frame in frames} == {(48, 32)}


@pytest.mark.parametrize("orientation", images.ORIENTATIONS)
def test_frames_are_upright_and_in_srgb(orientation: int) -> None:
    body = images.encoded(
        images.stored_as(images.marker(), orientation),
        "WEBP",
        save_all=True,
        append_images=[images.stored_as(images.marker().rotate(180), orientation)],
        lossless=True,
        exif=images.exif_of(orientation),
        icc_profile=images.swapping_profile(),
    )
    first, second = DECODER.frames(body)
    swapped = (images.GREEN, images.RED, images.YELLOW, images.BLUE)
    assert np.allclose(images.quarters_of(first.picture), swapped, atol=12)
    assert np.allclose(images.quarters_of(second.picture), swapped[2:] + swapped[:2], atol=12)
    assert first.picture.info == {}


def test_a_still_is_one_frame() -> None:
    for media_format in images.FORMATS:
        (frame,) = DECODER.frames(images.encoded(images.marker(), media_format))
        assert images.is_marker(frame.picture.convert("RGB"))


def test_a_still_that_cannot_be_decoded_is_refused() -> None:
    with pytest.raises(ImageRejected):
        list(DECODER.frames(images.truncated("GIF")))


def test_what_is_done_with_a_frame_is_not_counted_as_decoding() -> None:
    hurried = Decoder(replace(LIMITS, decode_seconds=1))
    for frame in hurried.frames(images.animation("GIF")):
        for _ in range(30):
            frame.picture.resize((1500, 1000), Pillow.Resampling.LANCZOS)


@pytest.mark.parametrize(
    ("body", "loops"),
    [
        (images.encoded(images.marker(), "JPEG"), 1),
        (images.animation("GIF"), 1),
        (images.animation("WEBP"), 0),
    ],
)
def test_loops_are_told_as_often_as_it_is_shown(body: bytes, loops: int) -> None:
    assert DECODER.loops(body) == loops


# --- Colours ----------------------------------------------------------------------------------


def test_a_profile_of_srgb_by_any_name_changes_nothing() -> None:
    assert colours.is_srgb(srgb())
    assert colours.is_srgb(None)
    assert colours.is_srgb(b"")
    assert not colours.is_srgb(images.swapping_profile())
    assert not colours.is_srgb(None, "CMYK")


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK"])
def test_colours_keep_mode_and_alpha(mode: str) -> None:
    image = Pillow.new("RGBA", (4, 4), (200, 100, 50, 77)).convert(
        "RGBA" if mode == "RGBA" else mode.removesuffix("A")
    )
    if mode == "LA":
        image = Pillow.merge("LA", [image, Pillow.new("L", (4, 4), 77)])
    for profile in (None, b"nonsense", images.swapping_profile(), images.grey_profile()):
        converted = colours.in_srgb(image, profile)
        assert converted.mode == ("RGB" if mode == "CMYK" else mode)
        if mode.endswith("A"):
            assert converted.getchannel("A").getextrema() == (77, 77)


def test_a_name_that_is_no_name_is_shown_as_far_as_it_is_one() -> None:
    assert colours.name_of(None) is None
    assert colours.name_of(b"") is None
    assert colours.name_of(b"\0" * 500) is None
    odd = srgb().replace(
        "sRGB built-in".encode("utf-16-be"), "\x1b\n\0GB bui\tt-in".encode("utf-16-be")
    )
    name = colours.name_of(odd)
    assert name is None or name.isprintable()


def test_a_profile_as_large_as_a_film_is_neither_applied_nor_kept() -> None:
    """The process keeps the last few; eight of 50 MB would be most of its memory."""
    for function in (colours._transform, colours._changes_nothing, colours._name):
        function.cache_clear()
    huge = images.swapping_profile() + bytes(6_000_000)
    assert colours.is_srgb(huge)
    assert colours.name_of(huge) is None
    assert colours.in_srgb(images.marker(), huge).tobytes() == images.marker().tobytes()
    for cached in (colours._transform, colours._changes_nothing, colours._name):
        assert cached.cache_info().currsize == 0


def test_transforms_are_kept_for_the_next_image() -> None:
    colours._transform.cache_clear()
    colours._changes_nothing.cache_clear()
    for _ in range(3):
        colours.in_srgb(images.marker(), images.swapping_profile())
    assert colours._transform.cache_info().misses == 1


# --- Opacity ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [images.with_alpha, lambda media_format: images.grey_alpha_png()], ids=["RGBA", "LA"]
)
def test_what_is_transparent_is_put_on_white(make: Callable[[str], Any]) -> None:
    with Pillow.open(io.BytesIO(make("PNG"))) as image:
        image.load()
        flat = on_white(image)
    assert flat.mode == "RGB"
    assert images.WHITE in {images.pixel(flat, (0, 0)), images.pixel(flat, (7, 7))}
