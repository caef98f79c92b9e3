"""From the bytes of a file to an upright sRGB picture, or to one of a few documented codes."""

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from chalicelib.errors import ImageRejected
from chalicelib.images import Camera
from chalicelib.imaging import colours
from chalicelib.imaging.budget import OutOfTime, bounded
from chalicelib.imaging.camera import camera_of
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.scaling import decode_smaller, scaled, sketched
from chalicelib.imaging.signature import ACCEPTED_TYPES, SIGNATURE_BYTES, media_type_of

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "MPO")

# Limits are ours, from the header; Pillow's own second limit would only change the error.
Pillow.MAX_IMAGE_PIXELS = None

_EXIF_ORIENTATION = 0x0112
# Who made a picture, and who may use it; EXIF 2.32, 4.6.4 D.
_EXIF_RIGHTS = (0x013B, 0x8298)
# Two of them still fit in a JPEG, whose EXIF block has at most 64 KB.
_MAX_RIGHTS_CHARACTERS = 2000
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
# What decoders raise on broken files, as far as it was seen; see `_edge`, where all else ends.
_DECODER_ERRORS = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, RuntimeError, struct.error,
)  # fmt: skip
# A marker of a JPEG. In its compressed data an FF is followed by 00 or the number of a restart.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_START_OF_SCAN = b"\xff\xda"
# What may say how a PNG is turned: EXIF, ImageMagick's older form of it, and XMP.
_PNG_ORIENTATION_CHUNKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the file says of itself before a pixel is decoded.

    Attributes:
        media_type: By its signature, never by its name.
        width: Pixels, upright.
        height: Pixels, upright.
        orientation: As EXIF counts them, 1 to 8; 1 is upright.
        mode: How pixels are kept in the file, in Pillow's words: ``RGB``, ``CMYK``, ``I;16``.
        frames: Of an animation, counted as far as they would be kept; 1 for any other picture.
        profile: What the colour profile calls itself, None without one.
        camera: What it was taken with; only where that was asked for.
    """

    media_type: str
    width: int
    height: int
    orientation: int = 1
    mode: str = "RGB"
    frames: int = 1
    profile: str | None = None
    camera: Camera | None = None

    def scaled(self, scale: float) -> tuple[int, int]:
        """Width and height, upright, in pixels, at this scale; never larger, never nothing."""
        scale = min(scale, 1.0)
        return max(round(self.width * scale), 1), max(round(self.height * scale), 1)


@dataclass(frozen=True, kw_only=True)
class Reduced:
    """A picture at a reduced size.

    Attributes:
        picture: Upright, of mode RGB in sRGB, transparency on white.
        alpha: How opaque it was, upright, of mode L, as small as `scaling.sketched` makes it;
            None where it is opaque all over.
    """

    picture: Pillow.Image
    alpha: Pillow.Image | None


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A picture at its full size.

    Attributes:
        picture: Upright, in sRGB, of mode L, LA, RGB or RGBA, with nothing but pixels.
        media_type: Of the file it came from.
        as_stored: Whether the file shows it just so: upright, without a profile to apply.
        lossless: Whether the file keeps exact pixels.
        rights: An EXIF block with nothing but artist and copyright; empty where neither is told.
    """

    picture: Pillow.Image
    media_type: str
    as_stored: bool
    lossless: bool
    rights: bytes


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame of an animation: upright, in sRGB, of mode RGB or RGBA; shown for so long."""

    picture: Pillow.Image
    milliseconds: int


class Decoder:
    """Reads originals within the limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def header(self, body: bytes, *, with_camera: bool = False) -> Header:
        """Judge a file by its header.

        Args:
            body: The file.
            with_camera: Whether to look for the camera too.

        Raises:
            ImageRejected: It is no image that is taken here, or over a limit.
        """
        with self._opened(body) as (image, media_type):
            # Before anything is loaded, which changes the mode of some.
            mode, profile = image.mode, image.info.get("icc_profile")
            if image.format == "PNG" and _tells_more_after_pixels(body):
                image.load()
            orientation = _orientation(image)
            width, height = _as_stored(image.size, orientation)
            return Header(
                media_type=media_type,
                width=width,
                height=height,
                orientation=orientation,
                mode=mode,
                frames=self._frames(image),
                profile=colours.name_of(profile),
                camera=_camera(image) if with_camera else None,
            )

    def picture(self, body: bytes, *, size: tuple[int, int]) -> Pillow.Image:
        """Decode a file at a reduced size.

        Args:
            body: The file.
            size: Width and height, upright, in pixels: in the shape of the original, and no
                larger. `Header.scaled` gives it.

        Returns:
            An upright picture of this size, of mode RGB in sRGB, transparency on white.

        Raises:
            ImageRejected: It cannot be decoded, or is over a limit.
        """
        return self.reduced(body, size=size).picture

    def reduced(self, body: bytes, *, size: tuple[int, int]) -> Reduced:
        """Likewise, and where it is transparent; see `picture`."""
        with self._opened(body) as (image, _):
            original = image.size
            # Only a JPEG can be decoded smaller. A PNG may tell only after its pixels how it is
            # turned, and asked before, Pillow would remember that it did not say.
            if image.format in {"JPEG", "MPO"}:
                decode_smaller(image, _as_stored(size, _orientation(image)))
            image.load()
            orientation = _orientation(image)
            profile = image.info.get("icc_profile")
            plain = _plain(image)
            small = scaled(_flat(plain), _as_stored(size, orientation), original=original)
            # A profile costs 150 ms at 12 MP, 6 at 800 x 600: so it comes after the scaling.
            picture = _bare(_turned(on_white(colours.in_srgb(small, profile)), orientation))
            return Reduced(picture=picture, alpha=_alpha(plain, orientation))

    def whole(self, body: bytes) -> Whole:
        """Decode a file at its full size.

        Raises:
            ImageRejected: It cannot be decoded, or is over a limit.
        """
        with self._opened(body) as (image, media_type):
            lossless = image.format not in {"JPEG", "MPO"}
            image.load()
            orientation = _orientation(image)
            profile = image.info.get("icc_profile")
            picture = colours.in_srgb(_opaque_if_it_is(_plain(image)), profile)
            picture = _turned(picture, orientation)
            if picture is image:
                # Not the file itself: a WebP's keeps its decoder, with two more canvases in it.
                picture = image.copy()
            return Whole(
                picture=_bare(picture),
                media_type=media_type,
                as_stored=orientation == 1 and colours.is_srgb(profile, image.mode),
                lossless=lossless,
                rights=_rights(image),
            )

    def frames(self, body: bytes) -> Iterator[Frame]:
        """Decode the frames of an animation, one after the other.

        They end early where one cannot be decoded: the animation is kept as far as it goes.

        Raises:
            ImageRejected: Not even the first can be decoded, or the file is over a limit.
        """
        with self._opened(body) as (image, _):
            kept = self._frames(image)
        # Whoever takes a frame works on it before the next: only what is done here is bounded.
        with Pillow.open(io.BytesIO(body), formats=FORMATS) as image:
            canvas = image.size
            for number in range(kept):
                try:
                    with self._edge(), self._canvas():
                        image.seek(number)
                        self._limits.check_size(*image.size)
                        frame = _frame(image, canvas)
                except ImageRejected:
                    if number == 0:
                        raise
                    return
                yield frame

    def loops(self, body: bytes) -> int:
        """How often an animation is shown; 0 is for ever.

        Raises:
            ImageRejected: It is no image that is taken here, or over a limit.
        """
        with self._opened(body) as (image, _):
            loops = image.info.get("loop")
            if loops is None:
                return 1
            # A GIF tells how often it is repeated (Netscape's extension), others how often shown.
            return int(loops) + 1 if image.format == "GIF" and loops else int(loops)

    def _frames(self, image: Pillow.Image) -> int:
        """How many frames are kept: those of an animation within the limits, else 1."""
        frames = 1
        if image.format in {"WEBP", "PNG"}:
            frames = getattr(image, "n_frames", 1)
        elif image.format == "GIF":
            # A broken frame ends the animation, not the image.
            with suppress(*_DECODER_ERRORS):
                frames = getattr(image, "n_frames", 1)
        return frames if self._limits.keeps_animation(*image.size, frames) else 1

    @contextmanager
    def _opened(self, body: bytes) -> Iterator[tuple[Pillow.Image, str]]:
        """The file as an image within the limits, not yet decoded, and its media type."""
        self._limits.check_bytes(len(body))
        media_type = media_type_of(body[:SIGNATURE_BYTES])
        if media_type is None:
            raise ImageRejected(
                "unsupported_media_type",
                "The file is not an image of a type that is taken here: "
                f"{', '.join(ACCEPTED_TYPES)}.",
            )
        if media_type == "image/webp" and (size := _webp_size(body)) is not None:
            # Pillow makes room for the whole canvas, twice, when it opens one.
            self._limits.check_size(*size)
        with self._edge(), Pillow.open(io.BytesIO(body), formats=FORMATS) as image:
            self._limits.check_size(*image.size)
            if media_type == "image/jpeg":
                self._limits.check_scans(_scans(image, body))
            yield image, media_type

    @contextmanager
    def _canvas(self) -> Iterator[None]:
        """Keep a frame from reaching as far beyond the canvas as it says.

        Pillow follows one of a GIF while it seeks it, and makes room for all of it: a file of
        2 KB took 400 MB. It refuses what is over twice its own limit, which is off otherwise.
        """
        Pillow.MAX_IMAGE_PIXELS = self._limits.max_pixels // 2
        try:
            yield
        finally:
            Pillow.MAX_IMAGE_PIXELS = None

    @contextmanager
    def _edge(self) -> Iterator[None]:
        """The decoder's edge: every exception of a decoder becomes an `ImageRejected`."""
        limits = self._limits
        try:
            with (
                bounded(seconds=limits.decode_seconds, memory_bytes=limits.decode_memory_bytes),
                warnings.catch_warnings(action="ignore"),
            ):
                yield
        except ImageRejected:
            raise
        except OutOfTime:
            raise ImageRejected(
                "image_too_complex",
                "Reading the image takes longer than the "
                f"{limits.decode_seconds} seconds that it may.",
            ) from None
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


