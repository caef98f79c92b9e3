"""Copies at full size: what is kept, what is lost, and how large they may be."""

import io
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from chalicelib.errors import ImageRejected
from chalicelib.imaging import formats
from chalicelib.imaging.decode import Decoder
from chalicelib.imaging.formats import Copy, CopyFormat, FullSize, Recipe, wanted_formats
from chalicelib.imaging.kinds import Kind
from chalicelib.imaging.limits import Limits
from tests import images

ROOT = Path(__file__).resolve().parents[3]
LIMITS = Limits(max_bytes=10**8, max_pixels=64_000_000, max_side=30_000)
ALL = tuple(CopyFormat)
RECIPE = Recipe(of_photos=ALL, of_graphics=ALL, webp_method=2, keep_rights=False)
WITH_RIGHTS = replace(RECIPE, keep_rights=True)
SECRET = b"52.5163 N 13.3777 E, where I live"
# What tells of a camera, a place or an author, in any of the formats.
TRACES = (
    b"Exif", b"EXIF", b"eXIf", b"xmp", b"XMP", b"x:xmpmeta", b"ICC", b"iCCP", b"colrprof",
    b"tEXt", b"iTXt", b"zTXt", b"tIME", b"Photoshop", b"Camera of a test", SECRET,
)  # fmt: skip


def read(body: bytes, *, limits: Limits = LIMITS) -> FullSize:
    return FullSize.read(body, Decoder(limits))


def copy_of(
    body: bytes, chosen: CopyFormat, *, recipe: Recipe = RECIPE, limits: Limits = LIMITS
) -> Copy:
    return read(body, limits=limits).copy(chosen, recipe)


def opened(copy: Copy | bytes) -> Pillow.Image:
    image = Pillow.open(io.BytesIO(copy if isinstance(copy, bytes) else copy.body))
    image.load()
    return image


def noise(width: int = 96, height: int = 64, *, mode: str = "RGB") -> Pillow.Image:
    """A picture without any order: what no format makes small."""
    random = np.random.default_rng(width * height)
    channels = len(Pillow.new(mode, (1, 1)).getbands())
    pixels = random.integers(0, 256, (height, width, channels), np.uint8)
    return Pillow.merge(
        mode, [Pillow.fromarray(np.ascontiguousarray(pixels[:, :, c])) for c in range(channels)]
    )


def full_of_notes(media_format: str, picture: Pillow.Image, **options: Any) -> bytes:
    """A file with all that its format can carry beside the picture."""
    exif = images.exif_of(1)
    exif[0x8298] = SECRET.decode()
    exif[0x010E] = SECRET.decode()
    by_format: dict[str, dict[str, Any]] = {
        "JPEG": {"exif": exif, "comment": SECRET, "xmp": SECRET},
        "MPO": {"exif": exif, "comment": SECRET},
        "PNG": {"exif": exif},
        "GIF": {"comment": SECRET},
        "WEBP": {"exif": exif, "xmp": SECRET},
        "TIFF": {"exif": exif, "software": SECRET.decode()},
        "BMP": {},
    }
    notes = by_format[media_format]
    if media_format not in {"GIF", "BMP"}:
        notes["icc_profile"] = images.swapping_profile()
    return images.encoded(picture, media_format, **notes, **options)


# --- What a copy shows --------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", ALL)
@pytest.mark.parametrize("orientation", images.ORIENTATIONS)
@pytest.mark.parametrize("media_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_copy_is_upright_and_of_full_size(
    chosen: CopyFormat, orientation: int, media_format: str
) -> None:
    """Defects 40 and 67: copies lay on their side."""
    picture = opened(copy_of(images.turned(media_format, orientation), chosen))
    assert picture.size == (48, 32)
    assert images.is_marker(picture.convert("RGB"))
    assert picture.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("chosen", ALL)
