"""An original as it is, but for everything in it that is not its picture.

What a file keeps beside its pixels (EXIF with the place, XMP, comments, camera
notes, previews, whatever stands behind the end) is left out; the pixels'
compressed data is copied byte for byte.
"""

import struct
from collections.abc import Iterator

# Markers of a JPEG that stand alone (ITU T.81, table B.1): SOI, EOI, TEM and the restarts.
_STANDALONE = frozenset({0xD8, 0xD9, 0x01, *range(0xD0, 0xD8)})
_EOI, _SOS, _APP0, _ADOBE = 0xD9, 0xDA, 0xE0, 0xEE
# What a decoder needs: frames, tables, restart intervals, scans, and the end.
_KEPT_MARKERS = frozenset({*range(0xC0, 0xD0), 0xDB, 0xDD, _SOS, _EOI}) - {0xC8}
# Marker, length and Adobe's own 12 bytes; a longer segment hides something behind them.
_ADOBE_BYTES = 16
# JFIF 1.02, without a thumbnail and with pixels as high as wide.
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x02\x00\x00\x01\x00\x01\x00\x00"
_KEPT_PNG_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB\x60\x82"
_PNG_SIGNATURE_BYTES = 8
_KEPT_WEBP_CHUNKS = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ANIM"})
_FRAME_HEADER_BYTES = 16
# Flags of VP8X, RFC 9649, 2.7: a colour profile, EXIF, XMP.
_WEBP_EXTRAS = 0b0010_0000 | 0b0000_1000 | 0b0000_0100
_WEBP_ANIMATION = 0b0000_0010


def stripped(body: bytes, media_type: str) -> bytes | None:
    """The file with nothing but its picture; None where it is not built as it should be.

    Args:
        body: A file that could be decoded.
        media_type: Of the file. Only JPEG, PNG and WebP are stripped, None is returned of others.
    """
    parts = {"image/jpeg": _jpeg, "image/png": _png, "image/webp": _webp}.get(media_type)
    if parts is None:
        return None
    try:
        return b"".join(parts(body))
    except (IndexError, ValueError, struct.error):
        return None


def is_animated(webp: bytes) -> bool:
    """Whether a WebP file says that it is an animation; no other file is one here."""
    return webp[8:16] == b"WEBPVP8X" and bool(webp[20] & _WEBP_ANIMATION)


def _jpeg(body: bytes) -> Iterator[bytes]:
    yield b"\xff\xd8"
    segments = list(_jpeg_segments(body))
    # Without either of these a decoder guesses the colour model, so none is added or taken away.
    if any(marker == _APP0 and segment[4:9] == b"JFIF\0" for marker, segment in segments):
        yield _JFIF
    for marker, segment in segments:
        if marker in _KEPT_MARKERS:
            yield segment
        elif marker == _ADOBE and segment[4:9] == b"Adobe" and len(segment) >= _ADOBE_BYTES:
            yield b"\xff\xee\x00\x0e" + segment[4:_ADOBE_BYTES]


def _jpeg_segments(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each segment after SOI; a scan's segment has its data with it."""
    at = 2
    while True:
        if body[at] != 0xFF:
            raise ValueError("no marker where one has to be")
        marker = body[at + 1]
        if marker == 0xFF:
            # Markers may be preceded by any number of fill bytes.
            at += 1
            continue
        if marker == _EOI:
            yield marker, b"\xff\xd9"
            return
        end = at + 2
        if marker not in _STANDALONE:
            end += struct.unpack_from(">H", body, at + 2)[0]
        if marker == _SOS:
            end = _end_of_scan(body, end)
        if end > len(body):
            raise ValueError("a segment longer than the file")
        yield marker, body[at:end]
        at = end


def _end_of_scan(body: bytes, at: int) -> int:
    """Where the next marker that belongs to no scan begins."""
    while True:
        at = body.index(b"\xff", at)
        following = body[at + 1]
        if following not in {0x00, 0xFF} and not 0xD0 <= following <= 0xD7:
            return at
        at += 1 if following == 0xFF else 2


def _png(body: bytes) -> Iterator[bytes]:
    yield body[:_PNG_SIGNATURE_BYTES]
    at = _PNG_SIGNATURE_BYTES
    while True:
        length, name = struct.unpack_from(">I4s", body, at)
        end = at + 12 + length
        if end > len(body):
            raise ValueError("a chunk longer than the file")
        if name == b"IEND":
            yield _PNG_END
            return
        if name in _KEPT_PNG_CHUNKS:
            yield body[at:end]
        at = end


def _webp(body: bytes) -> Iterator[bytes]:
    end = min(len(body), 8 + struct.unpack_from("<I", body, 4)[0])
    kept = b"".join(_webp_chunks(body, 12, end))
    yield b"RIFF" + struct.pack("<I", 4 + len(kept)) + b"WEBP"
    yield kept


def _webp_chunks(body: bytes, at: int, end_of_all: int) -> Iterator[bytes]:
    while at + 8 <= end_of_all:
        name, length = struct.unpack_from("<4sI", body, at)
        content, end = at + 8, at + 8 + length
        if end > end_of_all:
            raise ValueError("a chunk longer than the file")
        if name == b"VP8X":
            yield _webp_chunk(
                name, bytes([body[content] & ~_WEBP_EXTRAS]) + body[content + 1 : end]
            )
        elif name == b"ANMF":
            # A frame is chunks again, behind its place and duration.
            frame = content + _FRAME_HEADER_BYTES
            parts = b"".join(_webp_chunks(body, frame, end))
            yield _webp_chunk(name, body[content:frame] + parts)
        elif name in _KEPT_WEBP_CHUNKS:
            yield _webp_chunk(name, body[content:end])
        at = end + length % 2


def _webp_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
