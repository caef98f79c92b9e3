"""From an upright picture to the pixels that a model sees."""

import io
from dataclasses import dataclass
from typing import Literal

from PIL import Image as Pillow

_FILTERS = {
    "bilinear": Pillow.Resampling.BILINEAR,
    "bicubic": Pillow.Resampling.BICUBIC,
    "lanczos": Pillow.Resampling.LANCZOS,
}
# How much larger than the target the quick box reduction may leave the picture
# before the filter runs; from 3 on Pillow's manual calls the result close to a
# fair resize, and here it is indistinguishable at model sizes.
_REDUCING_GAP = 3.0


@dataclass(frozen=True, kw_only=True)
class ModelInputShape:
    """What a model wants to see.

    Attributes:
        width: Pixels.
        height: Pixels.
        shortest_edge: To how many pixels the shorter side is scaled before the centre is cut out.
        filter: Of the scaling.
    """

    width: int
    height: int
    shortest_edge: int
    filter: Literal["bilinear", "bicubic", "lanczos"]

    def scale(self, width: int, height: int) -> float:
        """By what a picture of this size is scaled."""
        return self.shortest_edge / min(width, height)


def model_input(picture: Pillow.Image, shape: ModelInputShape) -> Pillow.Image:
    """Scale the shorter side, then cut out the centre.

    Convention: RGB, 8 bits a channel, origin top left.

    Returns:
        A picture of exactly ``shape.width`` x ``shape.height`` pixels.
    """
    scale = shape.scale(*picture.size)
    width = max(round(picture.width * scale), shape.width)
    height = max(round(picture.height * scale), shape.height)
    # Only what ends up inside the crop is scaled: a panorama costs no more than a square.
    cut_width = shape.width * picture.width / width
    cut_height = shape.height * picture.height / height
    left = (picture.width - cut_width) / 2
    top = (picture.height - cut_height) / 2
    return picture.resize(
        (shape.width, shape.height),
        _FILTERS[shape.filter],
        box=(left, top, left + cut_width, top + cut_height),
        reducing_gap=_REDUCING_GAP,
    )


def to_ppm(picture: Pillow.Image) -> bytes:
    """An RGB picture as binary PPM (netpbm's P6).

    Its header says its size, and no codec is needed to read it.
    """
    buffer = io.BytesIO()
    picture.save(buffer, format="PPM")
    return buffer.getvalue()
