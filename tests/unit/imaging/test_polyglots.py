"""Files that are an image and something else at once: only the image comes through."""

import zlib

import pytest

from chalicelib.errors import ImageRejected
from chalicelib.imaging.decode import Decoder
from chalicelib.imaging.formats import CopyFormat, FullSize, Recipe
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.signature import media_type_of
from tests import images

DECODER = Decoder(Limits(max_bytes=10**6, max_pixels=10**6, max_side=5_000))
FORMATS = tuple(CopyFormat)
RECIPE = Recipe(of_photos=FORMATS, of_graphics=FORMATS, webp_method=2, keep_rights=False)
SCRIPT = b"<html><script>alert(document.domain)</script></html>"
ARCHIVE = b"PK\x03\x04" + b"\0" * 26 + b"PK\x05\x06" + b"\0" * 18


def commented(kind: str) -> bytes:
    """An image with the script in what the format has for remarks."""
    picture = images.marker()
    if kind == "PNG":
        text = b"Comment\0" + SCRIPT
        whole = images.encoded(picture, "PNG")
        return whole[:33] + images.png_chunk(b"tEXt", text) + whole[33:]
    return images.encoded(picture, kind, comment=SCRIPT)


POLYGLOTS = {
    **{
        f"{kind} with a page behind its end": images.encoded(images.marker(), kind) + SCRIPT
        for kind in images.FORMATS
    },
    **{
        f"{kind} with an archive behind its end": images.encoded(images.marker(), kind) + ARCHIVE
        for kind in images.FORMATS
    },
    **{f"{kind} with a page in a comment": commented(kind) for kind in ("JPEG", "PNG", "GIF")},
    "JPEG with a page in its EXIF": images.jpeg_with_exif(b"Exif\0\0" + SCRIPT),
}
NO_IMAGES = {
    "a drawing of its own": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "a page": SCRIPT,
    "a page that begins with white space": b"\n \t" + SCRIPT,
    "a document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "an archive": ARCHIVE,
    "a script that begins as a bitmap does": b"BM=1;alert(1);/*" + bytes(64) + b"*/",
    "a script that begins as a GIF does": b"GIF89a=1;alert(1);//" + bytes(64),
    "a page that begins as a JPEG does": b"\xff\xd8\xff" + SCRIPT,
    "a program": b"\x7fELF" + bytes(64),
    "a compressed page": zlib.compress(SCRIPT),
}


@pytest.mark.parametrize("name", POLYGLOTS)
def test_of_a_file_that_is_two_things_the_picture_alone_is_served(name: str) -> None:
    body = POLYGLOTS[name]
    assert any(part in body for part in (SCRIPT, ARCHIVE))
    source = FullSize.read(body, DECODER)
    for chosen in FORMATS:
        copy = source.copy(chosen, RECIPE).body
        assert b"script" not in copy
        assert b"PK\x03\x04" not in copy
        # What it is called when it is served is what it is.
        if chosen is not CopyFormat.AVIF:
            assert media_type_of(copy[:16]) == chosen.media_type
        else:
            assert copy[4:12] == b"ftypavif"


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_only_begins_like_an_image_or_not_even_that_is_refused(name: str) -> None:
    with pytest.raises(ImageRejected):
        DECODER.picture(NO_IMAGES[name], size=(10, 10))
    with pytest.raises(ImageRejected):
        FullSize.read(NO_IMAGES[name], DECODER)
