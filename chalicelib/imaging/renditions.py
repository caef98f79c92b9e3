"""Renditions: small copies for pages and lists, as `chalicelib/renditions.txt` describes them."""

import hashlib
import importlib.resources
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import PIL
from PIL import Image as Pillow
from PIL import ImageColor

from chalicelib.errors import SettingsError
from chalicelib.images import FocalPoint

# Part of every key: raise it when the same settings would give other bytes.
RECIPE_VERSION = 3
# Pillow carries its encoders, and another one may write other bytes.
_ENCODERS = PIL.__version__
# See imaging/render.py; at 2 a thumbnail costs less than half, and looks the same.
_REDUCING_GAP = 2.0

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_MAX_SIDE = 4096


class Fit(StrEnum):
    """How a picture is brought to a rendition's size."""

    LETTERBOX = "letterbox"
    COVER = "cover"
    INSIDE = "inside"


class RenditionFormat(StrEnum):
    """What a rendition is encoded as."""

    JPEG = "jpeg"
    WEBP = "webp"
    PNG = "png"

    @property
    def media_type(self) -> str:
        """For the Content-Type header."""
        return f"image/{self.value}"

    @property
    def suffix(self) -> str:
        """Of a file of this format."""
        return "jpg" if self is RenditionFormat.JPEG else self.value


@dataclass(frozen=True, kw_only=True)
class Rendition:
    """One line of the table. ``width`` and ``height`` are pixels, ``background`` is RGB."""

    name: str
    width: int
    height: int
    fit: Fit
    background: tuple[int, int, int]
    format: RenditionFormat
    quality: int | None

    def scale(self, width: int, height: int) -> float:
        """By what a picture of this size is scaled; never above 1."""
        by_width, by_height = self.width / width, self.height / height
        wanted = max(by_width, by_height) if self.fit is Fit.COVER else min(by_width, by_height)
        return min(wanted, 1.0)

    def picture_scale(self, width: int, height: int) -> float:
        """By what the picture is scaled that this is made from: the largest rendition is it."""
        return self.scale(width, height)

    @cached_property
    def fingerprint(self) -> str:
        """Differs where the bytes would: keys that carry it never change their content."""
        parts = (
            RECIPE_VERSION, _ENCODERS, self.width, self.height, self.fit, self.background,
            self.format, self.quality,
        )  # fmt: skip
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]

    def key(self, image_id: str, generation: str) -> str:
        """Where the rendition of an image is kept."""
        return (
            f"renditions/{image_id}/{generation}/{self.name}-{self.fingerprint}."
            f"{self.format.suffix}"
        )


def rendered(
    picture: Pillow.Image, rendition: Rendition, *, original: tuple[int, int], focal: FocalPoint
) -> Pillow.Image:
    """Bring a picture to a rendition's size.

    Convention: RGB, 8 bits a channel, upright, origin top left.

    Args:
        picture: The decoded picture, perhaps at a reduced size.
        rendition: What to make.
        original: Width and height of the original, upright, in pixels.
        focal: What ``cover`` keeps in view.

    Returns:
        For ``letterbox`` and ``cover`` exactly the rendition's size, but that ``cover`` is
        smaller where the original is; for ``inside`` at most that size.
    """
    scale = rendition.scale(*original)
    width = max(round(original[0] * scale), 1)
    height = max(round(original[1] * scale), 1)
    if rendition.fit is Fit.COVER:
        return _covering(picture, rendition, (width, height), focal)
    scaled = picture.resize(
        (min(width, rendition.width), min(height, rendition.height)),
        Pillow.Resampling.LANCZOS,
        reducing_gap=_REDUCING_GAP,
    )
    if rendition.fit is Fit.INSIDE:
        return scaled
    canvas = Pillow.new("RGB", (rendition.width, rendition.height), rendition.background)
    canvas.paste(
        scaled, ((rendition.width - scaled.width) // 2, (rendition.height - scaled.height) // 2)
    )
    return canvas


def encoded(picture: Pillow.Image, rendition: Rendition) -> bytes:
    """The file of a rendition, with no metadata; the same picture always gives the same bytes."""
    buffer = io.BytesIO()
    match rendition.format:
        case RenditionFormat.JPEG:
            # Optimised tables would take 3 ms more at 800 x 600, half of the encoder's time, for
            # 0.9 % less.
            picture.save(buffer, "JPEG", quality=rendition.quality)
        case RenditionFormat.WEBP:
            picture.save(buffer, "WEBP", quality=rendition.quality, method=4)
        case RenditionFormat.PNG:
            picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def installed() -> tuple[Rendition, ...]:
    """The table that ships with the service."""
    return parse((importlib.resources.files("chalicelib") / "renditions.txt").read_text())


def parse(table: str) -> tuple[Rendition, ...]:
    """Read a table.

    Raises:
        SettingsError: Names every line that is wrong, and what is wrong with it.
    """
    found: list[Rendition] = []
    problems: list[str] = []
    for number, line in enumerate(table.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            rendition = _read(words)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
            continue
        if any(rendition.name == other.name for other in found):
            problems.append(f"line {number}: there is another {rendition.name!r}")
            continue
        found.append(rendition)
    if problems:
        raise SettingsError("The table of renditions is wrong: " + "; ".join(problems) + ".")
    return tuple(found)


def _covering(
    picture: Pillow.Image, rendition: Rendition, scaled: tuple[int, int], focal: FocalPoint
) -> Pillow.Image:
    width, height = min(scaled[0], rendition.width), min(scaled[1], rendition.height)
    # In the picture's own pixels, so that only what stays is scaled.
    cut_width = picture.width * width / scaled[0]
    cut_height = picture.height * height / scaled[1]
    left = min(max(focal.x * picture.width - cut_width / 2, 0), picture.width - cut_width)
    top = min(max(focal.y * picture.height - cut_height / 2, 0), picture.height - cut_height)
    return picture.resize(
        (width, height),
        Pillow.Resampling.LANCZOS,
        box=(left, top, left + cut_width, top + cut_height),
        reducing_gap=_REDUCING_GAP,
    )


def _read(words: Sequence[str]) -> Rendition:
    if len(words) not in {6, 7}:
        raise ValueError(
            f"{len(words)} words, where name, width, height, fit, background, format and quality "
            "belong"
        )
    name, width, height, fit, background, media_format, *rest = words
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name {name!r} is not of small letters, digits and hyphens")
    chosen = RenditionFormat(media_format)
    if (chosen is RenditionFormat.PNG) != (not rest):
        raise ValueError(f"{chosen} takes {'no' if chosen is RenditionFormat.PNG else 'a'} quality")
    red, green, blue, *_ = ImageColor.getrgb(background)
    return Rendition(
        name=name,
        width=_whole(width, "width", _MAX_SIDE),
        height=_whole(height, "height", _MAX_SIDE),
        fit=Fit(fit),
        background=(red, green, blue),
        format=chosen,
        quality=_whole(rest[0], "quality", 100) if rest else None,
    )


def _whole(text: str, name: str, largest: int) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= largest):
        raise ValueError(f"the {name} {text!r} is not a whole number from 1 to {largest}")
    return int(text)
