"""Renditions and copies of any picture: geometry, uprightness, opacity, and exact pixels."""

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from chalicelib.errors import ImageRejected
from chalicelib.images import FocalPoint
from chalicelib.imaging import png
from chalicelib.imaging.decode import Decoder, on_white
from chalicelib.imaging.formats import Copy, CopyFormat, FullSize, Recipe
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.originals import stripped
from chalicelib.imaging.renditions import Fit, Rendition, RenditionFormat, rendered
from chalicelib.pipeline.rendering import decode_size
from tests import images
from tests.properties.test_decoding import SEEDS, damaged

LIMITS = Limits(max_bytes=10**8, max_pixels=64_000_000, max_side=30_000)
DECODER = Decoder(LIMITS)
RECIPE = Recipe(
    of_photos=tuple(CopyFormat), of_graphics=tuple(CopyFormat), webp_method=0, keep_rights=False
)
# How each format changes the marker least.
FAITHFUL: Mapping[str, Mapping[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True, "method": 0},
    "TIFF": {"compression": "tiff_lzw"},
}
sides = st.integers(1, 400)
orientations = st.sampled_from(images.ORIENTATIONS)
modes = st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA"])
fits = st.sampled_from(Fit)
fractions = st.floats(0, 1)
boxes = st.builds(
    Rendition,
    name=st.just("any"),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    fit=fits,
    background=st.just(images.WHITE),
    format=st.just(RenditionFormat.PNG),
    quality=st.none(),
)


def rendition_of(
    body: bytes,
    rendition: Rendition,
    focal: FocalPoint = FocalPoint(),  # noqa: B008 # frozen
) -> Pillow.Image:
    """As the stages make it."""
    header = DECODER.header(body)
    picture = DECODER.picture(body, size=decode_size(header, [rendition]))
    return rendered(picture, rendition, original=(header.width, header.height), focal=focal)


def opened(copy: Copy) -> Pillow.Image:
    image = Pillow.open(io.BytesIO(copy.body))
    image.load()
    return image


# --- Geometry -------------------------------------------------------------------------------------


@given(sides, sides, orientations, boxes)
def test_a_rendition_has_the_size_that_its_line_promises(
    width: int, height: int, orientation: int, rendition: Rendition
) -> None:
    """Defect 68: small pictures were padded, or blown up."""
    body = images.turned("PNG", orientation, width=width, height=height, compress_level=1)
    size = rendition_of(body, rendition).size
    box = (rendition.width, rendition.height)
    match rendition.fit:
        case Fit.LETTERBOX:
            assert size == box
        case Fit.COVER:
            scale = min(1, max(box[0] / width, box[1] / height))
            assert size == (
                min(box[0], max(round(width * scale), 1)),
                min(box[1], max(round(height * scale), 1)),
            )
        case Fit.INSIDE:
            assert all(side <= limit for side, limit in zip(size, box, strict=True))
            assert all(side <= limit for side, limit in zip(size, (width, height), strict=True))
            # As large as it may be: one side touches the box, or the original's.
            assert size == (width, height) or size[0] == box[0] or size[1] == box[1]


