"""What an image looks like, in a few bytes: the same of the same picture, alike of alike ones."""

import base64
import io
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageEnhance

from chalicelib.images import ImageInfo
from chalicelib.imaging.appearance import info_of
from chalicelib.imaging.decode import Decoder
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.perceptual import perceptual_hash
from chalicelib.imaging.renditions import installed
from chalicelib.imaging.thumbhash import thumbhash
from chalicelib.pipeline.rendering import decode_size
from tests import images

DECODER = Decoder(Limits(max_bytes=10**8, max_pixels=64_000_000, max_side=30_000))
colours = st.tuples(*[st.integers(0, 255)] * 3)


def info(body: bytes) -> ImageInfo:
    header = DECODER.header(body)
    reduced = DECODER.reduced(body, size=decode_size(header, installed()))
    return info_of(reduced.picture, reduced.alpha)


def looks(body: bytes) -> int:
    found = info(body).perceptual_hash
    assert found is not None
    return int(found, 16)


def saved(picture: Pillow.Image, media_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, media_format, **options)
    return buffer.getvalue()


@given(st.integers(1, 300), st.integers(1, 300), colours)
def test_an_image_of_one_colour_is_of_that_colour(
    width: int, height: int, colour: tuple[int, int, int]
) -> None:
    found = info_of(Pillow.new("RGB", (width, height), colour))
    assert found.dominant_color == "#" + bytes(colour).hex()
    # All of those would be alike, and a service has many: blank pages, covered lenses.
    assert found.perceptual_hash is None


@given(colours, colours, st.integers(60, 95), st.sampled_from(["across", "down"]))
def test_the_dominant_colour_is_that_of_the_largest_part(
    most: tuple[int, int, int], rest: tuple[int, int, int], share: int, way: str
) -> None:
    picture = Pillow.new("RGB", (100, 100), most)
    picture.paste(rest, (share, 0, 100, 100) if way == "across" else (0, share, 100, 100))
    found = bytes.fromhex(info_of(picture).dominant_color[1:])
    # The pixels on the edge are of both.
    near = [abs(a - b) for a, b in zip(found, most, strict=True)]
    assert max(near) <= max(abs(a - b) for a, b in zip(most, rest, strict=True)) * 0.2 + 1


def test_what_is_seen_alone_counts() -> None:
    """A sticker on nothing is of the sticker's colour, not of the ground that it is put on."""
    picture = Pillow.new("RGBA", (200, 100), (9, 9, 9, 0))
    picture.paste((200, 40, 90, 255), (60, 20, 120, 90))
    found = info(saved(picture, "PNG"))
    assert found.dominant_color == "#c8285a"
    assert base64.b64decode(found.placeholder)[2] >> 7 == 1
    assert info(saved(picture.convert("RGB"), "PNG")).dominant_color == "#090909"


def test_what_is_transparent_all_over_is_white() -> None:
    assert info(saved(Pillow.new("RGBA", (20, 30)), "PNG")).dominant_color == "#ffffff"


def test_an_alpha_channel_that_says_nothing_changes_nothing() -> None:
    picture = images.marker(80, 60)
    assert info(saved(picture.convert("RGBA"), "PNG")) == info(saved(picture, "PNG"))


@pytest.mark.parametrize("orientation", images.ORIENTATIONS)
@pytest.mark.parametrize("media_format", ["PNG", "TIFF", "WEBP"])
def test_a_turned_image_looks_like_its_upright_one(orientation: int, media_format: str) -> None:
    options = {"lossless": True} if media_format == "WEBP" else {}
    upright = images.turned(media_format, 1, **options)
    assert info(images.turned(media_format, orientation, **options)) == info(upright)


def test_a_turned_transparent_image_is_transparent_at_its_upright_places() -> None:
    stored = Pillow.new("RGBA", (60, 40), (9, 200, 9, 255))
    stored.paste((0, 0, 0, 0), (0, 0, 60, 10))
    body = images.encoded(stored, "PNG", exif=images.exif_of(6))
    alpha = DECODER.reduced(body, size=(40, 60)).alpha
    assert alpha is not None
    assert alpha.size == (16, 24)
    assert (alpha.getpixel((15, 12)), alpha.getpixel((1, 12))) == (0, 255)


def test_the_same_file_always_looks_the_same() -> None:
    body = images.noise("PNG")
    assert info(body) == info(body)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (3, 2), (4000, 3)])
def test_images_of_odd_shapes_have_looks_too(size: tuple[int, int]) -> None:
    found = info(saved(Pillow.new("RGB", size, "olive"), "PNG"))
    assert len(base64.b64decode(found.placeholder)) > 5
    assert found.dominant_color == "#808000"


def test_the_placeholder_is_the_thumbhash_of_the_picture_at_24_pixels() -> None:
    picture = images.marker(24, 18)
    assert base64.b64decode(info_of(picture).placeholder) == thumbhash(picture)


def test_the_hash_is_written_down() -> None:
    """Hashes are kept: one that comes out differently would no longer find them."""
    assert perceptual_hash(images.marker(64, 64)) == 0x8900220089002289
    ramp = Pillow.linear_gradient("L")
    assert perceptual_hash(ramp) == 0x0000000000000001


def photos(shared: Path) -> list[Path]:
    return sorted((shared / "photos" / "imagenet-sample").iterdir())


def test_copies_of_a_photo_look_like_it_and_other_photos_do_not(shared: Path) -> None:
    """Held to what was measured when the hash was chosen."""
    pictures = [Pillow.open(path).convert("RGB") for path in photos(shared)]
    known = [looks(saved(picture, "PNG")) for picture in pictures]
    assert min((one ^ other).bit_count() for one, other in combinations(known, 2)) >= 14

    def apart(bodies: list[bytes]) -> list[int]:
        return [(looks(b) ^ k).bit_count() for b, k in zip(bodies, known, strict=True)]

    assert max(apart([saved(picture, "JPEG", quality=30) for picture in pictures])) <= 3
    assert max(apart([saved(picture, "WEBP", quality=75) for picture in pictures])) <= 3
    halves = [picture.resize((picture.width // 2, picture.height // 2)) for picture in pictures]
    smaller = apart([saved(half, "JPEG", quality=85) for half in halves])
    assert max(smaller) <= 6
    assert sum(distance <= 3 for distance in smaller) >= 0.9 * len(pictures)
    brighter = [ImageEnhance.Brightness(picture).enhance(1.15) for picture in pictures]
    assert max(apart([saved(picture, "JPEG", quality=85) for picture in brighter])) <= 6
