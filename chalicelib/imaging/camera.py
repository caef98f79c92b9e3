"""What an EXIF block tells of the camera, and nothing that tells of its owner.

No serial number, name, date or place is looked at. What a block says is anybody's: types, lengths
and values are checked, and what is wrong is left out.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from PIL import Image as Pillow

from chalicelib.images import Camera

# EXIF 2.32, 4.6.4 A and 4.6.5.
_MAKE, _MODEL = 0x010F, 0x0110
_PHOTO_BLOCK = 0x8769
_EXPOSURE_TIME, _F_NUMBER, _SENSITIVITY, _FOCAL_LENGTH = 0x829A, 0x829D, 0x8827, 0x920A
_MAX_NAME_CHARACTERS = 64
# Of a number. A rational has up to 10, of which a shutter means two or three.
_DIGITS = 6
# What Pillow raises on blocks that are not what they say.
_ERRORS = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, RuntimeError,
    ArithmeticError, AttributeError,
)  # fmt: skip


def camera_of(exif: Pillow.Exif) -> Camera | None:
    """What a block tells of the camera; None where it tells nothing that can be used."""
    photo: Mapping[int, Any] = {}
    with suppress(*_ERRORS):
        photo = exif.get_ifd(_PHOTO_BLOCK)
    iso = _number(photo, _SENSITIVITY, 1, 10_000_000)
    camera = Camera(
        make=_name(exif, _MAKE),
        model=_name(exif, _MODEL),
        exposure_seconds=_number(photo, _EXPOSURE_TIME, 1e-7, 86_400),
        f_number=_number(photo, _F_NUMBER, 0.1, 1000),
        iso=None if iso is None else round(iso),
        focal_length_mm=_number(photo, _FOCAL_LENGTH, 0.1, 100_000),
    )
    return None if camera == Camera() else camera


def _name(block: Mapping[int, Any], tag: int) -> str | None:
    with suppress(*_ERRORS):
        value = block.get(tag)
        if isinstance(value, str):
            # It ends at the first NUL, whatever stands behind.
            text = value.partition("\0")[0]
            printable = "".join(c for c in text if c.isprintable()).strip()
            return printable[:_MAX_NAME_CHARACTERS].strip() or None
    return None


def _number(block: Mapping[int, Any], tag: int, lowest: float, highest: float) -> float | None:
    with suppress(*_ERRORS):
        value = block.get(tag)
        if isinstance(value, tuple):
            value = value[0]
        if value is None or isinstance(value, str | bytes):
            return None
        # A rational that is divided by 0 is no number, and no number lies between any two.
        number = float(value)
        if lowest <= number <= highest:
            return float(f"{number:.{_DIGITS}g}")
    return None