@pytest.mark.parametrize(
    "make", [images.cmyk_jpeg, images.ycck_jpeg, images.mpo, images.noise], ids=lambda m: m.__name__
)
def test_every_colour_model_becomes_every_format(chosen: CopyFormat, make: Any) -> None:
    """Defects 37 and 38: CMYK, LA and I;16 failed, after the first copies were stored."""
    body = make("PNG") if make is images.noise else make()
    picture = opened(copy_of(body, chosen))
    if make is not images.noise:
        assert images.is_marker(picture.convert("RGB"))


@pytest.mark.parametrize("chosen", ALL)
@pytest.mark.parametrize(
    "body",
    [
        images.grey_alpha_png(),
        images.deep_grey("PNG"),
        images.deep_grey("TIFF"),
        images.deep_colour_png(),
        images.bilevel("PNG"),
        images.bilevel("TIFF"),
        images.palette_gif(transparent=True),
        images.half_transparent_png(),
        images.encoded(Pillow.new("RGB", (1, 1), images.RED), "BMP"),
        images.encoded(Pillow.new("F", (3, 2), 0.5), "TIFF"),
        images.encoded(images.marker().convert("YCbCr"), "TIFF"),
    ],
    ids=["LA", "I;16", "I;16 TIFF", "48 bit", "1", "1 TIFF", "GIF", "RGBA", "1 x 1", "F", "YCbCr"],
)
def test_every_depth_becomes_every_format(chosen: CopyFormat, body: bytes) -> None:
    """Defects 38 and 67."""
    copy = copy_of(body, chosen)
    with Pillow.open(io.BytesIO(body)) as original:
        assert opened(copy).size == original.size


@pytest.mark.parametrize("chosen", ALL)
def test_colours_are_those_that_the_profile_means(chosen: CopyFormat) -> None:
    body = images.encoded(images.marker(), "PNG", icc_profile=images.swapping_profile())
    seen = images.quarters_of(opened(copy_of(body, chosen)).convert("RGB"))
    assert np.allclose(seen[0], images.GREEN, atol=30)
    assert np.allclose(seen[1], images.RED, atol=30)


TRANSPARENT = [
    images.with_alpha("PNG"),
    images.with_alpha("WEBP", lossless=True),
    images.with_alpha("TIFF"),
    images.palette_png(transparent=True),
    images.palette_gif(transparent=True),
]


@pytest.mark.parametrize("body", TRANSPARENT, ids=["png", "webp", "tiff", "palette", "gif"])
@pytest.mark.parametrize("chosen", [CopyFormat.WEBP, CopyFormat.PNG, CopyFormat.AVIF])
def test_transparency_is_kept_where_the_format_has_it(body: bytes, chosen: CopyFormat) -> None:
    """Defects 39 and 66: PNG copies were made from a flattened picture."""
    picture = opened(copy_of(body, chosen)).convert("RGBA")
    alphas = [pixel[3] for pixel in images.quarters_of(picture)]
    assert alphas[0] <= 2
    assert min(alphas[1:]) >= 253


@pytest.mark.parametrize("body", TRANSPARENT, ids=["png", "webp", "tiff", "palette", "gif"])
def test_transparency_is_white_in_a_jpeg(body: bytes) -> None:
    """Defects 39 and 66: it was black, or whatever colour lay under it."""
    seen = images.quarters_of(opened(copy_of(body, CopyFormat.JPEG)))
    assert np.allclose(seen[0], images.WHITE, atol=10)
    assert not np.allclose(seen[1], images.WHITE, atol=100)


def test_an_alpha_channel_that_says_nothing_is_dropped() -> None:
    body = images.encoded(images.marker().convert("RGBA"), "PNG")
    assert opened(copy_of(body, CopyFormat.WEBP)).mode == "RGB"


@pytest.mark.parametrize("media_format", ["JPEG", "PNG"])
def test_greys_stay_greys(media_format: str) -> None:
    grey = Pillow.linear_gradient("L").resize((64, 40))
    body = images.encoded(grey, media_format)
    assert opened(copy_of(body, CopyFormat.JPEG)).mode == "L"
    assert opened(copy_of(body, CopyFormat.PNG)).mode == "L"
    shown = np.asarray(opened(copy_of(body, CopyFormat.WEBP)), int)
    assert np.ptp(shown, axis=2).max() <= 2