@given(sides, sides, boxes)
def test_no_picture_is_blown_up_or_squeezed(width: int, height: int, rendition: Rendition) -> None:
    """What is not background keeps the proportions of the original, within a pixel."""
    yellow = Pillow.new("RGB", (width, height), images.YELLOW)
    letterbox = replace(rendition, fit=Fit.LETTERBOX, background=images.BLUE)
    shown = np.asarray(rendition_of(images.encoded(yellow, "BMP"), letterbox))
    # Ringing at the edge of a box stays far from half.
    inside = shown[:, :, 0] > 127
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    scale = min(letterbox.width / width, letterbox.height / height, 1)
    assert abs(len(columns) - width * scale) <= 1
    assert abs(len(rows) - height * scale) <= 1
    # And it is in the middle.
    assert abs((letterbox.height - len(rows)) // 2 - rows[0]) <= 1
    assert abs((letterbox.width - len(columns)) // 2 - columns[0]) <= 1


@given(
    st.integers(8, 400), st.integers(8, 400), orientations, fits,
    st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]),
)  # fmt: skip
def test_any_rendition_of_the_marker_is_upright(
    width: int, height: int, orientation: int, fit: Fit, media_format: str
) -> None:
    width, height = width // 8 * 8, height // 8 * 8
    options = FAITHFUL.get(media_format, {})
    body = images.turned(media_format, orientation, width=width, height=height, **options)
    rendition = Rendition(
        name="any", width=64, height=64, fit=fit, background=images.WHITE,
        format=RenditionFormat.PNG, quality=None,
    )  # fmt: skip
    shown = rendition_of(body, rendition)
    scale = rendition.scale(width, height)
    if fit is Fit.LETTERBOX:
        left, top = (64 - width * scale) / 2, (64 - height * scale) / 2
        shown = shown.crop((round(left), round(top), round(64 - left), round(64 - top)))
    if min(shown.size) >= 16:
        assert images.is_marker(shown)


@given(st.integers(8, 300), st.integers(8, 300), orientations, fractions, fractions)
def test_a_cut_shows_what_lies_around_the_focal_point(
    width: int, height: int, orientation: int, x: float, y: float
) -> None:
    """The middle of the cut is the point, or as near to it as the edge lets it come."""
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[:, :, 0] = (np.arange(width) * 255 / max(width - 1, 1)).round()[np.newaxis, :]
    ramp[:, :, 1] = (np.arange(height) * 255 / max(height - 1, 1)).round()[:, np.newaxis]
    body = images.encoded(
        images.stored_as(Pillow.fromarray(ramp), orientation),
        "PNG",
        exif=images.exif_of(orientation),
    )
    rendition = Rendition(
        name="any", width=40, height=40, fit=Fit.COVER, background=images.WHITE,
        format=RenditionFormat.PNG, quality=None,
    )  # fmt: skip
    cut = np.asarray(rendition_of(body, rendition, FocalPoint(x=x, y=y)), float)
    scale = rendition.scale(width, height)
    for axis, (side, point) in enumerate(((width, x), (height, y))):
        half = min(40 / scale, side) / 2
        middle = min(max(point * side, half), side - half)
        meant = (middle - 0.5) * 255 / max(side - 1, 1)
        # Two pixels of the ramp, and the rounding of a scaled pixel.
        assert abs(cut[:, :, axis].mean() - meant) <= 2 * 255 / side + 3


# --- The whole and the reduced picture ----------------------------------------------------------


