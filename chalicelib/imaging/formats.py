"""Full-size copies of an image in the formats of the web."""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from PIL import Image as Pillow
from PIL import features

from chalicelib.errors import ImageRejected
from chalicelib.imaging import png
from chalicelib.imaging.decode import Decoder, Header, Whole, on_white
from chalicelib.imaging.kinds import Kind, kind_of
from chalicelib.imaging.originals import is_animated, stripped

# Part of every key: raise it when the same settings would give other bytes.
RECIPE_VERSION = 1
QUALITY = 85
AVIF_QUALITY = 70
# 0 to 10, from the best to the quickest: at 9 an AVIF costs less than a WebP.
_AVIF_SPEED = 9
# What is tried in turn where a copy would be larger than the original in the same format.
_LOWER_QUALITIES = (80, 75, 65, 50, 35, 20, 10, 5, 1)
_FEW_COLOURS = 256
# RFC 9649, 2.7.1.1: 16 bits, and libwebp makes no file of more.
_MAX_WEBP_LOOPS = 65_535
# Keeping a WebP exact takes some 25 bytes a pixel.
_MAX_EXACT_PIXELS = 16_000_000
# PNG's last resort takes seconds a megapixel, and a function has 300.
_MAX_PATIENT_PIXELS = 4_000_000


class CopyFormat(StrEnum):
    """What a copy is encoded as."""

    WEBP = "webp"
    JPEG = "jpeg"
    PNG = "png"
    AVIF = "avif"

    @property
    def media_type(self) -> str:
        """For the Content-Type header."""
        return f"image/{self.value}"

    @property
    def suffix(self) -> str:
        """Of a file of this format."""
        return "jpg" if self is CopyFormat.JPEG else self.value

    @property
    def max_side(self) -> int:
        """The longest side that it can hold, in pixels: 14, 16 and 31 bits of its header."""
        return {CopyFormat.WEBP: 16_383, CopyFormat.PNG: 2**31 - 1}.get(self, 65_500)

    def may_have(self, picture: Pillow.Image) -> bool:
        """Whether a picture of this size fits."""
        return max(picture.size) <= self.max_side


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A copy of an image in one format.

    Attributes:
        body: The file.
        quality: Of the encoder, 1 to 100; None where the copy keeps exact pixels, or is the
            original without its metadata.
        encoder: What made it, with its version.
        frames: 1, or those of an animation.
    """

    body: bytes
    quality: int | None
    encoder: str
    frames: int = 1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Which copies are made, and how.

    Attributes:
        of_photos: The formats for photographs.
        of_graphics: The formats for drawings, screenshots, logos.
        webp_method: How hard the WebP encoder tries, 0 to 6. On 12 MP photos 4 costs twice what
            2 does and leaves 3 % less, 6 costs five times and leaves 9 % less.
        keep_rights: Whether artist and copyright of the original's EXIF are kept.
    """

    of_photos: Sequence[CopyFormat]
    of_graphics: Sequence[CopyFormat]
    webp_method: int
    keep_rights: bool

    def formats_for(self, kind: Kind) -> Sequence[CopyFormat]:
        """The formats for a kind of picture."""
        return self.of_photos if kind is Kind.PHOTO else self.of_graphics

    def fingerprint(self, chosen: CopyFormat, *, animated: bool = False) -> str:
        """Differs where the bytes would: keys that carry it never change their content.

        An animation is told from its first frame, which it becomes under tighter limits.
        """
        parts: tuple[object, ...] = (RECIPE_VERSION, chosen, _ENCODERS[chosen], self.keep_rights)
        if animated:
            parts += ("animated",)
        if chosen is CopyFormat.WEBP:
            parts += (QUALITY, self.webp_method)
        elif chosen is CopyFormat.AVIF:
            parts += (AVIF_QUALITY, _AVIF_SPEED)
        elif chosen is CopyFormat.JPEG:
            parts += (QUALITY,)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]

    def key(
        self, image_id: str, generation: str, chosen: CopyFormat, *, animated: bool = False
    ) -> str:
        """Where a copy of an image is kept."""
        fingerprint = self.fingerprint(chosen, animated=animated)
        return f"formats/{image_id}/{generation}/{chosen}-{fingerprint}.{chosen.suffix}"


