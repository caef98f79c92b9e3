"""A picture at a smaller size, for a fraction of what the straight way costs.

The straight way decodes every pixel and filters them all. Here a JPEG is
decoded at 1/2, 1/4 or 1/8, which its transform gives nearly for nothing, other
files are averaged down, and LANCZOS filters only what is left.
"""

import math

from PIL import Image as Pillow
from PIL import ImageFilter

# How much larger than wanted a picture has to be left for LANCZOS to do the rest. On 12 MP photos
# at 800 x 600, 1.25 costs 26 ms less than 2 did, for 1.3 points of ssimulacra2 less, of which
# sharpening gives 1 back; naive scaling has 81.7.
_OVERSAMPLING = 1.25
# Enough for what tells how a picture looks, whose finest detail is a seventh of a side.
SKETCH_SIDE = 24
_NARROWEST = SKETCH_SIDE // 4
# For means over whole pixels the quick reduction is nearly exact.
_SKETCHING_GAP = 2.0
# What the quick reduction blurs. Beyond twice the wanted size LANCZOS takes the blur away itself.
_BLURRED_BELOW = 2.0
_SHARPENING = 0.04
_SHARPEN = ImageFilter.Kernel(
    (3, 3),
    (
        0, -_SHARPENING, 0,
        -_SHARPENING, 1 + 4 * _SHARPENING, -_SHARPENING,
        0, -_SHARPENING, 0,
    ),
    scale=1,
)  # fmt: skip


def decode_smaller(image: Pillow.Image, size: tuple[int, int]) -> None:
    """Have a JPEG that was opened, but not loaded, decoded no larger than `scaled` needs it.

    Args:
        image: Of format JPEG or MPO.
        size: Width and height, in pixels and as stored, that are wanted.
    """
    wanted = _oversampled(size)
    if not _at_least_twice(image.size, wanted) and _at_least_twice(image.size, size):
        # At 1/2 libjpeg keeps 4 x 4 of each 8 x 8 coefficients, which blurs least: it may be the
        # very size. On 2 MP photos that saves 25 ms of 40 for 0.4 to 1.2 points.
        wanted = size
    # Not as YCbCr, to filter brightness alone: the way back to RGB costs more points than it gains.
    image.draft(None, wanted)


def scaled(
    image: Pillow.Image, size: tuple[int, int], *, original: tuple[int, int]
) -> Pillow.Image:
    """The picture at exactly this size.

    Args:
        image: Of mode L, RGB or CMYK.
        size: Width and height in pixels; no larger than the image.
        original: Width and height before anything was reduced.

    Returns:
        A picture of the same mode.
    """
    width, height = _oversampled(size)
    factor = min(image.width // width, image.height // height)
    if factor > 1:
        image = image.reduce(factor)
    blurred = image.size != original and image.width < _BLURRED_BELOW * size[0]
    small = image.resize(size, Pillow.Resampling.LANCZOS)
    return small.filter(_SHARPEN) if blurred else small


def sketched(image: Pillow.Image) -> Pillow.Image:
    """The picture at `SKETCH_SIDE` pixels on its longer side, each the mean of what it covers.

    Args:
        image: Of mode L or RGB.

    Returns:
        A picture of the same mode. A narrower one than 1 to 4 is widened to that: frequencies
        across fewer pixels than those would not be told apart.
    """
    scale = SKETCH_SIDE / max(image.size)
    width, height = (max(round(side * scale), _NARROWEST) for side in image.size)
    return image.resize((width, height), Pillow.Resampling.BOX, reducing_gap=_SKETCHING_GAP)


def _at_least_twice(size: tuple[int, int], other: tuple[int, int]) -> bool:
    return size[0] >= 2 * other[0] and size[1] >= 2 * other[1]


def _oversampled(size: tuple[int, int]) -> tuple[int, int]:
    width, height = (math.ceil(side * _OVERSAMPLING) for side in size)
    return width, height
