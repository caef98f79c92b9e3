"""What a file is, by its first bytes. Needs no decoder, so the API can afford it."""

from collections.abc import Sequence

# Enough of a file for every signature below.
SIGNATURE_BYTES = 16

# (offset, bytes) pairs that must all match; from the formats' specifications:
# JPEG ITU T.81 B.1.1.3, PNG 3rd ed. 5.2, GIF89a 17, WebP RFC 9649 2.4, BMP (Windows GDI),
# TIFF 6.0 2 and its 64-bit form, BigTIFF.
_SIGNATURES: Sequence[tuple[str, Sequence[tuple[int, bytes]]]] = (
    ("image/jpeg", ((0, b"\xff\xd8\xff"),)),
    ("image/png", ((0, b"\x89PNG\r\n\x1a\n"),)),
    ("image/gif", ((0, b"GIF87a"),)),
    ("image/gif", ((0, b"GIF89a"),)),
    ("image/webp", ((0, b"RIFF"), (8, b"WEBP"))),
    ("image/bmp", ((0, b"BM"),)),
    ("image/tiff", ((0, b"II*\x00"),)),
    ("image/tiff", ((0, b"MM\x00*"),)),
    ("image/tiff", ((0, b"II+\x00"),)),
    ("image/tiff", ((0, b"MM\x00+"),)),
)

ACCEPTED_TYPES = tuple(dict.fromkeys(media_type for media_type, _ in _SIGNATURES))


def media_type_of(start: bytes) -> str | None:
    """The media type of a file that begins with these bytes, None if it is none of ours."""
    for media_type, parts in _SIGNATURES:
        if all(start[offset : offset + len(magic)] == magic for offset, magic in parts):
            return media_type
    return None
