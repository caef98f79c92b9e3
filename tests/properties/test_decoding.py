from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import ImageRejected
from chalicelib.imaging.decode import Decoder
from chalicelib.imaging.limits import Limits
from tests import images

MAX_PIXELS = 1_000_000
DECODER = Decoder(Limits(max_bytes=10**6, max_pixels=MAX_PIXELS, max_side=5_000))

SEEDS = {
    **{
        media_format: images.encoded(images.marker(), media_format)
        for media_format in images.FORMATS
    },
    "turned JPEG": images.turned("JPEG", 6, icc_profile=images.swapping_profile()),
    "turned PNG": images.turned("PNG", 5, icc_profile=images.swapping_profile()),
    "turned TIFF": images.turned("TIFF", 7),
    "turned WebP": images.turned("WEBP", 8, lossless=True),
    "late PNG": images.png_turned_at_the_end(6),
    "CMYK": images.cmyk_jpeg(),
    "YCCK": images.ycck_jpeg(),
    "progressive": images.encoded(images.marker(), "JPEG", progressive=True),
    "palette": images.palette_png(transparent=True),
    "16 bits": images.deep_grey("PNG"),
    "packed TIFF": images.encoded(images.marker(), "TIFF", compression="tiff_lzw"),
    "fax TIFF": images.encoded(images.marker().convert("1"), "TIFF", compression="group4"),
    "animated GIF": images.animation("GIF"),
    "animated WebP": images.animation("WEBP"),
    "MPO": images.mpo(),
}


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid file after a few changes, most of them near its beginning, where the headers are."""
    body = bytearray(SEEDS[draw(st.sampled_from(sorted(SEEDS)))])
    for _ in range(draw(st.integers(1, 8))):
        near = st.integers(0, min(len(body), 200))
        position = draw(st.one_of(near, st.integers(0, len(body))))
        match draw(st.sampled_from(["flip", "set", "insert", "remove", "cut", "repeat"])):
            case "flip" if position < len(body):
                body[position] ^= 1 << draw(st.integers(0, 7))
            case "set":
                new = draw(
                    st.sampled_from([b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff", bytes(4)])
                )
                body[position : position + len(new)] = new
            case "insert":
                body[position:position] = draw(st.binary(max_size=8))
            case "remove":
                del body[position : position + draw(st.integers(1, 16))]
            case "cut":
                del body[max(position, 12) :]
            case _:
                body[position:position] = body[position : position + 32]
    return bytes(body)


def outcome(body: bytes) -> tuple[int, int] | None:
    """The size told and, where the file is an image, its picture; None if it was refused."""
    try:
        header = DECODER.header(body)
        picture = DECODER.picture(body, size=header.scaled(64 / min(header.width, header.height)))
    except ImageRejected:
        return None
    assert picture.mode == "RGB"
    assert picture.info == {}
    assert header.width * header.height <= MAX_PIXELS
    return header.width, header.height


@given(damaged())
def test_decoding_a_damaged_file_never_raises_anything_but_a_rejection(body: bytes) -> None:
    outcome(body)


@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0"]),
    st.binary(),
)
def test_a_signature_with_anything_behind_it_never_raises_anything_but_a_rejection(
    start: bytes, rest: bytes
) -> None:
    outcome(start + rest)


@given(st.binary())
def test_any_bytes_never_raise_anything_but_a_rejection(body: bytes) -> None:
    outcome(body)


@given(st.binary(max_size=300))
def test_whatever_stands_in_the_exif_block_the_image_is_taken(exif: bytes) -> None:
    assert outcome(images.jpeg_with_exif(exif)) in {(48, 32), (32, 48)}


@given(st.binary(max_size=300))
def test_whatever_stands_in_the_colour_profile_the_image_is_taken(profile: bytes) -> None:
    body = images.encoded(images.marker(), "PNG", icc_profile=profile)
    assert outcome(body) == (48, 32)