def test_exact_pixels_come_back_from_a_png() -> None:
    for mode in ("L", "LA", "RGB", "RGBA"):
        picture = noise(mode=mode)
        copy = copy_of(images.encoded(picture, "PNG"), CopyFormat.PNG)
        assert (copy.quality, copy.frames) == (None, 1)
        assert opened(copy).convert(mode).tobytes() == picture.tobytes()


@pytest.mark.parametrize("chosen", [CopyFormat.WEBP, CopyFormat.JPEG, CopyFormat.AVIF])
def test_a_photo_looks_as_it_did(chosen: CopyFormat) -> None:
    gradient = Pillow.linear_gradient("L").resize((200, 120))
    picture = Pillow.merge("RGB", [gradient, gradient.rotate(180), Pillow.new("L", (200, 120), 99)])
    copy = copy_of(images.encoded(picture, "JPEG", quality=100, subsampling=0), chosen)
    difference = np.abs(np.asarray(opened(copy), int) - np.asarray(picture, int))
    assert difference.mean() < 2.5


def test_a_drawing_of_few_colours_is_kept_exactly_in_a_webp() -> None:
    drawing = images.marker(300, 200)
    copy = copy_of(images.encoded(drawing, "PNG"), CopyFormat.WEBP)
    assert copy.quality is None
    assert opened(copy).tobytes() == drawing.tobytes()


# --- No word beside the picture -----------------------------------------------------------------


@pytest.mark.parametrize("chosen", ALL)
@pytest.mark.parametrize("media_format", ["JPEG", "MPO", "PNG", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("quality", [5, 95])
def test_nothing_that_a_file_tells_reaches_a_copy(
    chosen: CopyFormat, media_format: str, quality: int
) -> None:
    """At quality 5 the original itself is the copy: it is stripped."""
    options = {"quality": quality} if media_format in {"JPEG", "MPO", "WEBP"} else {}
    body = full_of_notes(media_format, noise(), **options)
    copy = copy_of(body, chosen)
    assert [trace for trace in TRACES if trace in copy.body] == []
    picture = opened(copy)
    assert dict(picture.getexif()) == {}
    known = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "progressive", "progression",
             "loop", "background", "timestamp", "duration", "transparency"}  # fmt: skip
    assert set(picture.info) <= known, picture.info


@pytest.mark.parametrize("chosen", ALL)
@pytest.mark.parametrize("media_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_rights_are_kept_if_the_setting_says_so_and_nothing_with_them(
    chosen: CopyFormat, media_format: str
) -> None:
    exif = images.exif_of(6)
    exif[0x8298] = "(c) A. Author"
    exif[0x013B] = "A. Author"
    exif[0x010E] = SECRET.decode()
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 0.0)
    body = images.encoded(images.stored_as(images.marker(), 6), media_format, exif=exif)
    copy = copy_of(body, chosen, recipe=WITH_RIGHTS)
    found = opened(copy).getexif()
    assert dict(found) == {0x8298: "(c) A. Author", 0x013B: "A. Author"}
    assert found.get_ifd(0x8825) == {}
    assert SECRET not in copy.body
    assert b"Camera" not in copy.body
    without = copy_of(body, chosen)
    assert dict(opened(without).getexif()) == {}
    assert b"Author" not in without.body


@pytest.mark.parametrize("name", ["© Müller", "© Müller".encode()], ids=["Latin-1", "UTF-8"])
def test_rights_keep_their_letters(name: str | bytes) -> None:
    exif = Pillow.Exif()
    exif[0x8298] = name.encode("latin-1") if isinstance(name, str) else name
    body = images.encoded(images.marker(), "JPEG", exif=exif)
    meant = opened(body).getexif()[0x8298]
    assert "?" not in meant
    for chosen in ALL:
        copy = copy_of(body, chosen, recipe=WITH_RIGHTS)
        assert opened(copy).getexif()[0x8298] == meant


