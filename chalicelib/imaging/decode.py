"""From the bytes of a file to an upright sRGB picture, or to one of a few documented codes."""

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import cast

from PIL import Image as Pillow
from PIL import ImageCms, UnidentifiedImageError

from chalicelib.errors import ImageRejected
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.signature import ACCEPTED_TYPES, SIGNATURE_BYTES, media_type_of

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "MPO")

# Limits are ours, from the header; Pillow's own second limit would only change the error.
Pillow.MAX_IMAGE_PIXELS = None

_EXIF_ORIENTATION = 0x0112
# What makes each orientation upright; EXIF 2.32, 4.6.4 A, "Orientation".
_UPRIGHT = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
# These exchange rows and columns.
_SIDEWAYS = frozenset({5, 6, 7, 8})
_WHITE = (255, 255, 255)
# The mode in which a colour profile speaks of an image; of all others it is RGB.
_PROFILED_MODES = {"L": "L", "LA": "L", "1": "L", "CMYK": "CMYK"}
# What may say how a PNG is turned: EXIF, ImageMagick's older form of it, and XMP.
_PNG_ORIENTATION_CHUNKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the file says of itself before a pixel is decoded.

    Attributes:
        media_type: By its signature, never by its name.
        width: Pixels, upright.
        height: Pixels, upright.
    """

    media_type: str
    width: int
    height: int


class Decoder:
    """Reads originals within the limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def header(self, body: bytes) -> Header:
        """Judge a file by its header.

        Raises:
            ImageRejected: It is no image that is taken here, or over a limit.
        """
        with self._opened(body) as (image, media_type):
            if image.format == "PNG" and _tells_more_after_pixels(body):
                image.load()
            width, height = image.size
            width, height = _as_stored((width, height), _orientation(image))
        return Header(media_type=media_type, width=width, height=height)

    def picture(self, body: bytes, *, at_least: tuple[int, int]) -> Pillow.Image:
        """Decode a file for a reduced copy.

        Args:
            body: The file.
            at_least: Width and height, upright, in pixels, that the picture must still
                have where the original has them: a JPEG is decoded at 1/2, 1/4
                or 1/8 when that is enough, others are averaged down.

        Returns:
            An upright picture of mode RGB in sRGB, transparency on white.

        Raises:
            ImageRejected: It cannot be decoded, or is over a limit.
        """
        with self._opened(body) as (image, _):
            # Only a JPEG can be decoded smaller. A PNG may tell only after its pixels how it is
            # turned, and asked before, Pillow would remember that it did not say.
            if image.format in {"JPEG", "MPO"}:
                image.draft(None, _as_stored(at_least, _orientation(image)))
            image.load()
            orientation = _orientation(image)
            stored = _as_stored(at_least, orientation)
            picture = _on_white(_shrunk(_reduced_depth(image), stored))
            if orientation in _UPRIGHT:
                picture = picture.transpose(_UPRIGHT[orientation])
            # What else the file carries (comments, profiles, text) must not reach an output.
            picture.info.clear()
            return picture

    @contextmanager
    def _opened(self, body: bytes) -> Iterator[tuple[Pillow.Image, str]]:
        """The decoder's edge: every exception of a decoder becomes an `ImageRejected`."""
        self._limits.check_bytes(len(body))
        media_type = media_type_of(body[:SIGNATURE_BYTES])
        if media_type is None:
            raise ImageRejected(
                "unsupported_media_type",
                "The file is not an image of a type that is taken here: "
                f"{', '.join(ACCEPTED_TYPES)}.",
            )
        try:
            with (
                warnings.catch_warnings(action="ignore"),
                Pillow.open(io.BytesIO(body), formats=FORMATS) as image,
            ):
                self._limits.check_size(*image.size)
                yield image, media_type
        except ImageRejected:
            raise
        # Decoders raise whatever comes to hand on broken files: besides OSError and
        # SyntaxError, 12 other classes were seen on 16,109 files, IndexError among them.
        except Exception as error:
            raise _rejection(error) from error


