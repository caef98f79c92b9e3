import io
import resource
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from chalicelib.errors import ImageRejected
from chalicelib.imaging.decode import Decoder, Header
from chalicelib.imaging.limits import Limits
from tests import images

LIMITS = Limits(max_bytes=50 * 1024 * 1024, max_pixels=64_000_000, max_side=30_000)
DECODER = Decoder(LIMITS)
WITH_EXIF = ("JPEG", "PNG", "WEBP", "TIFF", "MPO")
# What docs/api.md lists as reasons of `preprocessing_failed` that lie in the file.
CODES = {
    "image_empty",
    "image_too_large",
    "image_dimensions_too_large",
    "image_corrupt",
    "image_truncated",
    "unsupported_media_type",
}


def decoded(body: bytes, *, side: int = 256, decoder: Decoder = DECODER) -> Pillow.Image:
    """The picture with its shorter side reduced to this, where it is longer."""
    header = decoder.header(body)
    return decoder.picture(body, size=header.scaled(side / min(header.width, header.height)))


def outcome(body: bytes, *, decoder: Decoder = DECODER) -> Pillow.Image | ImageRejected:
    """The picture, or why there is none."""
    try:
        decoder.header(body)
        return decoded(body, decoder=decoder)
    except ImageRejected as error:
        return error


def refusal(body: bytes, *, decoder: Decoder = DECODER) -> ImageRejected:
    """Of the header already, else of the picture."""
    error = outcome(body, decoder=decoder)
    assert isinstance(error, ImageRejected), "the file was taken"
    assert error.code in CODES
    assert error.public_message.endswith(".")
    return error


# How an image is turned.


@pytest.mark.parametrize("orientation", images.ORIENTATIONS)
@pytest.mark.parametrize("media_format", WITH_EXIF)
def test_a_turned_image_comes_out_upright(media_format: str, orientation: int) -> None:
    body = images.turned(media_format, orientation)
    picture = decoded(body)
    assert picture.size == (48, 32)
    assert images.is_marker(picture)


@pytest.mark.parametrize("orientation", images.ORIENTATIONS)
@pytest.mark.parametrize("media_format", WITH_EXIF)
def test_the_header_tells_the_size_upright(media_format: str, orientation: int) -> None:
    header = DECODER.header(images.turned(media_format, orientation))
    assert (header.width, header.height) == (48, 32)


@pytest.mark.parametrize("orientation", images.ORIENTATIONS)
def test_a_png_may_say_how_it_is_turned_after_its_pixels(orientation: int) -> None:
    body = images.png_turned_at_the_end(orientation)
    header = DECODER.header(body)
    assert (header.width, header.height) == (48, 32)
    assert images.is_marker(decoded(body))


@pytest.mark.parametrize("orientation", images.ORIENTATIONS)
def test_a_large_jpeg_is_upright_though_decoded_at_a_fraction(orientation: int) -> None:
    picture = decoded(images.turned("JPEG", orientation, width=1600, height=1200), side=256)
    assert picture.size == (341, 256)
    assert images.is_marker(picture)


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    body = images.encoded(images.marker(), "JPEG", exif=images.exif_of(orientation))
    assert images.is_marker(decoded(body))


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II*\x00",
        b"II*\x00\xff\xff\xff\xff",
        b"MM\x00*\x00\x00\x00\x08\xff\xff",
        b"nonsense" * 10,
        # An orientation as text, as a fraction of nothing, and one that lies beyond the block.
        b"II*\x00\x08\x00\x00\x00" + struct.pack("<HHHII", 1, 0x0112, 2, 2, 0x41) + bytes(4),
        b"II*\x00\x08\x00\x00\x00" + struct.pack("<HHHII", 1, 0x0112, 5, 1, 26) + bytes(12),
        b"II*\x00\x08\x00\x00\x00" + struct.pack("<HHHII", 1, 0x0112, 3, 9, 9999) + bytes(4),
    ],
    ids=range(8),
)
def test_a_broken_exif_block_costs_nothing_but_the_orientation(exif: bytes) -> None:
    body = images.jpeg_with_exif(exif)
    assert DECODER.header(body) == Header(media_type="image/jpeg", width=48, height=32)
    assert images.is_marker(decoded(body))