def test_rights_as_long_as_a_book_do_not_keep_a_copy_from_being_made() -> None:
    """A JPEG's EXIF has 64 KB at most; Pillow refuses to write more."""
    exif = Pillow.Exif()
    exif[0x8298], exif[0x013B] = "A" * 100_000, "B" * 100_000
    body = images.encoded(images.marker(), "TIFF", exif=exif)
    for chosen in ALL:
        kept = opened(copy_of(body, chosen, recipe=WITH_RIGHTS)).getexif()
        assert kept[0x8298] == "A" * 2000


def test_empty_or_broken_rights_are_none() -> None:
    exif = Pillow.Exif()
    exif[0x8298], exif[0x013B] = " ", "\0\0"
    for body in (
        images.encoded(images.marker(), "JPEG", exif=exif),
        images.jpeg_with_exif(b"II*\0\xff\xff\xff\xff"),
        images.encoded(images.marker(), "BMP"),
    ):
        assert read(body).whole.rights == b""


# --- Never larger than an original of the same format -------------------------------------------


def same_format(media_format: str) -> CopyFormat:
    return CopyFormat(media_format.lower())


@pytest.mark.parametrize("media_format", ["JPEG", "WEBP"])
@pytest.mark.parametrize("quality", [10, 20, 40, 60, 80, 90, 100])
@pytest.mark.parametrize("case", ["plain", "turned", "profile", "grey", "small"])
def test_a_copy_of_a_lossy_original_is_not_larger(
    media_format: str, quality: int, case: str
) -> None:
    picture = noise(*((5, 3) if case == "small" else (96, 64)))
    options: dict[str, Any] = {"quality": quality}
    if case == "turned":
        options["exif"] = images.exif_of(6)
    elif case == "profile":
        options["icc_profile"] = images.swapping_profile()
    elif case == "grey":
        picture = picture.convert("L")
    if media_format == "JPEG":
        options["optimize"] = True
    body = images.encoded(picture, media_format, **options)
    copy = copy_of(body, same_format(media_format))
    assert len(copy.body) <= len(body)
    assert opened(copy).size == (picture.size if case != "turned" else picture.size[::-1])


@pytest.mark.parametrize("media_format", ["JPEG", "MPO", "WEBP"])
def test_an_original_that_is_smaller_than_its_copy_is_kept_with_its_pixels(
    media_format: str,
) -> None:
    body = images.encoded(
        noise(), media_format, quality=5, progressive=True, exif=images.exif_of(1)
    )
    copy = copy_of(body, CopyFormat.JPEG if media_format == "MPO" else same_format(media_format))
    assert (copy.encoder, copy.quality) == ("original", None)
    assert len(copy.body) < len(body)
    assert opened(copy).tobytes() == opened(body).tobytes()