def _frame(image: Pillow.Image, canvas: tuple[int, int]) -> Frame:
    image.load()
    picture = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if picture.size != canvas:
        picture = picture.crop((0, 0, *canvas))
    picture = colours.in_srgb(picture, image.info.get("icc_profile"))
    return Frame(
        picture=_bare(_turned(picture, _orientation(image))),
        milliseconds=int(image.info.get("duration", 0) or 0),
    )


def _scans(image: Pillow.Image, jpeg: bytes) -> int:
    """In how many passes the picture of a JPEG that was just opened is drawn."""
    # What was opened is read up to the end of its first scan's header.
    components = getattr(image, "layers", 0)
    header_bytes = 6 + 2 * components
    start = cast("Any", image).fp.tell() - header_bytes - len(_START_OF_SCAN)
    # ITU T.81, B.2.3. A scan with all components is the only one that a decoder looks at, unless
    # each adds to the one before; and counting takes its time where a file is large.
    all_in_one = _START_OF_SCAN + struct.pack(">HB", header_bytes, components)
    if "progressive" not in image.info and jpeg.startswith(all_in_one, start):
        return 1
    return _counted_scans(jpeg)


def _counted_scans(jpeg: bytes) -> int:
    """How many scans the picture of a JPEG file has.

    A preview in one of its segments is none of them, nor what stands behind its end: phones put
    a second picture there, or a film of some megabytes.
    """
    scans, at = 0, 2
    while (found := _MARKER.search(jpeg, at)) is not None:
        marker, at = found[0][1], found.end()
        if marker == _EOI:
            break
        if marker not in {_SOI, _TEM}:
            scans += marker == _SOS
            at += int.from_bytes(jpeg[at : at + 2], "big")
    return scans


