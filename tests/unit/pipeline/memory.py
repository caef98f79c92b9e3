"""Files with as many pixels as are taken, each of cheap content, made when asked for."""

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image as Pillow

from tests import images

FIFTY, SIXTY_FOUR = (8660, 5773), (8000, 8000)


def picture(size: tuple[int, int], mode: str = "RGB") -> Pillow.Image:
    """A ramp with some grain."""
    width, height = size
    tile = np.random.default_rng(1).integers(0, 8, (256, 256), np.uint8)
    grain = np.tile(tile, (-(-height // 256), -(-width // 256)))[:height, :width]
    ramp = (np.arange(width, dtype=np.uint32) * 240 // width).astype(np.uint8)
    grey = Pillow.fromarray(grain + ramp)
    bands = [grey] * len(Pillow.new(mode, (1, 1)).getbands())
    return Pillow.merge(mode, bands) if len(bands) > 1 else grey


def deep(size: tuple[int, int]) -> Pillow.Image:
    """The same in 16 bits."""
    return Pillow.fromarray(np.asarray(picture(size, "L")).astype(np.uint16) * 257)


def animation() -> bytes:
    """A GIF of 252 frames of a quarter of a megapixel."""
    frames = [Pillow.new("P", (500, 500), number % 256) for number in range(252)]
    return images.encoded(
        frames[0], "GIF", save_all=True, append_images=frames[1:], duration=20, optimize=False
    )


bodies: Mapping[str, Callable[[], bytes]] = {
    "50 MP JPEG": lambda: images.encoded(picture(FIFTY), "JPEG", quality=80),
    "50 MP progressive JPEG": lambda: images.encoded(
        picture(FIFTY), "JPEG", quality=80, progressive=True
    ),
    "64 MP PNG with alpha": lambda: images.encoded(
        picture(SIXTY_FOUR, "RGBA"), "PNG", compress_level=1
    ),
    "64 MP PNG of 16 bits": lambda: images.encoded(deep(SIXTY_FOUR), "PNG", compress_level=1),
    "64 MP WebP": lambda: images.encoded(picture(SIXTY_FOUR), "WEBP", quality=40, method=0),
    "64 MP TIFF with a profile": lambda: images.encoded(
        Pillow.linear_gradient("L").resize(SIXTY_FOUR),
        "TIFF",
        icc_profile=images.grey_profile(),
        compression="tiff_adobe_deflate",
    ),
    "animation of 63 MP": animation,
}