def rows_with_their_own_filters(side: int = 66) -> bytes:
    """A PNG of noise, the same a little lighter, and a ramp, over and over, each row filtered best.

    With one filter for all rows it takes twice as much.
    """
    random = np.random.default_rng(5)
    rows = b"".join(
        b"\0"
        + random.bytes(side)
        + b"\2"
        + b"\1" * side
        + b"\1"
        + random.bytes(1)
        + b"\3" * (side - 1)
        for _ in range(side // 3)
    )
    return images.png(side, side, depth=8, colour_type=0, rows=rows)


def test_a_png_that_is_smaller_than_its_copy_is_kept_without_its_notes() -> None:
    body = rows_with_their_own_filters()
    note = images.png_chunk(b"tEXt", b"Comment\0" + SECRET)
    copy = copy_of(body[:33] + note + body[33:], CopyFormat.PNG)
    assert (copy.encoder, copy.body, copy.frames) == ("original", body, 1)


def test_with_rights_to_keep_the_quality_is_lowered_instead() -> None:
    exif = Pillow.Exif()
    exif[0x8298] = "(c) A. Author"
    body = images.encoded(noise(), "JPEG", quality=30, progressive=True, exif=exif)
    copy = copy_of(body, CopyFormat.JPEG, recipe=WITH_RIGHTS)
    assert copy.quality is not None
    assert copy.quality < 85
    assert len(copy.body) <= len(body)
    assert opened(copy).getexif()[0x8298] == "(c) A. Author"


@pytest.mark.parametrize("case", ["turned", "profile"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_png_made_with_patience_is_not_larger_though_it_has_to_be_made_anew(
    case: str, mode: str
) -> None:
    gradient = Pillow.radial_gradient("L").resize((400, 300))
    grain = noise(400, 300, mode="L").point(lambda value: value // 32)
    photo = Pillow.merge("RGB", [gradient, gradient.rotate(90).resize((400, 300)), grain])
    picture = photo.convert(mode)
    options: dict[str, Any] = (
        {"exif": images.exif_of(6)}
        if case == "turned"
        else {"icc_profile": images.swapping_profile()}
    )
    body = images.encoded(picture, "PNG", optimize=True, **options)
    assert len(copy_of(body, CopyFormat.PNG).body) <= len(body)


def test_what_is_no_larger_is_no_reason_to_lower_the_quality_in_another_format() -> None:
    body = images.encoded(noise(), "JPEG", quality=5)
    copy = copy_of(body, CopyFormat.WEBP)
    assert copy.quality == 85


# --- Animations -----------------------------------------------------------------------------------


def colours(*names: str) -> list[Pillow.Image]:
    return [Pillow.new("RGB", (48, 32), name) for name in names]


def animated(media_format: str, *, frames: list[Pillow.Image], **options: Any) -> bytes:
    return images.encoded(
        frames[0], media_format, save_all=True, append_images=frames[1:], **options
    )


def shown(copy: Copy) -> Iterator[tuple[tuple[int, ...], int]]:
    """The colour and the milliseconds of each frame."""
    image = Pillow.open(io.BytesIO(copy.body))
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        image.load()
        yield images.pixel(image.convert("RGB"), (24, 16)), image.info["duration"]


@pytest.mark.parametrize("media_format", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_kept_in_the_webp_with_its_frames_and_durations(media_format: str) -> None:
    """Defect 47: animations lost their frames silently."""
    options = {"lossless": True} if media_format == "WEBP" else {}
    body = animated(
        media_format,
        frames=colours("red", "lime", "blue"),
        duration=[50, 120, 400],
        loop=0,
        **options,
    )
    copy = copy_of(body, CopyFormat.WEBP)
    assert copy.frames == 3
    frames = list(shown(copy))
    assert [milliseconds for _, milliseconds in frames] == [50, 120, 400]
    for (seen, _), meant in zip(frames, (images.RED, images.GREEN, images.BLUE), strict=True):
        assert np.allclose(seen, meant, atol=12)


@pytest.mark.parametrize("chosen", [CopyFormat.JPEG, CopyFormat.PNG, CopyFormat.AVIF])
@pytest.mark.parametrize("media_format", ["GIF", "WEBP", "PNG"])
def test_other_copies_show_its_first_frame(chosen: CopyFormat, media_format: str) -> None:
    copy = copy_of(images.animation(media_format), chosen)
    assert copy.frames == 1
    picture = opened(copy)
    assert getattr(picture, "n_frames", 1) == 1
    assert images.is_marker(picture.convert("RGB"))


@pytest.mark.parametrize(
    ("media_format", "loop", "times"),
    [
        # A GIF says how often it is repeated, after it was shown once.
        ("GIF", None, 1),
        ("GIF", 0, 0),
        ("GIF", 1, 2),
        ("GIF", 3, 4),
        ("WEBP", 0, 0),
        ("WEBP", 1, 1),
        ("WEBP", 3, 3),
        ("PNG", 0, 0),
        ("PNG", 3, 3),
        # More than a WebP can say: found by fuzzing, such an image could not be copied at all.
        ("GIF", 65_535, 65_535),
        ("PNG", 2**31, 65_535),
    ],
)
def test_an_animation_is_shown_as_often_as_the_original(
    media_format: str, loop: int | None, times: int
) -> None:
    options = {} if loop is None else {"loop": loop}
    body = animated(media_format, frames=colours("red", "blue"), duration=100, **options)
    assert opened(copy_of(body, CopyFormat.WEBP)).info["loop"] == times


def test_frames_that_take_no_time_and_frames_that_change_nothing_are_no_hindrance() -> None:
    for durations in (0, [0, 10, 0], [100, 0, 0]):
        body = animated("GIF", frames=colours("red", "lime", "blue"), duration=durations)
        assert copy_of(body, CopyFormat.WEBP).frames == 3
    still = animated("WEBP", frames=colours("red", "red", "red", "blue"), duration=50)
    total = sum(milliseconds for _, milliseconds in shown(copy_of(still, CopyFormat.WEBP)))
    assert total == 200


def test_transparent_frames_stay_transparent() -> None:
    with Pillow.open(io.BytesIO(images.with_alpha("PNG"))) as opened_png:
        first = opened_png.convert("RGBA")
    body = animated("WEBP", frames=[first, first.rotate(180)], duration=50, lossless=True)
    picture = Pillow.open(io.BytesIO(copy_of(body, CopyFormat.WEBP).body))
    for number, transparent in ((0, 0), (1, 2)):
        picture.seek(number)
        alphas = [pixel[3] for pixel in images.quarters_of(picture.convert("RGBA"))]
        assert alphas[transparent] == 0
        assert sum(alpha > 250 for alpha in alphas) == 3


@pytest.mark.parametrize(
    "limits",
    [replace(LIMITS, max_frames=2), replace(LIMITS, max_animation_pixels=48 * 32 * 3 - 1)],
    ids=["frames", "pixels"],
)
@pytest.mark.parametrize("media_format", ["GIF", "WEBP", "PNG"])
def test_an_animation_over_a_limit_becomes_a_still(media_format: str, limits: Limits) -> None:
    body = animated(media_format, frames=colours("red", "lime", "blue"), duration=50)
    for chosen in ALL:
        copy = copy_of(body, chosen, limits=limits)
        assert copy.frames == 1
        assert getattr(opened(copy), "n_frames", 1) == 1
    within = replace(LIMITS, max_frames=3, max_animation_pixels=48 * 32 * 3)
    assert copy_of(body, CopyFormat.WEBP, limits=within).frames == 3


def test_an_animation_over_a_limit_becomes_a_still_though_that_is_larger_than_it_was() -> None:
    frames = [noise(), noise().rotate(180)]
    body = animated("WEBP", frames=frames, duration=20, quality=1, method=0)
    copy = copy_of(body, CopyFormat.WEBP, limits=replace(LIMITS, max_frames=1))
    assert getattr(opened(copy), "n_frames", 1) == copy.frames == 1


def test_an_animated_original_that_is_smaller_is_kept_whole() -> None:
    frames = [noise(), noise(96, 64).rotate(180)]
    body = animated("WEBP", frames=frames, duration=20, quality=1, loop=2, exif=images.exif_of(1))
    copy = copy_of(body, CopyFormat.WEBP)
    assert (copy.encoder, copy.frames) == ("original", 2)
    assert opened(copy).info["loop"] == 2
    assert b"Camera" not in copy.body


def test_an_animated_png_that_is_kept_as_a_still_is_told_as_one() -> None:
    body = rows_with_their_own_filters()
    control = images.png_chunk(b"acTL", (2).to_bytes(4, "big") + bytes(4))
    copy = copy_of(body[:33] + control + body[33:], CopyFormat.PNG)
    assert (copy.encoder, copy.body, copy.frames) == ("original", body, 1)


def test_an_animation_that_breaks_off_is_kept_as_far_as_it_goes() -> None:
    frames = [noise(64, 48), noise(48, 64).rotate(90, expand=True), noise(64, 48).rotate(180)]
    body = animated("GIF", frames=frames, duration=50)
    whole = copy_of(body, CopyFormat.WEBP)
    assert whole.frames == 3
    kept = [
        copy_of(body[:length], CopyFormat.WEBP).frames
        for length in range(len(body) * 2 // 5, len(body), len(body) // 10)
    ]
    assert sorted(kept) == kept
    assert min(kept) < 3


def beyond_the_canvas(right: int, bottom: int, **options: Any) -> bytes:
    """A GIF whose second frame reaches so far, its pixels missing from there on."""
    frames = [noise(64, 48), noise(48, 64).rotate(90, expand=True)]
    body = animated("GIF", frames=frames, **options)
    at = body.rindex(b"\x2c\0\0\0\0" + struct.pack("<HH", 64, 48))
    return body[: at + 5] + struct.pack("<HH", right, bottom) + body[at + 9 :]


def test_a_frame_that_reaches_beyond_the_canvas_is_cut() -> None:
    copy = copy_of(beyond_the_canvas(80, 48), CopyFormat.WEBP)
    assert opened(copy).size == (64, 48)


def test_a_frame_as_large_as_a_bomb_ends_the_animation() -> None:
    copy = copy_of(beyond_the_canvas(60_000, 60_000), CopyFormat.WEBP)
    assert (copy.frames, opened(copy).size) == (1, (64, 48))


_PEAK = """
import resource
from tests.unit.imaging import test_formats as tests
tests.Pillow.init()
body = bytearray(tests.beyond_the_canvas(13_000, 10_000, disposal=2))
# Its background is no black: that would cost nothing until it was looked at.
body[11] = 1
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
copy = tests.copy_of(bytes(body), tests.CopyFormat.WEBP)
print(copy.frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="others count a peak in other units")
def test_no_room_is_made_for_what_a_frame_has_beyond_the_canvas() -> None:
    """Found by fuzzing: 2 KB of a GIF took 400 MB, to clear away what was never drawn."""
    finished = subprocess.run(
        [sys.executable, "-c", _PEAK], capture_output=True, text=True, check=True, cwd=ROOT
    )
    frames, kilobytes = map(int, finished.stdout.split())
    assert frames == 1
    assert kilobytes < 100_000


# --- What there is room for -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((16_383, 1), set(ALL)),
        ((1, 16_384), {CopyFormat.JPEG, CopyFormat.PNG, CopyFormat.AVIF}),
        ((16_384, 2), {CopyFormat.JPEG, CopyFormat.PNG, CopyFormat.AVIF}),
    ],
)
def test_a_side_that_a_format_cannot_hold_gets_no_copy_in_it(
    size: tuple[int, int], expected: set[CopyFormat]
) -> None:
    source = read(images.encoded(Pillow.new("L", size, 99), "PNG"))
    assert set(wanted_formats(source, RECIPE)) == expected
    for chosen in expected:
        assert opened(source.copy(chosen, RECIPE)).size == size


def test_each_format_knows_the_longest_side_that_it_can_hold() -> None:
    limits = {chosen: chosen.max_side for chosen in ALL}
    assert limits == {
        CopyFormat.WEBP: 16_383,
        CopyFormat.JPEG: 65_500,
        CopyFormat.PNG: 2**31 - 1,
        CopyFormat.AVIF: 65_500,
    }


def test_which_formats_are_made_depends_on_the_kind_of_picture() -> None:
    recipe = replace(RECIPE, of_photos=(CopyFormat.JPEG,), of_graphics=(CopyFormat.PNG,))
    photo = read(images.encoded(images.marker(), "JPEG"))
    drawing = read(images.encoded(images.marker(), "PNG"))
    assert (photo.kind, drawing.kind) == (Kind.PHOTO, Kind.GRAPHIC)
    assert list(wanted_formats(photo, recipe)) == [CopyFormat.JPEG]
    assert list(wanted_formats(drawing, recipe)) == [CopyFormat.PNG]
    assert list(wanted_formats(drawing, replace(recipe, of_graphics=()))) == []


def test_a_file_that_cannot_be_decoded_is_refused_before_any_copy() -> None:
    for media_format in images.FORMATS:
        with pytest.raises(ImageRejected):
            read(images.truncated(media_format))


# --- The same bytes again -------------------------------------------------------------------------

_SOURCES = """
import hashlib, json
from tests.unit.imaging.test_formats import ALL, RECIPE, read
from tests import images
def digests():
    found = {}
    for name, body in {
        "photo": images.turned("JPEG", 6, width=200, height=140),
        "noise": images.noise("PNG"),
        "drawing": images.palette_png(transparent=True),
        "animation": images.animation("GIF"),
    }.items():
        source = read(body)
        for chosen in ALL:
            found[f"{name} {chosen}"] = hashlib.sha256(source.copy(chosen, RECIPE).body).hexdigest()
    return found
"""


def test_the_same_file_gives_the_same_bytes_in_this_process_and_in_a_fresh_one() -> None:
    names: dict[str, Any] = {}
    exec(_SOURCES, names)  # noqa: S102 # what the fresh process runs too
    first, second = names["digests"](), names["digests"]()
    assert first == second
    finished = subprocess.run(
        [sys.executable, "-c", _SOURCES + "print(json.dumps(digests()))"],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'vendor'}", "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(finished.stdout) == first


def key(recipe: Recipe, chosen: CopyFormat) -> str:
    return recipe.key("1", "v", chosen)


def test_a_key_tells_image_version_format_and_recipe() -> None:
    """Defects 33, 65 and 69: random keys, the suffix of another format, one key for two files."""
    keys = {chosen: key(RECIPE, chosen) for chosen in ALL}
    assert len(set(keys.values())) == len(ALL)
    for chosen, path in keys.items():
        suffix = "jpg" if chosen is CopyFormat.JPEG else chosen.value
        assert path.startswith(f"formats/1/v/{chosen}-")
        assert path.endswith(f".{suffix}")
        assert path == key(RECIPE, chosen)
        assert path != RECIPE.key("1", "w", chosen) != RECIPE.key("2", "v", chosen)


def test_a_key_changes_with_the_settings_that_change_the_bytes_and_with_no_other() -> None:
    slower = replace(RECIPE, webp_method=4)
    assert {chosen for chosen in ALL if key(slower, chosen) != key(RECIPE, chosen)} == {
        CopyFormat.WEBP
    }
    assert {chosen for chosen in ALL if key(WITH_RIGHTS, chosen) != key(RECIPE, chosen)} == set(ALL)
    fewer = replace(RECIPE, of_photos=(), of_graphics=(CopyFormat.PNG,))
    assert [key(fewer, chosen) for chosen in ALL] == [key(RECIPE, chosen) for chosen in ALL]


def test_the_key_of_an_animation_is_not_that_of_its_first_frame() -> None:
    """It becomes that where the limits of animations are lowered."""
    still = RECIPE.key("1", "v", CopyFormat.WEBP)
    assert RECIPE.key("1", "v", CopyFormat.WEBP, animated=False) == still
    assert RECIPE.key("1", "v", CopyFormat.WEBP, animated=True) != still


def test_a_key_changes_with_the_encoder_that_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {chosen: key(RECIPE, chosen) for chosen in ALL}
    newer = {chosen: f"{name}.1" for chosen, name in formats._ENCODERS.items()}
    monkeypatch.setattr(formats, "_ENCODERS", newer)
    assert not set(before.values()) & {key(RECIPE, chosen) for chosen in ALL}


@pytest.mark.parametrize("chosen", ALL)
def test_a_copy_names_its_encoder_with_its_version(chosen: CopyFormat) -> None:
    copy = copy_of(images.noise("PNG"), chosen)
    name, version = copy.encoder.split()
    assert (
        name
        == {
            CopyFormat.WEBP: "libwebp",
            CopyFormat.JPEG: "libjpeg-turbo",
            CopyFormat.PNG: "libdeflate",
            CopyFormat.AVIF: "libavif",
        }[chosen]
    )
    assert version[0].isdigit()
    assert copy.quality == {CopyFormat.PNG: None, CopyFormat.AVIF: 70}.get(chosen, 85)
