"""What is left of an original whose own pixels are kept: its picture, bit by bit, and no word."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image as Pillow

from chalicelib.imaging.originals import stripped
from tests import images

SECRET = b"52.5163 N 13.3777 E, where I live"
JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"


def pixels(body: bytes) -> list[bytes]:
    """Mode and pixels of every picture of a file."""
    with Pillow.open(io.BytesIO(body)) as image:
        frames = getattr(image, "n_frames", 1)
        found = []
        for number in range(frames):
            image.seek(number)
            found.append(image.mode.encode() + image.tobytes())
        return found


def assert_only_the_picture(body: bytes, media_type: str, *, frames: int | None = None) -> bytes:
    bare = stripped(body, media_type)
    assert bare is not None
    assert pixels(bare) == pixels(body)[:frames]
    assert len(bare) <= len(body)
    assert SECRET not in bare
    for trace in (b"Exif", b"eXIf", b"EXIF", b"xmp", b"XMP", b"ICC", b"iCCP", b"MPF", b"Camera"):
        assert trace not in bare, trace
    assert stripped(bare, media_type) == bare
    return bare


# --- JPEG -------------------------------------------------------------------------------------


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg_with(*segments: bytes, body: bytes | None = None) -> bytes:
    """The marker as JPEG with more segments behind the first that it has."""
    body = images.encoded(images.marker(), "JPEG", quality=90) if body is None else body
    at = 2
    if body[2:4] == b"\xff\xe0":
        at = 4 + int.from_bytes(body[4:6], "big")
    return body[:at] + b"".join(segments) + body[at:]


def rgb_jpeg(*, adobe: bool) -> bytes:
    """A JPEG of red, green and blue themselves, which it says by its components or by Adobe's."""
    body = images.encoded(images.marker(), "JPEG", keep_rgb=True, quality=95)
    assert body[6:11] != b"JFIF\0"
    if adobe:
        return body
    at = body.index(b"\xff\xee")
    return body[:at] + body[at + 16 :]


JPEGS: dict[str, Callable[[], bytes]] = {
    "plain": lambda: images.encoded(images.marker(), "JPEG"),
    "grey": lambda: images.encoded(images.marker().convert("L"), "JPEG"),
    "progressive": lambda: images.encoded(images.marker(), "JPEG", progressive=True),
    "restarts": lambda: images.encoded(
        images.marker(640, 48), "JPEG", restart_marker_blocks=2, quality=95
    ),
    "inks": images.cmyk_jpeg,
    "inks as luma": images.ycck_jpeg,
    "RGB by Adobe": lambda: rgb_jpeg(adobe=True),
    "RGB by components": lambda: rgb_jpeg(adobe=False),
    "1 x 1": lambda: images.encoded(Pillow.new("RGB", (1, 1), images.RED), "JPEG"),
}


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_of_any_kind_keeps_its_pixels_and_its_colour_model(name: str) -> None:
    body = JPEGS[name]()
    notes = [segment(marker, SECRET) for marker in (*range(0xE0, 0xF0), 0xFE)]
    assert_only_the_picture(jpeg_with(*notes, body=body), JPEG)


