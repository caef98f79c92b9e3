"""The straight way, as most pipelines of this kind go: the file is decoded anew for each output.

It is kept as it is found in the wild, faults included: it neither turns a picture upright nor
applies its colour profile, and makes transparency black.
"""

import io
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from PIL import Image as Pillow
from PIL import ImageOps

from benchmarks.imaging.jobs import MODEL_SIDE, QUALITY, STANDARD, THUMB, Effort

PNG_SETTINGS: Sequence[Mapping[str, Any]] = ({},)


def versions() -> Mapping[str, str]:
    """The libraries that do the work."""
    return {"Pillow": version("pillow")}


def small(body: bytes) -> dict[str, bytes]:
    """Two letterboxed JPEGs and the model input."""
    return {
        "standard": _letterboxed(body, STANDARD),
        "thumb": _letterboxed(body, THUMB),
        "model": ImageOps.fit(
            _decoded(body), (MODEL_SIDE, MODEL_SIDE), Pillow.Resampling.LANCZOS
        ).tobytes(),
    }


def full(body: bytes, effort: Effort) -> dict[str, bytes]:
    """Each copy with all the effort that its encoder knows."""
    options: Mapping[str, Mapping[str, Any]] = {
        "webp": {"quality": QUALITY, "method": 6},
        "jpeg": {"quality": QUALITY, "optimize": True},
        "png": {"optimize": True},
    }
    return {name: _full_size(body, name, **options[name]) for name in effort.formats}


def _letterboxed(body: bytes, size: tuple[int, int]) -> bytes:
    picture = _decoded(body)
    picture.thumbnail(size, Pillow.Resampling.LANCZOS)
    canvas = Pillow.new("RGB", size, (255, 255, 255))
    canvas.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return _saved(canvas, "JPEG", quality=QUALITY, optimize=True)


def _full_size(body: bytes, name: str, **options: Any) -> bytes:
    picture: Pillow.Image = Pillow.open(io.BytesIO(body))
    if picture.mode not in {"RGB", "RGBA"} or (name == "jpeg" and picture.mode != "RGB"):
        picture = picture.convert("RGB")
    return _saved(picture, name.upper(), **options)


def _decoded(body: bytes) -> Pillow.Image:
    return Pillow.open(io.BytesIO(body)).convert("RGB")


def _saved(picture: Pillow.Image, media_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, media_format, **options)
    return buffer.getvalue()