_ENCODERS: Mapping[CopyFormat, str] = {
    CopyFormat.WEBP: f"libwebp {features.version('webp')}",
    CopyFormat.JPEG: f"libjpeg-turbo {features.version('libjpeg_turbo')}",
    CopyFormat.PNG: f"libdeflate {png.LIBRARY_VERSION}",
    CopyFormat.AVIF: f"libavif {features.version('avif')}",
}


@dataclass(frozen=True, kw_only=True)
class FullSize:
    """An original, read once for all of its copies.

    Attributes:
        body: The file.
        whole: Its picture at full size.
        header: What the file says of itself.
        decoder: Reads the frames of an animation.
    """

    body: bytes
    whole: Whole
    header: Header
    decoder: Decoder

    @classmethod
    def read(cls, body: bytes, decoder: Decoder) -> "FullSize":
        """Read a file.

        Raises:
            ImageRejected: It cannot be decoded, or is over a limit.
        """
        header = decoder.header(body)
        return cls(body=body, whole=decoder.whole(body), header=header, decoder=decoder)

    @cached_property
    def kind(self) -> Kind:
        """Whether it is a photograph or a drawing."""
        return kind_of(self.whole.picture, lossless=self.whole.lossless)

    def copy(self, chosen: CopyFormat, recipe: Recipe) -> Copy:
        """Make one copy.

        It is upright, in sRGB, and has no metadata (but rights, if the recipe keeps them). It is
        never larger than an original of the same format: then the original is kept without its
        metadata where it shows the picture just so, else the quality is lowered, as far as that
        goes: a turned JPEG of a quality below 10, or a turned PNG that was made with more
        patience than ours, may stay a little larger.
        """
        rights = self.whole.rights if recipe.keep_rights else b""
        copy = _MAKERS[chosen](self, recipe, rights)
        if self.whole.media_type != chosen.media_type or len(copy.body) <= len(self.body):
            return copy
        return self._no_larger(copy, chosen, recipe, rights)

    def _no_larger(self, copy: Copy, chosen: CopyFormat, recipe: Recipe, rights: bytes) -> Copy:
        if not rights and (bare := self._bare()) is not None:
            return Copy(body=bare, quality=None, encoder="original", frames=copy.frames)
        if chosen is CopyFormat.PNG:
            if self.header.width * self.header.height > _MAX_PATIENT_PIXELS:
                return copy
            patient = _png(self, recipe, rights, png.Effort.LAST_RESORT)
            return min(patient, copy, key=lambda made: len(made.body))
        for quality in _LOWER_QUALITIES:
            copy = _MAKERS[chosen](self, recipe, rights, quality)
            if len(copy.body) <= len(self.body):
                break
        return copy

    def _bare(self) -> bytes | None:
        """The original without its metadata, None where that does not show the same picture."""
        if not self.whole.as_stored:
            return None
        bare = stripped(self.body, self.whole.media_type)
        if bare is None or len(bare) > len(self.body):
            return None
        if self.header.frames == 1 and is_animated(bare):
            # It is over the limits of animations: a still is what is wanted.
            return None
        try:
            shown = self.decoder.whole(bare).picture
        except ImageRejected:
            return None
        meant = self.whole.picture
        # Not the pictures themselves, which differ where Pillow calls one of them an MPO.
        same = (shown.mode, shown.size) == (meant.mode, meant.size)
        return bare if same and shown.tobytes() == meant.tobytes() else None


def _webp(source: FullSize, recipe: Recipe, rights: bytes, quality: int = QUALITY) -> Copy:
    lossy: Mapping[str, Any] = {"quality": quality, "method": recipe.webp_method, "exif": rights}
    exact: Mapping[str, Any] = {"lossless": True, "method": recipe.webp_method, "exif": rights}
    encoder = _ENCODERS[CopyFormat.WEBP]
    animated = source.header.frames > 1
    make = _animated_webp if animated else _still_webp
    body, frames = make(source, lossy)
    if _may_pay_exactly(source):
        # Drawings often take less room kept exactly, and look better.
        smaller, _ = make(source, exact)
        if len(smaller) < len(body):
            return Copy(body=smaller, quality=None, encoder=encoder, frames=frames)
    return Copy(body=body, quality=quality, encoder=encoder, frames=frames)