def test_a_jpeg_loses_everything_that_cameras_and_editors_note() -> None:
    exif = images.exif_of(1)
    exif[0x8298] = SECRET.decode()
    body = images.encoded(
        images.marker(),
        "JPEG",
        exif=exif,
        xmp=b"<x:xmpmeta>" + SECRET,
        icc_profile=images.swapping_profile() + SECRET,
        comment=SECRET,
        dpi=(300, 300),
    )
    bare = assert_only_the_picture(body, JPEG)
    with Pillow.open(io.BytesIO(bare)) as image:
        assert set(image.info) == {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        assert image.info["jfif_density"] == (1, 1)


def test_a_jpegs_previews_are_lost() -> None:
    thumbnail = images.encoded(images.marker(16, 16), "JPEG")
    jfif = b"JFIF\0\x01\x02\0\0\x01\0\x01\x02\x02" + SECRET[:12]
    extension = b"JFXX\0\x10" + thumbnail
    body = images.encoded(images.marker(), "JPEG")
    body = body[:2] + segment(0xE0, jfif) + segment(0xE0, extension) + body[20:]
    bare = assert_only_the_picture(body, JPEG)
    assert SECRET[:12] not in bare
    assert bare.count(b"\xff\xd8") == 1


def test_a_second_picture_and_whatever_stands_behind_the_end_are_lost() -> None:
    bare = assert_only_the_picture(images.mpo() + SECRET, JPEG, frames=1)
    assert bare.endswith(b"\xff\xd9")
    film = images.encoded(images.marker(), "JPEG") + b"\0\0\0\x18ftypmp42" + SECRET * 100
    assert_only_the_picture(film, JPEG)


def test_adobes_segment_keeps_what_tells_colours_and_nothing_behind_it() -> None:
    body = images.ycck_jpeg()
    at = body.index(b"\xff\xee")
    longer = body[:at] + segment(0xEE, body[at + 4 : at + 16] + SECRET) + body[at + 16 :]
    assert_only_the_picture(longer, JPEG)
    # One of the same number that is not Adobe's.
    assert_only_the_picture(jpeg_with(segment(0xEE, b"Other" + SECRET)), JPEG)


@pytest.mark.parametrize("marker", [0xDC, 0xDE, 0xDF, 0xF0, 0xFD, 0x02, 0xBF, 0xC8])
def test_segments_that_no_picture_needs_are_lost_whatever_they_are(marker: int) -> None:
    bare = stripped(jpeg_with(segment(marker, SECRET)), JPEG)
    assert bare is not None
    assert SECRET not in bare


def test_fill_bytes_before_markers_change_nothing() -> None:
    body = images.encoded(images.marker(), "JPEG")
    tables = body.index(b"\xff\xdb")
    filled = body[:tables] + b"\xff" * 5 + body[tables:-2] + b"\xff" * 7 + body[-2:]
    assert_only_the_picture(filled, JPEG)


def test_a_jpeg_without_jfif_gets_none() -> None:
    bare = stripped(rgb_jpeg(adobe=True), JPEG)
    assert bare is not None
    assert b"JFIF" not in bare


# --- PNG --------------------------------------------------------------------------------------


def png_with(body: bytes, *chunks: bytes, behind_pixels: bool = False) -> bytes:
    at = len(body) - 12 if behind_pixels else 33
    return body[:at] + b"".join(chunks) + body[at:]


PNG_NOTES = [
    images.png_chunk(b"tEXt", b"Comment\0" + SECRET),
    images.png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + SECRET),
    images.png_chunk(b"eXIf", b"II*\0" + SECRET),
    images.png_chunk(b"tIME", b"\x07\xea\x0b\x18\x0f\x1e\x00"),
    images.png_chunk(b"pHYs", struct.pack(">IIB", 3000, 3000, 1)),
    images.png_chunk(b"prVt", SECRET),
    images.png_chunk(b"zzZz", SECRET),
]


@pytest.mark.parametrize("behind_pixels", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        images.encoded(images.marker(), "PNG"),
        images.palette_png(transparent=True),
        images.with_alpha("PNG"),
        images.grey_alpha_png(),
        images.bilevel("PNG"),
        images.deep_grey("PNG"),
        images.deep_colour_png(),
        images.noise("PNG", side=300),
    ],
    ids=["RGB", "palette", "RGBA", "LA", "1 bit", "16 bits", "tRNS", "several IDAT"],
)
def test_a_png_keeps_its_pixels_and_its_transparency_alone(
    body: bytes, *, behind_pixels: bool
) -> None:
    bare = assert_only_the_picture(png_with(body, *PNG_NOTES, behind_pixels=behind_pixels), PNG)
    assert bare == body


def test_an_animated_png_keeps_its_first_picture() -> None:
    body = images.encoded(
        images.marker(),
        "PNG",
        save_all=True,
        append_images=[Pillow.new("RGB", (48, 32), images.BLUE)],
        duration=50,
    )
    bare = assert_only_the_picture(body, PNG, frames=1)
    assert b"acTL" not in bare
    assert b"fdAT" not in bare


def test_nothing_hides_behind_or_within_the_end_of_a_png() -> None:
    body = images.encoded(images.marker(), "PNG")
    hiding = body[:-12] + images.png_chunk(b"IEND", SECRET) + SECRET
    assert stripped(hiding, PNG) == body


