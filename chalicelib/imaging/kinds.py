"""Whether a picture is a photograph or a drawing, which other formats suit."""

from enum import StrEnum

from PIL import Image as Pillow
from PIL import ImageChops

# Of the pixels of a picture, how many are just like their left neighbour: 3 to 18 % in photos
# that were never compressed or little, 44 to 100 % in screenshots, diagrams and logos.
_FLAT_SHARE = 0.3
_SAMPLED_ROWS = 64


class Kind(StrEnum):
    """What a picture is."""

    PHOTO = "photo"
    GRAPHIC = "graphic"


def kind_of(picture: Pillow.Image, *, lossless: bool) -> Kind:
    """What a picture is, by where it came from and how many of its pixels repeat.

    Args:
        picture: At its full size, of mode L, LA, RGB or RGBA.
        lossless: Whether it came from a file that keeps exact pixels. What did not is taken for
            a photo: its flat areas are gone.
    """
    if not lossless:
        return Kind.PHOTO
    return Kind.GRAPHIC if _flat_share(picture) >= _FLAT_SHARE else Kind.PHOTO


def _flat_share(picture: Pillow.Image) -> float:
    step = max(picture.height // _SAMPLED_ROWS, 1)
    alike = total = 0
    for top in range(0, picture.height, step):
        row = picture.crop((0, top, picture.width, top + 1))
        change = ImageChops.difference(row, ImageChops.offset(row, 1, 0))
        darkest = change.getchannel(0)
        for band in change.getbands()[1:]:
            darkest = ImageChops.lighter(darkest, change.getchannel(band))
        alike += darkest.histogram()[0]
        total += picture.width
    return alike / total
