"""libvips through pyvips, as its documentation advises: `thumbnail`, one decode for the rest."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyvips

from benchmarks.imaging.jobs import MODEL_SIDE, QUALITY, STANDARD, THUMB, Effort

PNG_SETTINGS: Sequence[Mapping[str, Any]] = tuple(
    {"compression": level, "filter": chosen}
    for level in range(1, 7)
    for chosen in ("none", "sub", "up", "paeth", "all")
)

# Nothing is kept from one call to the next.
pyvips.cache_set_max(0)


def versions() -> Mapping[str, str]:
    """The libraries that do the work."""
    return {"libvips": ".".join(str(pyvips.version(part)) for part in range(3))}


def small(body: bytes) -> dict[str, bytes]:
    """The largest rendition from the file, the others from that."""
    # Told without need, the profile costs 60 ms on a picture that has none.
    profiled = pyvips.Image.new_from_buffer(body, "").get_typeof("icc-profile-data")
    options = {"output_profile": "srgb"} if profiled else {}
    standard = pyvips.Image.thumbnail_buffer(
        body, STANDARD[0], height=STANDARD[1], size="down", **options
    )
    standard = _flattened(standard).copy_memory()
    thumb = standard.thumbnail_image(THUMB[0], height=THUMB[1], size="down")
    model = standard.thumbnail_image(MODEL_SIDE, height=MODEL_SIDE, crop="centre")
    return {
        "standard": _letterboxed(standard, STANDARD),
        "thumb": _letterboxed(thumb, THUMB),
        "model": bytes(model.write_to_memory()),
    }


def full(body: bytes, effort: Effort) -> dict[str, bytes]:
    """The formats from one decoded picture."""
    image = pyvips.Image.new_from_buffer(body, "", access="sequential")
    if image.get_typeof("orientation") and image.get("orientation") != 1:
        # What is read from top to bottom cannot be turned.
        image = image.copy_memory().autorot()
    if image.get_typeof("icc-profile-data"):
        image = image.icc_transform("srgb", embedded=True)
    image = image.copy_memory()
    makers = {
        "webp": lambda: image.webpsave_buffer(Q=QUALITY, effort=effort.webp, keep="none"),
        "jpeg": lambda: _flattened(image).jpegsave_buffer(
            Q=QUALITY, optimize_coding=True, interlace=True, keep="none"
        ),
        "png": lambda: image.pngsave_buffer(keep="none", **effort.png),
    }
    return {name: bytes(makers[name]()) for name in effort.formats}


def _letterboxed(image: Any, size: tuple[int, int]) -> bytes:
    canvas = image.gravity("centre", *size, extend="background", background=[255, 255, 255])
    return bytes(canvas.jpegsave_buffer(Q=QUALITY, optimize_coding=True, keep="none"))


def _flattened(image: Any) -> Any:
    return image.flatten(background=[255, 255, 255]) if image.hasalpha() else image
