"""Test images, made by code: what phones, scanners, editors and attackers send.

Every function gives the bytes of a whole file. Nothing is read from disk.
"""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageCms

RED = (255, 0, 0)
GREEN = (0, 255, 0)
BLUE = (0, 0, 255)
YELLOW = (255, 255, 0)
WHITE = (255, 255, 255)
# Clockwise from the top left: no turn and no mirroring leaves this order as it is.
QUARTERS = (RED, GREEN, YELLOW, BLUE)

_ORIENTATION = 0x0112
# The side of the upright picture at which the stored rows, and the stored columns, begin;
# EXIF 2.32, 4.6.4 A, "Orientation".
_STORED_FROM: Mapping[int, tuple[str, str]] = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
ORIENTATIONS = tuple(_STORED_FROM)


def marker(width: int = 48, height: int = 32) -> Pillow.Image:
    """A picture whose four quarters have four colours."""
    picture = Pillow.new("RGB", (width, height), RED)
    picture.paste(GREEN, (width // 2, 0, width, height // 2))
    picture.paste(YELLOW, (width // 2, height // 2, width, height))
    picture.paste(BLUE, (0, height // 2, width // 2, height))
    return picture


def quarters_of(picture: Pillow.Image) -> tuple[tuple[int, ...], ...]:
    """The colours in the middle of the four quarters, clockwise from the top left."""
    x, y = picture.width // 4, picture.height // 4
    right, bottom = picture.width - 1 - x, picture.height - 1 - y
    return tuple(
        pixel(picture, place) for place in ((x, y), (right, y), (right, bottom), (x, bottom))
    )


def pixel(picture: Pillow.Image, place: tuple[int, int]) -> tuple[int, ...]:
    """The channels of one pixel."""
    value = picture.getpixel(place)
    assert isinstance(value, tuple)
    return tuple(int(channel) for channel in value)


def is_marker(picture: Pillow.Image, *, tolerance: int = 40) -> bool:
    """Whether the picture is the marker, upright, up to a codec's loss."""
    return all(
        abs(seen - meant) <= tolerance
        for colour, meant_colour in zip(quarters_of(picture), QUARTERS, strict=True)
        for seen, meant in zip(colour, meant_colour, strict=True)
    )


def encoded(picture: Pillow.Image, media_format: str, **options: Any) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    picture.save(buffer, media_format, **options)
    return buffer.getvalue()


def stored_as(picture: Pillow.Image, orientation: int) -> Pillow.Image:
    """The pixels that a camera stores of an upright picture when it notes this orientation."""
    rows_from, columns_from = _STORED_FROM[orientation]
    pixels = np.asarray(picture)
    if rows_from in {"left", "right"}:
        pixels = pixels.transpose(1, 0, 2)
    if rows_from in {"right", "bottom"}:
        pixels = pixels[::-1]
    if columns_from in {"right", "bottom"}:
        pixels = pixels[:, ::-1]
    return Pillow.fromarray(np.ascontiguousarray(pixels))


def exif_of(orientation: int) -> Pillow.Exif:
    """An EXIF block that says how the picture is turned, and where it was taken."""
    exif = Pillow.Exif()
    exif[_ORIENTATION] = orientation
    exif[0x010F] = "Camera of a test"
    exif.get_ifd(0x8825)[1] = "N"
    return exif


def turned(
    media_format: str, orientation: int, *, width: int = 48, height: int = 32, **options: Any
) -> bytes:
    """The marker, stored with this orientation."""
    picture = stored_as(marker(width, height), orientation)
    return encoded(picture, media_format, exif=exif_of(orientation), **options)


def png_turned_at_the_end(orientation: int) -> bytes:
    """A PNG that says how it is turned only after its pixels."""
    body = encoded(stored_as(marker(), orientation), "PNG")
    exif = exif_of(orientation).tobytes().removeprefix(b"Exif\0\0")
    return body[:-12] + png_chunk(b"eXIf", exif) + body[-12:]


def jpeg_with_exif(exif: bytes) -> bytes:
    """The marker as JPEG with these bytes as its EXIF block, whatever they are."""
    return encoded(marker(), "JPEG", exif=b"Exif\0\0" + exif)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG with the right checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int,
    height: int,
    *,
    depth: int,
    colour_type: int,
    rows: bytes,
    extra: bytes = b"",
) -> bytes:
    """A PNG of raw rows, each with its filter byte."""
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
        + extra
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


# Colour models.


def cmyk_jpeg() -> bytes:
    """The marker as a print shop sends it."""
    return encoded(marker().convert("CMYK"), "JPEG", quality=95)


def ycck_jpeg() -> bytes:
    """The marker as Photoshop writes CMYK: luma, chroma and black, marked so by Adobe's segment."""
    inverted = Pillow.fromarray(255 - np.asarray(marker()))
    # Pillow inverts the four channels as it writes them; this makes up for it.
    channels = [channel.point(_inverted) for channel in inverted.convert("YCbCr").split()]
    picture = Pillow.merge("CMYK", [*channels, Pillow.new("L", inverted.size, 0)])
    body = bytearray(encoded(picture, "JPEG", quality=95))
    body[body.index(b"Adobe") + 11] = 2
    return bytes(body)


def _inverted(value: Any) -> Any:
    return 255 - value


def palette_png(*, transparent: bool) -> bytes:
    """The marker with a palette; its red quarter is transparent or not."""
    picture = marker().quantize(4)
    if not transparent:
        return encoded(picture, "PNG")
    red = picture.getpixel((0, 0))
    return encoded(picture, "PNG", transparency=red)


def palette_gif(*, transparent: bool) -> bytes:
    """Likewise as GIF."""
    picture = marker().quantize(4)
    if not transparent:
        return encoded(picture, "GIF")
    return encoded(picture, "GIF", transparency=picture.getpixel((0, 0)))


def with_alpha(media_format: str, **options: Any) -> bytes:
    """The marker, its red quarter wholly transparent."""
    picture = marker().convert("RGBA")
    alpha = Pillow.new("L", picture.size, 255)
    alpha.paste(0, (0, 0, picture.width // 2, picture.height // 2))
    picture.putalpha(alpha)
    return encoded(picture, media_format, **options)


def half_transparent_png() -> bytes:
    """Black, half transparent: middle grey on white."""
    return encoded(Pillow.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG")


def grey_alpha_png() -> bytes:
    """Mode LA: dark grey on the left, transparent black on the right."""
    picture = Pillow.new("LA", (8, 8), (60, 255))
    picture.paste((0, 0), (4, 0, 8, 8))
    return encoded(picture, "PNG")


def bilevel(media_format: str) -> bytes:
    """One bit a pixel: black on the left, white on the right."""
    picture = Pillow.new("1", (16, 8), 0)
    picture.paste(1, (8, 0, 16, 8))
    return encoded(picture, media_format)


def deep_grey_ramp() -> npt.NDArray[np.uint16]:
    """Fourteen greys of 16 bits, from black to white; in most, the two bytes differ."""
    return np.linspace(0, 65535, 14).astype(np.uint16).reshape(1, 14).repeat(8, axis=0)


def deep_grey(media_format: str, **options: Any) -> bytes:
    """The ramp in 16 bits a pixel."""
    return encoded(Pillow.fromarray(deep_grey_ramp()), media_format, **options)


def deep_colour_png() -> bytes:
    """One row of 16 bits a channel: red, then a green that its tRNS chunk calls transparent."""
    red, green = (65535, 0, 0), (0, 65535, 0)
    row = b"\0" + struct.pack(">6H", *red, *green)
    transparent = png_chunk(b"tRNS", struct.pack(">3H", *green))
    return png(2, 1, depth=16, colour_type=2, rows=row, extra=transparent)


def swapping_profile() -> bytes:
    """A colour profile in which red means green and green means red."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return (
        profile.replace(b"rXYZ", b"tmp0", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"tmp0", b"gXYZ")
    )


def grey_profile() -> bytes:
    """A colour profile of greys that are meant nearly linear: middle grey is light."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    curve = b"para\0\0\0\0\0\x03\0\0"
    gamma_at = profile.index(curve) + len(curve)
    profile = profile[:gamma_at] + struct.pack(">i", 1 << 16) + profile[gamma_at + 4 :]
    return profile.replace(b"RGB XYZ ", b"GRAYXYZ ", 1).replace(b"rTRC", b"kTRC", 1)


# Several pictures in one file.


def animation(media_format: str) -> bytes:
    """The marker, then a blue frame."""
    second = Pillow.new("RGB", marker().size, BLUE)
    options: dict[str, Any] = {"lossless": True} if media_format == "WEBP" else {}
    return encoded(
        marker(), media_format, save_all=True, append_images=[second], duration=50, **options
    )


def mpo() -> bytes:
    """What phones write as JPEG: the marker, then a second view."""
    second = Pillow.new("RGB", marker().size, BLUE)
    return encoded(marker(), "MPO", save_all=True, append_images=[second], quality=95)


# Broken and hostile.

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")


def noise(media_format: str, *, side: int = 64) -> bytes:
    """A file whose pixels do not compress, so that its end is pixels too."""
    pixels = np.random.default_rng(7).integers(0, 256, (side, side, 3), np.uint8)
    return encoded(Pillow.fromarray(pixels), media_format)


def truncated(media_format: str) -> bytes:
    """A file that lacks its second half, as after a broken upload."""
    body = noise(media_format)
    return body[: len(body) // 2]


def _png_of_size(width: int, height: int) -> bytes:
    body = noise("PNG")
    size = struct.pack(">II", width, height)
    return body[:8] + png_chunk(b"IHDR", size + body[24:29]) + body[33:]


def _jpeg_of_size(width: int, height: int) -> bytes:
    body = bytearray(noise("JPEG"))
    struct.pack_into(">HH", body, body.index(b"\xff\xc0") + 5, height, width)
    return bytes(body)


def _gif_of_size(width: int, height: int) -> bytes:
    body = bytearray(noise("GIF"))
    struct.pack_into("<HH", body, 6, width, height)
    return bytes(body)


def _bmp_of_size(width: int, height: int) -> bytes:
    body = bytearray(noise("BMP"))
    struct.pack_into("<ii", body, 18, width, height)
    return bytes(body)


def _webp_of_size(width: int, height: int) -> bytes:
    # The lossless bit stream holds both sides, less one, in 14 bits each (RFC 9649, 3.4).
    body = bytearray(encoded(marker(), "WEBP", lossless=True))
    at = body.index(b"VP8L") + 9
    (flags,) = struct.unpack_from("<I", body, at)
    bits = (width - 1) | (height - 1) << 14 | flags & 0xF0000000
    struct.pack_into("<I", body, at, bits)
    return bytes(body)


def _tiff_of_size(width: int, height: int) -> bytes:
    body = bytearray(noise("TIFF"))
    (directory,) = struct.unpack_from("<I", body, 4)
    (entries,) = struct.unpack_from("<H", body, directory)
    for number in range(entries):
        at = directory + 2 + 12 * number
        (tag,) = struct.unpack_from("<H", body, at)
        if tag in {256, 257}:
            struct.pack_into("<HII", body, at + 2, 4, 1, width if tag == 256 else height)
    return bytes(body)


_OF_SIZE: Mapping[str, Callable[[int, int], bytes]] = {
    "JPEG": _jpeg_of_size,
    "PNG": _png_of_size,
    "GIF": _gif_of_size,
    "WEBP": _webp_of_size,
    "BMP": _bmp_of_size,
    "TIFF": _tiff_of_size,
}


def claiming(media_format: str, width: int, height: int) -> bytes:
    """A small file whose header claims this size: a bomb, or just a lie."""
    return _OF_SIZE[media_format](width, height)


NO_IMAGES: Mapping[str, bytes] = {
    "text": b"This is no image, whatever its name says.\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "html": b"<!doctype html><html><script>alert(1)</script></html>",
    "xml": b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x "x">]><svg>&x;</svg>',
    "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "zip": b"PK\x03\x04" + bytes(26),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
    "portable pixmap": b"P6\n1 1\n255\n\0\0\0",
    "icon": b"\0\0\1\0\1\0" + bytes(16),
    "heif": b"\0\0\0\x18ftypheic" + bytes(16),
    "zeros": bytes(1000),
}


def of_many_passes() -> bytes:
    """A JPEG that goes over 36 million pixels again and again, as it may up to the limit."""
    body = encoded(Pillow.new("L", (6000, 6000), 77), "JPEG", progressive=True)
    last = body.rindex(b"\xff\xda")
    # Behind what decoders read at once, so that they come to see the time.
    padding = (b"\xff\xfe\xff\xff" + bytes(65_533)) * 2
    return body[:last] + (body[last:-2] + padding) * 90 + b"\xff\xd9"
