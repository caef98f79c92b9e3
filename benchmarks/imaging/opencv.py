"""OpenCV. It knows no colour profiles, and its WebP encoder cannot be told how hard to try."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from benchmarks.imaging.jobs import MODEL_SIDE, QUALITY, STANDARD, THUMB, Effort, inside

PNG_SETTINGS: Sequence[Mapping[str, Any]] = tuple(
    {"IMWRITE_PNG_COMPRESSION": level, "IMWRITE_PNG_FILTER": getattr(cv2, chosen)}
    for level in range(1, 7)
    for chosen in (
        "IMWRITE_PNG_FILTER_SUB",
        "IMWRITE_PNG_FILTER_UP",
        "IMWRITE_PNG_FILTER_PAETH",
        "IMWRITE_PNG_FAST_FILTERS",
        "IMWRITE_PNG_ALL_FILTERS",
    )
) + tuple(
    {
        "IMWRITE_PNG_COMPRESSION": 1,
        "IMWRITE_PNG_STRATEGY": cv2.IMWRITE_PNG_STRATEGY_RLE,
        "IMWRITE_PNG_FILTER": getattr(cv2, chosen),
    }
    for chosen in ("IMWRITE_PNG_FILTER_SUB", "IMWRITE_PNG_FILTER_PAETH", "IMWRITE_PNG_ALL_FILTERS")
)

cv2.setNumThreads(1)

# From less than this many times the pixels, averaging areas is seen: 5 points of SSIMULACRA 2.
_OVERSAMPLING = 2
# libjpeg decodes to 1/2, 1/4 and 1/8.
_REDUCED = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)
_JPEG_SIGNATURE = b"\xff\xd8\xff"


def versions() -> Mapping[str, str]:
    """The libraries that do the work."""
    return {"OpenCV": cv2.__version__}


def small(body: bytes) -> dict[str, bytes]:
    """The largest rendition from a reduced decode, the others from that."""
    standard = _scaled(_decoded(body, reduced=True), STANDARD)
    height, width = standard.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = standard[top : top + side, left : left + side]
    model = cv2.resize(middle, (MODEL_SIDE, MODEL_SIDE), interpolation=cv2.INTER_AREA)
    return {
        "standard": _letterboxed(standard, STANDARD),
        "thumb": _letterboxed(_scaled(standard, THUMB), THUMB),
        "model": cv2.cvtColor(model, cv2.COLOR_BGR2RGB).tobytes(),
    }


def full(body: bytes, effort: Effort) -> dict[str, bytes]:
    """The formats from one decoded picture."""
    picture = _decoded(body, reduced=False)
    png = [part for name, value in effort.png.items() for part in (getattr(cv2, name), value)]
    makers = {
        "webp": lambda: _encoded(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, QUALITY]),
        "jpeg": lambda: _jpeg(_flattened(picture), progressive=True),
        "png": lambda: _encoded(".png", picture, png),
    }
    return {name: makers[name]() for name in effort.formats}


def _decoded(body: bytes, *, reduced: bool) -> Any:
    data = np.frombuffer(body, np.uint8)
    if not body.startswith(_JPEG_SIGNATURE):
        # The only way to the transparency, which then has to be put on white by hand.
        picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        return _flattened(picture) if reduced else picture
    flag = cv2.IMREAD_COLOR
    if reduced:
        # Telling the size costs a parse of the header, as in any program that chooses.
        width, height = _jpeg_size(body)
        least = _OVERSAMPLING * max(inside((width, height), STANDARD))
        flag = next(
            (flag for factor, flag in _REDUCED if max(width, height) / factor >= least), flag
        )
    return cv2.imdecode(data, flag)


def _jpeg_size(body: bytes) -> tuple[int, int]:
    """Width and height as stored, from the frame header (ITU-T T.81, B.2.2)."""
    at = 2
    while not (0xC0 <= body[at + 1] <= 0xCF and body[at + 1] not in {0xC4, 0xC8, 0xCC}):
        at += 2 + int.from_bytes(body[at + 2 : at + 4])
    return int.from_bytes(body[at + 7 : at + 9]), int.from_bytes(body[at + 5 : at + 7])


def _scaled(picture: Any, box: tuple[int, int]) -> Any:
    height, width = picture.shape[:2]
    return cv2.resize(picture, inside((width, height), box), interpolation=cv2.INTER_AREA)


def _letterboxed(picture: Any, size: tuple[int, int]) -> bytes:
    height, width = picture.shape[:2]
    canvas = np.full((size[1], size[0], 3), 255, np.uint8)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    canvas[top : top + height, left : left + width] = picture
    return _jpeg(canvas, progressive=False)


def _flattened(picture: Any) -> Any:
    if picture.ndim == 2:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    if picture.shape[2] == 3:
        return picture
    alpha = picture[:, :, 3:].astype(np.float32) / 255
    return (picture[:, :, :3] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)


def _jpeg(picture: Any, *, progressive: bool) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return _encoded(".jpg", picture, [*options, cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])


def _encoded(suffix: str, picture: Any, options: Sequence[int]) -> bytes:
    written, data = cv2.imencode(suffix, picture, options)
    if not written:
        raise ValueError(f"OpenCV did not write {suffix}.")
    return bytes(data)
