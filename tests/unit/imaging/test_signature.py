import pytest

from chalicelib.imaging.signature import ACCEPTED_TYPES, SIGNATURE_BYTES, media_type_of
from tests import images

TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}


def test_the_accepted_types_are_these_each_once() -> None:
    assert sorted(ACCEPTED_TYPES) == sorted(TYPES.values())


@pytest.mark.parametrize("media_format", images.FORMATS)
def test_a_files_first_bytes_tell_its_type(media_format: str) -> None:
    start = images.noise(media_format)[:SIGNATURE_BYTES]
    assert media_type_of(start) == TYPES[media_format]


@pytest.mark.parametrize(
    ("start", "media_type"),
    [
        (b"GIF87a", "image/gif"),
        (b"GIF88a", None),
        (b"MM\x00*", "image/tiff"),
        (b"II+\x00", "image/tiff"),
        (b"MM\x00+", "image/tiff"),
        (b"II\x00*", None),
        (b"RIFF\x00\x00\x00\x00WEBP", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVE", None),
        (b"RIFF\x00\x00\x00\x00WEB", None),
        (b"\xff\xd8", None),
        (b" \xff\xd8\xff", None),
        (b"\x89PNG\n\x1a\n", None),
        (b"", None),
    ],
)
def test_every_byte_of_a_signature_counts(start: bytes, media_type: str | None) -> None:
    assert media_type_of(start) == media_type


@pytest.mark.parametrize("name", sorted(images.NO_IMAGES))
def test_what_is_no_image_has_no_type(name: str) -> None:
    assert media_type_of(images.NO_IMAGES[name][:SIGNATURE_BYTES]) is None


def test_an_mpo_of_a_phone_is_a_jpeg() -> None:
    assert media_type_of(images.mpo()) == "image/jpeg"
