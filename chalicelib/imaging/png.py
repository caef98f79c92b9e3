"""PNG files: exact pixels, written for a tenth of what the usual encoders cost.

Photographs hardly repeat themselves, so that searching for repetitions, which
is what a PNG encoder spends its time on, gains next to nothing there. What
counts is the filter, which is chosen by trial on a sample of rows, and a quick
coder of what it leaves (libdeflate).
"""

import importlib.metadata
import struct
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from itertools import pairwise

import deflate
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

LIBRARY_VERSION = importlib.metadata.version("deflate")

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Colour types of PNG, 3rd edition, 11.2.1, and bytes of a pixel at 8 bits a channel.
_COLOUR_TYPES: Mapping[str, tuple[int, int]] = {
    "L": (0, 1), "LA": (4, 2), "RGB": (2, 3), "RGBA": (6, 4),
}  # fmt: skip
_PALETTE = 3
_MAX_PALETTE = 256
# Of so few greys several fit in a byte.
_MAX_GREYS = 16
# Rows that are filtered at once: what they need stays in the processor's cache.
_BAND_ROWS = 32
# Every so many bands one is tried with each filter, to see which leaves least.
_TRIED_BANDS = 16
_TRIAL_LEVEL = 1

type Rows = npt.NDArray[np.uint8]


class Effort(IntEnum):
    """How hard libdeflate looks for repetitions.

    On 12 MP photos level 2 takes 100 ms more than level 1 and leaves 2 to 7 % less; level 6
    another 500 ms for 2 %. Drawings are small anyway, and repeat themselves. The last resort, for
    what would be larger than it came, also looks for the filter of each row: ten times the cost.
    """

    PHOTO = 2
    GRAPHIC = 9
    LAST_RESORT = 12


def encoded(picture: Pillow.Image, effort: Effort, *, exif: bytes = b"") -> bytes:
    """The picture as a PNG file.

    Args:
        picture: Of mode L, LA, RGB or RGBA.
        effort: How hard to try.
        exif: An EXIF block to keep in it.

    Returns:
        A file with exactly these pixels. What has at most 256 colours has a palette.
    """
    picture = _grey_if_it_is(picture)
    table: list[tuple[bytes, bytes]] = []
    if (palette := _palette(picture)) is not None:
        colour_type, depth = _PALETTE, next(b for b in (1, 2, 4, 8) if len(palette) <= 1 << b)
        table.append((b"PLTE", palette[:, :3].tobytes()))
        opacity = palette[:, 3]
        if see_through := opacity[opacity < 255].tobytes():
            table.append((b"tRNS", see_through))
        filtered = _indexed(picture, palette, depth)
    else:
        colour_type, pixel_bytes = _COLOUR_TYPES[picture.mode]
        filters = _best_filters if effort is Effort.LAST_RESORT else _filtered
        depth, filtered = 8, filters(picture, pixel_bytes)
    header = struct.pack(">IIBBBBB", *picture.size, depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *table]
    if exif:
        chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    chunks += [(b"IDAT", bytes(deflate.zlib_compress(filtered.data, effort))), (b"IEND", b"")]
    return _SIGNATURE + b"".join(part for chunk in chunks for part in _parts(*chunk))


def _parts(name: bytes, content: bytes) -> Iterator[bytes]:
    yield struct.pack(">I", len(content))
    yield name
    yield content
    yield struct.pack(">I", deflate.crc32(content, deflate.crc32(name)))


# --- Palettes -------------------------------------------------------------------------------


def _grey_if_it_is(picture: Pillow.Image) -> Pillow.Image:
    """A picture of greys alone in mode L: a third of the bytes to begin with."""
    if picture.mode != "RGB" or picture.getcolors(_MAX_PALETTE) is None:
        return picture
    red, green, blue = picture.split()
    return red if red == green == blue else picture


def _palette(picture: Pillow.Image) -> Rows | None:
    """The colours of a picture as RGBA rows; None where it has too many for a palette to pay."""
    # Greys are numbers already, and numbers that a filter can work on.
    counted = picture.getcolors(_MAX_GREYS if picture.mode == "L" else _MAX_PALETTE)
    if counted is None:
        return None
    colours = np.asarray([_rgba(picture.mode, colour) for _, colour in counted], np.uint8)
    # In the order of their opacity, which is a colour's highest byte (x86 is little-endian): what
    # is not opaque comes first, and tRNS ends with the last of it.
    ordered: Rows = np.sort(colours.view(np.uint32).ravel()).view(np.uint8).reshape(-1, 4)
    return ordered


def _rgba(mode: str, colour: object) -> tuple[int, ...]:
    channels = colour if isinstance(colour, tuple) else (colour,)
    if mode in {"L", "LA"}:
        grey, *alpha = channels
        return (grey, grey, grey, *(alpha or (255,)))
    return (*channels, 255)[:4]


