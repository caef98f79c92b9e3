"""The photos that all contenders get, as JPEG files."""

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image as Pillow

from local.samples import sample_photos

CAMERA_MEGAPIXELS = 12
_QUALITY = 90


def sample_sets() -> Mapping[str, Mapping[str, bytes]]:
    """The sample photos in the size they come in, and enlarged to what a camera makes."""
    small: dict[str, bytes] = {}
    large: dict[str, bytes] = {}
    for path in sample_photos():
        with Pillow.open(path) as opened:
            photo = opened.convert("RGB")
        small[path.stem] = _jpeg(photo)
        scale = (CAMERA_MEGAPIXELS * 1e6 / (photo.width * photo.height)) ** 0.5
        size = (round(photo.width * scale), round(photo.height * scale))
        large[path.stem] = _jpeg(photo.resize(size, Pillow.Resampling.BICUBIC))
    return {"samples": small, f"{CAMERA_MEGAPIXELS} MP": large}


def photos_in(folder: Path) -> Mapping[str, bytes]:
    """The JPEG files of a folder.

    Raises:
        FileNotFoundError: It has none.
    """
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in {".jpg", ".jpeg"}]
    if not paths:
        raise FileNotFoundError(f"There is no JPEG file in {folder}.")
    return {path.stem: path.read_bytes() for path in paths}


def megapixels(photos: Mapping[str, bytes]) -> str:
    """The range of their sizes."""
    sizes: list[float] = []
    for body in photos.values():
        with Pillow.open(io.BytesIO(body)) as photo:
            sizes.append(photo.width * photo.height / 1e6)
    low, high = min(sizes), max(sizes)
    return f"{low:.1f} MP" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.1f} to {high:.1f} MP"


def _jpeg(photo: Pillow.Image) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