@st.composite
def pictures(draw: st.DrawFn) -> Pillow.Image:
    """A small picture of any mode: random, of few colours, or of one."""
    width, height = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    mode = draw(modes)
    random = np.random.default_rng(draw(st.integers(0, 9)))
    levels = draw(st.sampled_from([1, 2, 3, 17, 256]))
    pixels = random.integers(0, levels, (height, width, 4)) * (255 // max(levels - 1, 1))
    return Pillow.fromarray(pixels.astype(np.uint8)).convert(mode)


def stored(picture: Pillow.Image, media_format: str) -> bytes | None:
    """As a file, None where the format has no such pictures."""
    try:
        return images.encoded(picture, media_format, **FAITHFUL.get(media_format, {}))
    except OSError:
        return None


@given(pictures(), st.sampled_from(images.FORMATS))
def test_whole_and_reduced_picture_are_the_same_where_nothing_is_reduced(
    picture: Pillow.Image, media_format: str
) -> None:
    body = stored(picture, media_format)
    if body is None:
        return
    whole = DECODER.whole(body).picture
    assert whole.mode in {"L", "LA", "RGB", "RGBA"}
    assert whole.size == picture.size
    reduced = DECODER.picture(body, size=picture.size)
    difference = np.asarray(on_white(whole), int) - np.asarray(reduced, int)
    assert np.abs(difference).max() <= 1


# --- Copies -----------------------------------------------------------------------------------


@given(pictures(), st.sampled_from(png.Effort))
def test_a_png_has_exactly_the_pixels(picture: Pillow.Image, effort: png.Effort) -> None:
    plain = picture.convert({"1": "L", "P": "RGB"}.get(picture.mode, picture.mode))
    body = png.encoded(plain, effort)
    with Pillow.open(io.BytesIO(body)) as again:
        assert again.convert(plain.mode).tobytes() == plain.tobytes()


@given(pictures(), st.sampled_from(images.FORMATS), st.sampled_from(CopyFormat))
def test_a_copy_has_the_size_the_opacity_and_if_it_is_exact_the_pixels(
    picture: Pillow.Image, media_format: str, chosen: CopyFormat
) -> None:
    body = stored(picture, media_format)
    if body is None:
        return
    source = FullSize.read(body, DECODER)
    copy = source.copy(chosen, RECIPE)
    shown, meant = opened(copy), source.whole.picture
    assert shown.size == meant.size == picture.size
    assert copy.frames == 1
    if chosen is CopyFormat.PNG:
        assert shown.convert("RGBA").tobytes() == meant.convert("RGBA").tobytes()
    if chosen is not CopyFormat.JPEG and "A" in meant.getbands():
        seen = np.asarray(shown.convert("RGBA"), int)[:, :, 3]
        assert np.abs(seen - np.asarray(meant.getchannel("A"), int)).max() <= 24
    if source.whole.media_type == chosen.media_type and media_format != "JPEG":
        assert len(copy.body) <= len(body)


@given(
    sides, sides, orientations, st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]),
    st.sampled_from(CopyFormat), st.sampled_from([None, "swapping", "broken"]),
)  # fmt: skip
def test_a_copy_of_any_size_turn_and_profile_is_upright_and_tells_nothing(
    width: int,
    height: int,
    orientation: int,
    media_format: str,
    chosen: CopyFormat,
    profile: str | None,
) -> None:
    options = dict(FAITHFUL.get(media_format, {}))
    if profile is not None:
        known = {"swapping": images.swapping_profile(), "broken": b"nonsense" * 9}
        options["icc_profile"] = known[profile]
    body = images.turned(media_format, orientation, width=width, height=height, **options)
    copy = FullSize.read(body, DECODER).copy(chosen, RECIPE)
    shown = opened(copy)
    assert shown.size == (width, height)
    assert dict(shown.getexif()) == {}
    assert "icc_profile" not in shown.info
    assert b"Camera" not in copy.body
    if min(width, height) >= 32 and profile != "swapping":
        assert images.is_marker(shown.convert("RGB"))


# --- Whatever comes -------------------------------------------------------------------------------


@given(damaged(), st.sampled_from(CopyFormat))
def test_a_damaged_file_is_refused_or_has_its_copies(body: bytes, chosen: CopyFormat) -> None:
    """Nothing but a rejection of the file comes out of reading it, and nothing of copying it."""
    limits = replace(LIMITS, max_pixels=1_000_000, max_animation_pixels=1_000_000)
    decoder = Decoder(limits)
    try:
        source = FullSize.read(body, decoder)
    except ImageRejected:
        return
    copy = source.copy(chosen, RECIPE)
    assert (
        opened(copy).size
        == source.whole.picture.size
        == (
            source.header.width,
            source.header.height,
        )
    )


@given(st.sampled_from(sorted(SEEDS)), st.binary(max_size=200), st.integers(0, 10**6))
def test_stripping_a_file_with_anything_in_it_raises_nothing(
    name: str, inserted: bytes, position: int
) -> None:
    body = SEEDS[name]
    at = position % (len(body) + 1)
    for media_type in ("image/jpeg", "image/png", "image/webp"):
        bare = stripped(body[:at] + inserted + body[at:], media_type)
        assert bare is None or isinstance(bare, bytes)