# Colours.


@pytest.mark.parametrize("media_format", images.FORMATS)
def test_every_format_is_read_with_its_type_and_size(media_format: str) -> None:
    body = images.encoded(images.marker(), media_format)
    media_type = f"image/{media_format.lower()}"
    mode = "P" if media_format == "GIF" else "RGB"
    assert DECODER.header(body) == Header(media_type=media_type, width=48, height=32, mode=mode)
    picture = decoded(body)
    assert (picture.mode, picture.size) == ("RGB", (48, 32))
    assert images.is_marker(picture)


@pytest.mark.parametrize("make", [images.cmyk_jpeg, images.ycck_jpeg, images.mpo])
def test_what_print_shops_and_phones_write_has_its_colours(make: Callable[[], bytes]) -> None:
    assert images.is_marker(decoded(make()))


@pytest.mark.parametrize("media_format", ["CMYK", "LAB", "YCbCr", "PA", "RGBX"])
def test_a_tiff_of_any_colour_model_becomes_rgb(media_format: str) -> None:
    if media_format == "LAB":
        # Pillow makes none from RGB: a bright, colourless one instead.
        source = Pillow.merge(
            "LAB", [Pillow.new("L", (48, 32), value) for value in (255, 128, 128)]
        )
    elif media_format == "PA":
        source = images.marker().quantize(4).convert("RGBA")
    else:
        source = images.marker().convert(media_format)
    picture = decoded(images.encoded(source, "TIFF"))
    assert (picture.mode, picture.size) == ("RGB", (48, 32))
    assert media_format == "LAB" or images.is_marker(picture)


@pytest.mark.parametrize("make", [images.palette_png, images.palette_gif])
def test_a_palette_is_resolved(make: Callable[..., bytes]) -> None:
    assert images.is_marker(decoded(make(transparent=False)), tolerance=0)


@pytest.mark.parametrize(
    "body",
    [
        images.palette_png(transparent=True),
        images.palette_gif(transparent=True),
        images.with_alpha("PNG"),
        images.with_alpha("TIFF"),
        images.with_alpha("WEBP", lossless=True),
        images.with_alpha("GIF"),
        images.with_alpha("WEBP", quality=95),
    ],
    ids=["palette-png", "palette-gif", "png", "tiff", "webp", "gif", "lossy-webp"],
)
def test_what_is_transparent_becomes_white_and_the_rest_keeps_its_colour(body: bytes) -> None:
    seen = images.quarters_of(decoded(body))
    assert seen[0] == images.WHITE
    for colour, meant in zip(seen[1:], images.QUARTERS[1:], strict=True):
        assert np.allclose(colour, meant, atol=12)


def test_half_transparent_black_is_grey_on_white() -> None:
    assert images.pixel(decoded(images.half_transparent_png()), (4, 4)) == (127, 127, 127)


def test_grey_with_alpha_is_grey_on_white() -> None:
    picture = decoded(images.grey_alpha_png())
    assert images.pixel(picture, (0, 0)) == (60, 60, 60)
    assert images.pixel(picture, (7, 7)) == images.WHITE


@pytest.mark.parametrize("media_format", ["PNG", "TIFF", "BMP", "GIF"])
def test_one_bit_is_black_and_white(media_format: str) -> None:
    picture = decoded(images.bilevel(media_format))
    assert images.pixel(picture, (0, 0)) == (0, 0, 0)
    assert images.pixel(picture, (15, 7)) == images.WHITE


@pytest.mark.parametrize("media_format", ["PNG", "TIFF"])
def test_sixteen_bits_of_grey_are_scaled_and_not_clipped(media_format: str) -> None:
    picture = decoded(images.deep_grey(media_format))
    seen = np.asarray(picture)[0, :, 0].astype(int)
    meant = images.deep_grey_ramp()[0] / 257
    assert np.abs(seen - meant).max() <= 1


def test_the_transparent_grey_of_sixteen_bits_is_white() -> None:
    middle = int(images.deep_grey_ramp()[0][7])
    picture = decoded(images.deep_grey("PNG", transparency=middle))
    assert images.pixel(picture, (7, 0)) == images.WHITE
    assert images.pixel(picture, (0, 0)) == (0, 0, 0)


