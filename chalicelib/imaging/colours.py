"""Colour profiles: what they are called, and the same colours in sRGB."""

import io
from contextlib import suppress
from functools import lru_cache
from itertools import product
from typing import TypeGuard, cast

from PIL import Image as Pillow
from PIL import ImageChops, ImageCms

# The mode in which a profile speaks of an image; of all others it is RGB.
_PROFILED_MODES = {"L": "L", "LA": "L", "CMYK": "CMYK"}
_PROFILE_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError)
# A profile may call itself anything, and the name is shown to people.
_MAX_NAME_CHARACTERS = 64
# Phones and editors use a few profiles over and over; making a transform costs 5 ms.
_KEPT_TRANSFORMS = 8
# Those of printers, the largest, have up to 4 MB. A file could bring 50, and what is kept is kept
# by the process.
_MAX_PROFILE_BYTES = 5_000_000
# Every colour that has each channel at one of six levels: enough to see what a profile does.
_LEVELS = (0, 51, 102, 153, 204, 255)
_PROBE = Pillow.frombytes(
    "RGB", (36, 6), bytes(c for rgb in product(_LEVELS, repeat=3) for c in rgb)
)
# Of 255. Profiles of sRGB differ by so much in how they round.
_UNSEEN = 3


def name_of(profile: bytes | None) -> str | None:
    """What a profile calls itself, None if there is none or it cannot be read."""
    return _name(profile) if _usable(profile) else None


def is_srgb(profile: bytes | None, mode: str = "RGB") -> bool:
    """Whether colours of this mode are sRGB already: without a profile, or by what it does.

    What a profile calls itself says nothing. One that cannot be applied changes nothing either.
    Inks never are.
    """
    if mode == "CMYK":
        return False
    return not _usable(profile) or _changes_nothing(profile, _PROFILED_MODES.get(mode, "RGB"))


def in_srgb(image: Pillow.Image, profile: bytes | None) -> Pillow.Image:
    """The same colours in sRGB.

    A profile that cannot be applied is ignored, the image kept.

    Args:
        image: Of mode L, LA, RGB, RGBA or CMYK.
        profile: The image's ICC profile, None without one.

    Returns:
        An image of mode L, LA, RGB or RGBA, with the alpha that it had.
    """
    converted = image
    if _usable(profile) and not is_srgb(profile, image.mode):
        converted = _converted(image, profile)
    return converted.convert("RGB") if converted.mode == "CMYK" else converted


def _usable(profile: bytes | None) -> TypeGuard[bytes]:
    return profile is not None and 0 < len(profile) <= _MAX_PROFILE_BYTES


def _converted(image: Pillow.Image, profile: bytes) -> Pillow.Image:
    mode = _PROFILED_MODES.get(image.mode, "RGB")
    with suppress(*_PROFILE_ERRORS):
        transform = _transform(profile, mode)
        colours = ImageCms.applyTransform(_in_mode(image, mode), transform)
        if colours is not None:
            return _like(image, colours)
    return image


def _like(image: Pillow.Image, colours: Pillow.Image) -> Pillow.Image:
    """The RGB colours in the mode of the image, with its alpha."""
    if image.mode in {"L", "LA"}:
        colours = colours.convert("L")
    if "A" in image.getbands():
        colours.putalpha(image.getchannel("A"))
    return colours


@lru_cache(maxsize=_KEPT_TRANSFORMS)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


@lru_cache(maxsize=_KEPT_TRANSFORMS)
def _changes_nothing(profile: bytes, mode: str) -> bool:
    try:
        converted = ImageCms.applyTransform(_PROBE.convert(mode), _transform(profile, mode))
    except _PROFILE_ERRORS:
        return True
    if converted is None:
        return True
    difference = ImageChops.difference(converted, _PROBE.convert(mode).convert("RGB"))
    extrema = cast("tuple[tuple[int, int], ...]", difference.getextrema())
    return all(highest <= _UNSEEN for _, highest in extrema)


@lru_cache(maxsize=_KEPT_TRANSFORMS)
def _name(profile: bytes) -> str | None:
    with suppress(*_PROFILE_ERRORS):
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        return "".join(c for c in name.strip() if c.isprintable())[:_MAX_NAME_CHARACTERS] or None
    return None


def _in_mode(image: Pillow.Image, mode: str) -> Pillow.Image:
    """The image in a mode. Pillow copies it even where it has that mode: 36 MB at 12 MP."""
    return image if image.mode == mode else image.convert(mode)