def _webp_size(webp: bytes) -> tuple[int, int] | None:
    """Width and height by the first chunk; RFC 9649, 2.5 to 2.7, and RFC 6386, 9.1."""
    kind = webp[12:16]
    if len(webp) < 30 or kind not in {b"VP8X", b"VP8L", b"VP8 "}:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(webp[24:27], "little"), 1 + int.from_bytes(webp[27:30], "little")
    if kind == b"VP8L":
        packed = int.from_bytes(webp[21:25], "little")
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", webp, 26)
    return width & 0x3FFF, height & 0x3FFF


def _tells_more_after_pixels(png: bytes) -> bool:
    """Whether a PNG may hold its orientation behind its pixels, where only decoding finds it."""
    pixels_at = png.find(b"IDAT")
    return any(png.find(name, pixels_at) >= 0 for name in _PNG_ORIENTATION_CHUNKS)


def _orientation(image: Pillow.Image) -> int:
    # Pillow turns a TIFF itself while it decodes it, and tells its size upright from the start.
    if image.format == "TIFF":
        return 1
    # A broken EXIF block says nothing about the pixels.
    with suppress(*_DECODER_ERRORS):
        # Not `image.getexif()`: a PNG's decodes the picture, and its faults would be lost here.
        orientation = int(Pillow.Image.getexif(image).get(_EXIF_ORIENTATION, 1))
        return orientation if orientation in _UPRIGHT else 1
    return 1