def test_the_transparent_colour_of_sixteen_bits_is_white() -> None:
    picture = decoded(images.deep_colour_png())
    assert images.pixel(picture, (0, 0)) == images.RED
    assert images.pixel(picture, (1, 0)) == images.WHITE


@pytest.mark.parametrize(("lowest", "highest"), [(0.0, 1.0), (0.0, 255.0), (0.0, 65535.0)])
def test_greys_in_floating_point_are_scaled_by_their_range(lowest: float, highest: float) -> None:
    ramp = np.linspace(lowest, highest, 16, dtype=np.float32).reshape(1, 16)
    picture = decoded(images.encoded(Pillow.fromarray(ramp), "TIFF"))
    seen = np.asarray(picture)[0, :, 0].astype(int)
    assert np.abs(seen - np.linspace(0, 255, 16)).max() <= 1


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_a_pixel_that_is_no_number_ends_nothing(odd: float) -> None:
    pixels = np.full((2, 2), odd, np.float32)
    assert decoded(images.encoded(Pillow.fromarray(pixels), "TIFF")).size == (2, 2)


@pytest.mark.parametrize("media_format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_colour_profile_is_applied(media_format: str) -> None:
    options = {"lossless": True} if media_format == "WEBP" else {}
    body = images.encoded(
        images.marker(), media_format, icc_profile=images.swapping_profile(), **options
    )
    seen = images.quarters_of(decoded(body))
    assert np.allclose(seen[0], images.GREEN, atol=12)
    assert np.allclose(seen[1], images.RED, atol=12)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_colour_profile_of_greys_is_applied(mode: str) -> None:
    grey = Pillow.new("L", (8, 8), 128).convert(mode)
    plain = images.pixel(decoded(images.encoded(grey, "PNG")), (3, 3))
    body = images.encoded(grey, "PNG", icc_profile=images.grey_profile())
    assert plain == (128, 128, 128)
    assert min(images.pixel(decoded(body), (3, 3))) > 180


def test_a_colour_profile_of_inks_is_applied(shared: Path) -> None:
    body = (shared / "photos/tricky/Channel_digital_image_CMYK_color.jpg").read_bytes()
    picture = decoded(body, side=10_000)
    with Pillow.open(io.BytesIO(body)) as image:
        assert image.mode == "CMYK"
        without_profile = image.convert("RGB")
    difference = np.asarray(picture, int) - np.asarray(without_profile, int)
    assert np.abs(difference).mean() > 5


def test_a_colour_profile_is_applied_to_a_palette() -> None:
    picture = images.marker().quantize(4)
    body = images.encoded(picture, "PNG", icc_profile=images.swapping_profile())
    assert images.quarters_of(decoded(body))[0] == images.GREEN


def test_a_colour_profile_leaves_transparency_where_it_was() -> None:
    body = images.with_alpha("PNG", icc_profile=images.swapping_profile())
    seen = images.quarters_of(decoded(body))
    assert seen[0] == images.WHITE
    assert seen[1] == images.RED


def test_a_transparent_colour_is_found_though_a_profile_changes_the_colours() -> None:
    body = images.encoded(
        images.marker(), "PNG", icc_profile=images.swapping_profile(), transparency=images.RED
    )
    seen = images.quarters_of(decoded(body))
    assert seen[0] == images.WHITE
    assert seen[1] == images.RED


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
@pytest.mark.parametrize(
    "profile",
    [b"x", b"\0" * 200, images.swapping_profile()[:200], images.swapping_profile()],
    ids=["tiny", "zeros", "cut", "of another mode"],
)
def test_a_profile_that_cannot_be_applied_is_ignored(mode: str, profile: bytes) -> None:
    grey = Pillow.new("L", (8, 8), 77)
    source = Pillow.new(mode, (8, 8), 77 * 257) if mode == "I;16" else grey.convert(mode)
    body = images.encoded(source, "TIFF" if mode == "CMYK" else "PNG", icc_profile=profile)
    seen = images.pixel(decoded(body), (3, 3))
    assert seen[0] == seen[1] == seen[2]
    assert mode == "1" or abs(seen[0] - 77) <= 2


# What is left over.


@pytest.mark.parametrize("media_format", WITH_EXIF)
def test_nothing_but_pixels_is_left(media_format: str) -> None:
    options: dict[str, Any] = {"icc_profile": images.swapping_profile()}
    if media_format in {"JPEG", "MPO"}:
        options["comment"] = b"where I live"
    body = images.turned(media_format, 6, **options)
    picture = decoded(body)
    assert picture.info == {}
    assert dict(picture.getexif()) == {}
    again = images.encoded(picture, "JPEG")
    assert b"Exif" not in again
    assert b"where I live" not in again


@pytest.mark.parametrize("media_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_picture_counts(media_format: str) -> None:
    assert images.is_marker(decoded(images.animation(media_format)))


def test_what_follows_the_image_in_the_file_is_ignored() -> None:
    for media_format in ("JPEG", "PNG", "GIF"):
        body = images.encoded(images.marker(), media_format) + b"<script>alert(1)</script>" * 9
        assert images.is_marker(decoded(body))


def test_the_same_file_gives_the_same_pixels() -> None:
    body = images.turned("JPEG", 5, width=1600, height=1200)
    assert decoded(body).tobytes() == decoded(body).tobytes()


# Sizes.


@pytest.mark.parametrize("media_format", images.FORMATS)
def test_a_single_pixel_is_an_image(media_format: str) -> None:
    body = images.encoded(Pillow.new("RGB", (1, 1), images.RED), media_format)
    picture = decoded(body)
    assert picture.size == (1, 1)
    assert np.allclose(images.pixel(picture, (0, 0)), images.RED, atol=3)


@pytest.mark.parametrize("size", [(30_000, 1), (1, 30_000), (5000, 3), (3, 5000)])
@pytest.mark.parametrize("media_format", ["PNG", "JPEG"])
def test_an_extreme_shape_keeps_its_size(media_format: str, size: tuple[int, int]) -> None:
    body = images.encoded(Pillow.new("RGB", size, images.BLUE), media_format)
    assert decoded(body).size == size


@pytest.mark.parametrize("media_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(400, 300), (399, 299), (401, 301), (1600, 1200), (7, 5), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_reduced_picture_has_just_the_size_that_is_asked_for(
    media_format: str, size: tuple[int, int], mode: str
) -> None:
    body = images.encoded(Pillow.new("RGB", (1600, 1200), images.BLUE).convert(mode), media_format)
    assert DECODER.picture(body, size=size).size == size


def test_the_header_tells_the_size_of_the_original_not_of_a_reduced_decode() -> None:
    header = DECODER.header(images.turned("JPEG", 6, width=1600, height=1200))
    assert (header.width, header.height) == (1600, 1200)


# Bombs, lies and limits: judged by the header.


@pytest.mark.parametrize("media_format", images.FORMATS)
@pytest.mark.parametrize("side", [9_000, 16_000])
def test_a_size_over_the_limit_is_refused_before_anything_is_decoded(
    media_format: str, side: int
) -> None:
    # The pixels behind these headers are missing: had they been looked at,
    # the file would be called damaged, and memory for them would be gone.
    body = images.claiming(media_format, side, side)
    memory_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    started = time.process_time()
    error = refusal(body)
    seconds = time.process_time() - started
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    memory_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_before
    assert error.code == "image_dimensions_too_large"
    assert error.public_message == (
        f"The image is {side} x {side} pixels; at most 64000000 pixels are taken."
    )
    assert memory_kib < 16 * 1024
    assert peak_bytes < 4 * 1024 * 1024
    assert seconds < 1


@pytest.mark.parametrize("media_format", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("size", [(60_000, 4), (4, 60_000)])
def test_a_side_over_the_limit_is_refused(media_format: str, size: tuple[int, int]) -> None:
    error = refusal(images.claiming(media_format, *size))
    assert error.code == "image_dimensions_too_large"
    assert "no side may exceed 30000" in error.public_message


def test_the_limit_is_the_last_size_that_is_taken() -> None:
    body = images.encoded(Pillow.new("RGB", (30, 20)), "PNG")
    exact = Limits(max_bytes=len(body), max_pixels=600, max_side=30)
    assert decoded(body, decoder=Decoder(exact)).size == (30, 20)
    for tighter, code in (
        (Limits(max_bytes=len(body) - 1, max_pixels=600, max_side=30), "image_too_large"),
        (Limits(max_bytes=10**6, max_pixels=599, max_side=30), "image_dimensions_too_large"),
        (Limits(max_bytes=10**6, max_pixels=600, max_side=29), "image_dimensions_too_large"),
    ):
        assert refusal(body, decoder=Decoder(tighter)).code == code


def test_an_empty_file_is_called_empty() -> None:
    assert refusal(b"").code == "image_empty"


@pytest.mark.parametrize("media_format", ["PNG", "WEBP", "BMP", "TIFF"])
def test_a_header_that_promises_more_than_there_is_is_refused(media_format: str) -> None:
    error = refusal(images.claiming(media_format, 1000, 1000))
    assert error.code in {"image_truncated", "image_corrupt"}


@pytest.mark.parametrize("media_format", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_a_file_whose_end_is_missing_is_called_truncated(media_format: str) -> None:
    assert refusal(images.truncated(media_format)).code == "image_truncated"


def test_a_webp_whose_end_is_missing_is_refused() -> None:
    assert refusal(images.truncated("WEBP")).code in {"image_truncated", "image_corrupt"}


@pytest.mark.parametrize("media_format", images.FORMATS)
def test_of_any_length_a_cut_file_is_an_image_or_refused(media_format: str) -> None:
    body = images.encoded(images.marker(), media_format)
    for length in range(1, len(body), max(1, len(body) // 60)):
        end = outcome(body[:length])
        if isinstance(end, ImageRejected):
            assert end.code in CODES
        else:
            assert end.size == (48, 32)


@pytest.mark.parametrize("media_format", images.FORMATS)
def test_a_signature_with_nothing_behind_it_is_corrupt(media_format: str) -> None:
    start = images.noise(media_format)[:12]
    assert refusal(start + bytes(100)).code == "image_corrupt"


@pytest.mark.parametrize("name", sorted(images.NO_IMAGES))
def test_what_is_no_image_is_refused_whatever_its_name(name: str) -> None:
    error = refusal(images.NO_IMAGES[name])
    assert error.code == "unsupported_media_type"
    assert "image/jpeg" in error.public_message


def test_a_png_whose_pixels_are_damaged_is_refused_even_if_it_has_no_exif() -> None:
    # Pillow decodes a PNG to look for EXIF: the fault must not get lost there.
    body = bytearray(images.noise("PNG"))
    body[len(body) // 2] ^= 0xFF
    error = refusal(bytes(body))
    assert error.code == "image_corrupt"


def test_a_damaged_text_chunk_behind_the_pixels_of_a_png_is_refused_by_the_picture() -> None:
    body = images.encoded(images.marker(), "PNG")
    broken = body[:-12] + images.png_chunk(b"zTXt", b"note\0\x78broken") + body[-12:]
    DECODER.header(broken)
    assert refusal(broken).code == "image_corrupt"


def test_a_text_bomb_in_a_png_is_refused() -> None:
    bomb = images.png_chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(64 * 1024 * 1024)))
    body = images.encoded(images.marker(), "PNG")
    assert refusal(body[:33] + bomb + body[33:]).code == "image_corrupt"


@pytest.mark.parametrize("media_format", images.FORMATS)
def test_a_refusal_keeps_the_decoders_words_for_the_log(media_format: str) -> None:
    error = refusal(images.truncated(media_format))
    assert "Error" in str(error)
    assert "Error" not in error.public_message
    assert "PIL" not in error.public_message


@pytest.mark.parametrize("media_format", images.FORMATS)
def test_reading_a_header_decodes_no_pixels(media_format: str) -> None:
    # Pillow itself would decode a PNG to look for EXIF behind its pixels.
    body = images.encoded(Pillow.new("RGB", (3000, 3000), images.BLUE), media_format)
    started = time.process_time()
    header = DECODER.header(body)
    header_seconds = time.process_time() - started
    decoded(body, side=3000)
    picture_seconds = time.process_time() - started - header_seconds
    assert (header.width, header.height) == (3000, 3000)
    assert header_seconds < picture_seconds / 5