# --- WebP -------------------------------------------------------------------------------------


def webp_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def webp(*chunks: bytes) -> bytes:
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


@pytest.mark.parametrize("media_options", [{}, {"lossless": True}, {"quality": 10}])
@pytest.mark.parametrize("alpha", [False, True])
def test_an_extended_webp_keeps_its_picture_alone(
    media_options: dict[str, object], *, alpha: bool
) -> None:
    exif = images.exif_of(1)
    exif[0x8298] = SECRET.decode()
    notes = {"exif": exif, "xmp": SECRET, "icc_profile": images.swapping_profile()}
    if alpha:
        body = images.with_alpha("WEBP", **media_options, **notes)
    else:
        body = images.encoded(images.marker(), "WEBP", **media_options, **notes)
    bare = assert_only_the_picture(body + SECRET, WEBP)
    # Its flags promise only what is there.
    assert bare[12:16] != b"VP8X" or bare[20] & 0b0010_1100 == 0


def test_an_animated_webp_keeps_all_frames_durations_and_repeats() -> None:
    body = images.encoded(
        images.marker(),
        "WEBP",
        save_all=True,
        append_images=[Pillow.new("RGB", (48, 32), images.BLUE), images.marker()],
        duration=[50, 60, 70],
        loop=3,
        exif=images.exif_of(1),
        xmp=SECRET,
    )
    bare = assert_only_the_picture(body, WEBP)
    with Pillow.open(io.BytesIO(bare)) as image:
        assert image.info["loop"] == 3
        durations = []
        for number in range(3):
            image.seek(number)
            image.load()
            durations.append(image.info["duration"])
        assert durations == [50, 60, 70]


def test_nothing_hides_within_a_frame_of_a_webp() -> None:
    body = images.animation("WEBP")
    at = body.index(b"ANMF")
    (length,) = struct.unpack_from("<I", body, at + 4)
    frame = body[at + 8 : at + 8 + length] + webp_chunk(b"noTe", SECRET)
    longer = webp(body[12:at], webp_chunk(b"ANMF", frame), body[at + 8 + length :])
    assert SECRET in longer
    assert stripped(longer, WEBP) == body


def test_unknown_chunks_and_a_missing_last_padding_are_no_hindrance() -> None:
    plain = images.encoded(images.marker(), "WEBP", lossless=True)
    odd = webp(plain[12:], webp_chunk(b"noTe", SECRET + b"."))
    assert len(SECRET + b".") % 2 == 0 or odd[-1:] == b"\0"
    assert stripped(odd, WEBP) == plain
    assert stripped(odd[:-1], WEBP) in {plain, None}


# --- What is not built as it should be --------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (images.encoded(images.marker(), "JPEG"), JPEG),
        (images.encoded(images.marker(), "JPEG", progressive=True), JPEG),
        (images.encoded(images.marker(), "PNG"), PNG),
        (images.encoded(images.marker(), "WEBP", exif=images.exif_of(1)), WEBP),
        (images.animation("WEBP"), WEBP),
    ],
    ids=["JPEG", "progressive", "PNG", "WebP", "animated WebP"],
)
def test_a_file_cut_anywhere_gives_none_or_a_shorter_file_and_no_error(
    body: bytes, media_type: str
) -> None:
    assert stripped(body, media_type) is not None
    for length in range(len(body) - 1):
        bare = stripped(body[:length], media_type)
        assert bare is None or len(bare) <= len(body)
        assert media_type == WEBP or bare is None, length


def test_random_bytes_behind_a_signature_give_no_error() -> None:
    random = np.random.default_rng(3)
    for start, media_type in ((b"\xff\xd8", JPEG), (b"\x89PNG\r\n\x1a\n", PNG), (b"RIFF", WEBP)):
        for length in range(200):
            stripped(start + random.bytes(length), media_type)


@pytest.mark.parametrize("media_type", ["image/gif", "image/bmp", "image/tiff", "image/avif"])
def test_other_types_are_not_stripped(media_type: str) -> None:
    assert stripped(images.encoded(images.marker(), "BMP"), media_type) is None