def _camera(image: Pillow.Image) -> Camera | None:
    # A broken EXIF block is no reason to refuse its picture.
    with suppress(*_DECODER_ERRORS):
        return camera_of(Pillow.Image.getexif(image))
    return None


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


def _plain(image: Pillow.Image) -> Pillow.Image:
    """The image in one of five modes: L, LA, RGB, RGBA or CMYK."""
    image = _reduced_depth(image)
    if image.mode in {"LA", "RGBA"}:
        return image
    grey = image.mode in {"L", "1", "La"}
    if image.has_transparency_data:
        return image.convert("LA" if grey else "RGBA")
    if grey:
        return image if image.mode == "L" else image.convert("L")
    return image if image.mode in {"RGB", "CMYK"} else image.convert("RGB")


def _opaque_if_it_is(image: Pillow.Image) -> Pillow.Image:
    """The image without an alpha channel that says nothing."""
    if "A" not in image.getbands() or image.getchannel("A").getextrema() != (255, 255):
        return image
    return image.convert("L" if image.mode == "LA" else "RGB")


def on_white(image: Pillow.Image) -> Pillow.Image:
    """An image of mode L, LA, RGB or RGBA in mode RGB, what is transparent on white."""
    flat = _flat(image)
    return flat if flat.mode == "RGB" else flat.convert("RGB")


def _flat(image: Pillow.Image) -> Pillow.Image:
    """The image with what is transparent on white; white is white under every profile."""
    if "A" not in image.getbands():
        return image
    if image.mode == "LA":
        canvas = Pillow.new("L", image.size, 255)
        canvas.paste(image.getchannel("L"), mask=image.getchannel("A"))
    else:
        canvas = Pillow.new("RGB", image.size, _WHITE)
        canvas.paste(image, mask=image)
    return canvas


def _alpha(image: Pillow.Image, orientation: int) -> Pillow.Image | None:
    if "A" not in image.getbands():
        return None
    alpha = sketched(image.getchannel("A"))
    return None if alpha.getextrema() == (255, 255) else _turned(alpha, orientation)


def _turned(image: Pillow.Image, orientation: int) -> Pillow.Image:
    """The image upright."""
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _bare(image: Pillow.Image) -> Pillow.Image:
    """The image without what else the file carries: comments, profiles, text."""
    image.info.clear()
    return image


def _rights(image: Pillow.Image) -> bytes:
    """An EXIF block with artist and copyright alone, empty where the image tells neither."""
    kept = Pillow.Exif()
    with suppress(*_DECODER_ERRORS):
        found = Pillow.Image.getexif(image)
        for tag in _EXIF_RIGHTS:
            text = found.get(tag)
            if isinstance(text, str) and text.strip("\x00 "):
                # As it was: Pillow reads bytes as Latin-1 and would write a © as a question mark.
                kept[tag] = text[:_MAX_RIGHTS_CHARACTERS].encode("latin-1", "replace")
    return kept.tobytes() if len(kept) else b""
