"""From an upright picture to the pixels that a model sees."""

import io

from PIL import Image as Pillow

from chalicelib.models import ModelInputShape

_FILTERS = {
    "nearest": Pillow.Resampling.NEAREST,
    "box": Pillow.Resampling.BOX,
    "bilinear": Pillow.Resampling.BILINEAR,
    "hamming": Pillow.Resampling.HAMMING,
    "bicubic": Pillow.Resampling.BICUBIC,
    "lanczos": Pillow.Resampling.LANCZOS,
}
# How much larger than the target the quick box reduction may leave the picture
# before the filter runs; from 3 on Pillow's manual calls the result close to a
# fair resize, and here it is indistinguishable at model sizes.
_REDUCING_GAP = 3.0


def model_input(picture: Pillow.Image, shape: ModelInputShape) -> Pillow.Image:
    """Bring a picture to a model's size, by the shape's rule.

    Convention: RGB, 8 bits a channel, origin top left.

    Returns:
        A picture of exactly ``shape.width`` x ``shape.height`` pixels.
    """
    match shape.rule:
        case "shortest_edge":
            return _centre(picture, shape)
        case "stretch":
            return _scaled(picture, shape, (shape.width, shape.height))
        case "letterbox":
            scale = shape.scale(*picture.size)
            size = (
                min(max(round(picture.width * scale), 1), shape.width),
                min(max(round(picture.height * scale), 1), shape.height),
            )
            canvas = Pillow.new("RGB", (shape.width, shape.height), shape.fill)
            place = ((shape.width - size[0]) // 2, (shape.height - size[1]) // 2)
            canvas.paste(_scaled(picture, shape, size), place)
            return canvas


def _centre(picture: Pillow.Image, shape: ModelInputShape) -> Pillow.Image:
    scale = shape.scale(*picture.size)
    width = max(round(picture.width * scale), shape.width)
    height = max(round(picture.height * scale), shape.height)
    # Only what ends up inside the crop is scaled: a panorama costs no more than a square.
    cut_width = shape.width * picture.width / width
    cut_height = shape.height * picture.height / height
    left = (picture.width - cut_width) / 2
    top = (picture.height - cut_height) / 2
    return _scaled(
        picture,
        shape,
        (shape.width, shape.height),
        box=(left, top, left + cut_width, top + cut_height),
    )


def _scaled(
    picture: Pillow.Image,
    shape: ModelInputShape,
    size: tuple[int, int],
    *,
    box: tuple[float, float, float, float] | None = None,
) -> Pillow.Image:
    # A reduction before it would make an average of what is to be the nearest pixel.
    gap = None if shape.filter == "nearest" else _REDUCING_GAP
    return picture.resize(size, _FILTERS[shape.filter], box=box, reducing_gap=gap)


def to_ppm(picture: Pillow.Image) -> bytes:
    """An RGB picture as binary PPM (netpbm's P6).

    Its header says its size, and no codec is needed to read it.
    """
    buffer = io.BytesIO()
    picture.save(buffer, format="PPM")
    return buffer.getvalue()