def _rejection(error: Exception) -> ImageRejected:
    detail = f"{type(error).__name__}: {error}"
    if isinstance(error, UnidentifiedImageError):
        return ImageRejected(
            "image_corrupt",
            "The file begins like an image but has no readable header.",
            detail=detail,
        )
    if isinstance(error, MemoryError):
        return ImageRejected(
            "image_dimensions_too_large",
            "The image needs more memory than there is.",
            detail=detail,
        )
    text = str(error).lower()
    if isinstance(error, EOFError) or any(
        word in text for word in ("truncated", "premature", "not enough", "unexpected end")
    ):
        return ImageRejected(
            "image_truncated", "The end of the file is missing; upload it again.", detail=detail
        )
    return ImageRejected(
        "image_corrupt", "The file is damaged and cannot be decoded.", detail=detail
    )


def _tells_more_after_pixels(png: bytes) -> bool:
    """Whether a PNG may hold its orientation behind its pixels, where only decoding finds it."""
    pixels_at = png.find(b"IDAT")
    return any(png.find(name, pixels_at) >= 0 for name in _PNG_ORIENTATION_CHUNKS)


def _orientation(image: Pillow.Image) -> int:
    # Pillow turns a TIFF itself while it decodes it, and tells its size upright from the start.
    if image.format == "TIFF":
        return 1
    # A broken EXIF block says nothing about the pixels.
    with suppress(SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        # Not `image.getexif()`: a PNG's decodes the picture, and its faults would be lost here.
        return int(Pillow.Image.getexif(image).get(_EXIF_ORIENTATION, 1))
    return 1


def _as_stored(upright: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height as the file has them, of those that the upright picture has."""
    return upright[::-1] if orientation in _SIDEWAYS else upright


def _reduced_depth(image: Pillow.Image) -> Pillow.Image:
    """8 bits a channel. Pillow's own conversion of deeper greys clips them to white instead."""
    if not (image.mode.startswith("I") or image.mode == "F"):
        return image
    deep = image.convert("F")
    _, peak = cast("tuple[float, float]", deep.getextrema())
    white = 255 if 1 < peak <= 255 else 1 if peak <= 1 else max(peak, 65535)
    if image.mode.startswith("I;16"):
        white = 65535
    reduced = deep.point(lambda value: value * (255 / white) + 0).convert("L")
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        reduced.info["transparency"] = int(transparent * 255 / white)
    return reduced


def _shrunk(image: Pillow.Image, at_least: tuple[int, int]) -> Pillow.Image:
    """The image averaged down by a whole factor, both sides still at least as long as asked for.

    Applying a colour profile to 12 MP costs 150 ms, to a twentieth of that 6.
    """
    factor = min(image.width // at_least[0], image.height // at_least[1])
    # Averaging colours without regard to their transparency would make fringes.
    if factor < 2 or image.mode not in {"RGB", "L", "CMYK"} or image.has_transparency_data:
        return image
    return image.reduce(factor)


def _on_white(image: Pillow.Image) -> Pillow.Image:
    """Mode RGB in sRGB, with whatever is transparent on white."""
    profiled = _in_mode(image, _PROFILED_MODES.get(image.mode, "RGB"))
    colours = _in_mode(_to_srgb(profiled), "RGB")
    if not image.has_transparency_data:
        return colours
    with_alpha = image if "A" in image.getbands() else image.convert("RGBA")
    canvas = Pillow.new("RGB", image.size, _WHITE)
    canvas.paste(colours, mask=with_alpha.getchannel("A"))
    return canvas


def _in_mode(image: Pillow.Image, mode: str) -> Pillow.Image:
    """The image in a mode. Pillow copies it even where it has that mode: 36 MB at 12 MP."""
    return image if image.mode == mode else image.convert(mode)


def _to_srgb(image: Pillow.Image) -> Pillow.Image:
    """The same colours in sRGB. A profile that cannot be applied is ignored, the image kept."""
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        if converted is not None:
            return converted
    return image