def _may_pay_exactly(source: FullSize) -> bool:
    """Whether a WebP with exact pixels may be the smaller one."""
    picture = source.whole.picture
    if source.kind is not Kind.GRAPHIC or picture.width * picture.height > _MAX_EXACT_PIXELS:
        return False
    return source.header.frames > 1 or picture.getcolors(_FEW_COLOURS) is not None


def _still_webp(source: FullSize, options: Mapping[str, Any]) -> tuple[bytes, int]:
    return _saved(_in_colour(source.whole.picture), "WEBP", **options), 1


def _animated_webp(source: FullSize, options: Mapping[str, Any]) -> tuple[bytes, int]:
    """The animation, as far as its frames can be decoded, and how many those are."""
    # Durations have to be known before the first frame is written, and frames are too large to
    # be kept: they are decoded twice.
    durations = [frame.milliseconds for frame in source.decoder.frames(source.body)]
    if len(durations) < 2:
        return _still_webp(source, options)
    frames = (frame.picture for frame in source.decoder.frames(source.body))
    body = _saved(
        next(frames),
        "WEBP",
        save_all=True,
        append_images=frames,
        duration=durations,
        # A PNG may say four thousand million: to whoever watches, that is no less.
        loop=min(source.decoder.loops(source.body), _MAX_WEBP_LOOPS),
        **options,
    )
    return body, len(durations)


def _jpeg(source: FullSize, _: Recipe, rights: bytes, quality: int = QUALITY) -> Copy:
    picture = source.whole.picture
    # 165 ms more at 12 MP than a baseline JPEG, for 6 % less, and a page shows it sooner.
    body = _saved(
        picture if picture.mode == "L" else on_white(picture),
        "JPEG",
        quality=quality,
        progressive=True,
        exif=rights,
    )
    return Copy(body=body, quality=quality, encoder=_ENCODERS[CopyFormat.JPEG])


def _png(source: FullSize, _: Recipe, rights: bytes, effort: png.Effort | None = None) -> Copy:
    if effort is None:
        effort = png.Effort.PHOTO if source.kind is Kind.PHOTO else png.Effort.GRAPHIC
    body = png.encoded(source.whole.picture, effort, exif=rights)
    return Copy(body=body, quality=None, encoder=_ENCODERS[CopyFormat.PNG])


def _avif(source: FullSize, _: Recipe, rights: bytes, quality: int = AVIF_QUALITY) -> Copy:
    # One thread: more would give other bytes on another machine.
    body = _saved(
        _in_colour(source.whole.picture),
        "AVIF",
        quality=quality,
        speed=_AVIF_SPEED,
        max_threads=1,
        exif=rights,
    )
    return Copy(body=body, quality=quality, encoder=_ENCODERS[CopyFormat.AVIF])


_MAKERS: Mapping[CopyFormat, Callable[..., Copy]] = {
    CopyFormat.WEBP: _webp,
    CopyFormat.JPEG: _jpeg,
    CopyFormat.PNG: _png,
    CopyFormat.AVIF: _avif,
}


def _in_colour(picture: Pillow.Image) -> Pillow.Image:
    """WebP and AVIF have no greys of their own."""
    mode = {"L": "RGB", "LA": "RGBA"}.get(picture.mode)
    return picture if mode is None else picture.convert(mode)


def _saved(picture: Pillow.Image, media_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, media_format, **options)
    return buffer.getvalue()


def wanted_formats(source: FullSize, recipe: Recipe) -> Iterator[CopyFormat]:
    """The formats that an original is to have, as far as they can hold it."""
    for chosen in recipe.formats_for(source.kind):
        if chosen.may_have(source.whole.picture):
            yield chosen