def _indexed(picture: Pillow.Image, palette: Rows, depth: int) -> Rows:
    """All rows as numbers of the palette, each behind the number of no filter."""
    colours = palette.view(np.uint32).ravel()
    rows = np.zeros((picture.height, 1 + -(-picture.width * depth // 8)), np.uint8)
    for top, bottom in _bands(picture.height):
        band = picture.crop((0, top, picture.width, bottom)).convert("RGBA")
        pixels = np.asarray(band).view(np.uint32)[:, :, 0]
        numbers = np.searchsorted(colours, pixels).astype(np.uint8)
        rows[top:bottom, 1:] = _packed(numbers, depth)
    return rows


def _packed(numbers: Rows, depth: int) -> Rows:
    """Rows of numbers of this many bits, the leftmost in the highest bits of its byte."""
    if depth == 8:
        return numbers
    per_byte = 8 // depth
    padded = np.pad(numbers, ((0, 0), (0, -numbers.shape[1] % per_byte)))
    grouped = padded.reshape(len(numbers), -1, per_byte)
    shifts = np.arange(8 - depth, -1, -depth, dtype=np.uint8)
    packed: Rows = np.bitwise_or.reduce(grouped << shifts, axis=2).astype(np.uint8)
    return packed


# --- Filters: PNG, 3rd edition, 9.2 -----------------------------------------------------------


def _filtered(picture: Pillow.Image, pixel_bytes: int) -> Rows:
    """All rows with the filter that leaves least, each behind the filter's number."""
    number = _best_filter(picture, pixel_bytes)
    rows = np.empty((picture.height, picture.width * pixel_bytes + 1), np.uint8)
    for top, bottom in _bands(picture.height):
        band, above = _rows(picture, top, bottom)
        rows[top:bottom] = _FILTERS[number](band, above, pixel_bytes)
    return rows


def _best_filters(picture: Pillow.Image, pixel_bytes: int) -> Rows:
    """All rows, each with the filter that leaves the smallest numbers (PNG, 12.7)."""
    rows = np.empty((picture.height, picture.width * pixel_bytes + 1), np.uint8)
    for top, bottom in _bands(picture.height):
        band, above = _rows(picture, top, bottom)
        tried = np.stack([apply(band, above, pixel_bytes) for apply in _FILTERS.values()])
        # Differences wrap around: 255 is 1 below 0.
        sizes = np.abs(tried[:, :, 1:].view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64)
        rows[top:bottom] = tried[sizes.argmin(axis=0), np.arange(bottom - top)]
    return rows


def _best_filter(picture: Pillow.Image, pixel_bytes: int) -> int:
    left = dict.fromkeys(_FILTERS, 0)
    for top, bottom in list(_bands(picture.height))[::_TRIED_BANDS]:
        band, above = _rows(picture, top, bottom)
        for number, apply in _FILTERS.items():
            tried = apply(band, above, pixel_bytes)
            left[number] += len(deflate.zlib_compress(tried.data, _TRIAL_LEVEL))
    return min(left, key=lambda number: left[number])


def _bands(height: int) -> Iterator[tuple[int, int]]:
    edges = [*range(0, height, _BAND_ROWS), height]
    yield from pairwise(edges)


def _rows(picture: Pillow.Image, top: int, bottom: int) -> tuple[Rows, Rows | None]:
    """The bytes of some rows, and of the row above them, if there is one."""
    first = max(top - 1, 0)
    band = np.asarray(picture.crop((0, first, picture.width, bottom)))
    rows = band.reshape(bottom - first, -1)
    return (rows[1:], rows[0]) if top else (rows, None)


def _behind(number: int, residue: Rows) -> Rows:
    out = np.empty((residue.shape[0], residue.shape[1] + 1), np.uint8)
    out[:, 0] = number
    out[:, 1:] = residue
    return out


def _none(rows: Rows, _above: Rows | None, _pixel_bytes: int) -> Rows:
    return _behind(0, rows)


def _sub(rows: Rows, _above: Rows | None, pixel_bytes: int) -> Rows:
    return _behind(1, rows - _left_of(rows, pixel_bytes))


def _up(rows: Rows, above: Rows | None, _pixel_bytes: int) -> Rows:
    return _behind(2, rows - _above(rows, above))


def _average(rows: Rows, above: Rows | None, pixel_bytes: int) -> Rows:
    left, up = _left_of(rows, pixel_bytes), _above(rows, above)
    # Half of the sum, rounded down, without a ninth bit.
    return _behind(3, rows - ((left & up) + ((left ^ up) >> 1)))


def _paeth(rows: Rows, above: Rows | None, pixel_bytes: int) -> Rows:
    left, up = _left_of(rows, pixel_bytes), _above(rows, above)
    corner = _left_of(up, pixel_bytes)
    a, b, c = (part.astype(np.int16) for part in (left, up, corner))
    to_left, to_up, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - c - c)
    nearest = np.where(to_up <= to_corner, up, corner)
    predicted = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
    return _behind(4, rows - predicted)


def _left_of(rows: Rows, pixel_bytes: int) -> Rows:
    left = np.zeros_like(rows)
    left[:, pixel_bytes:] = rows[:, :-pixel_bytes]
    return left


def _above(rows: Rows, above: Rows | None) -> Rows:
    up = np.empty_like(rows)
    up[0] = 0 if above is None else above
    up[1:] = rows[:-1]
    return up


_FILTERS: Mapping[int, Callable[[Rows, Rows | None, int], Rows]] = {
    0: _none, 1: _sub, 2: _up, 3: _average, 4: _paeth,
}  # fmt: skip
