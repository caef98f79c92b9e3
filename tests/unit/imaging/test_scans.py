"""A JPEG may be drawn in many passes, each over the whole picture for a few bytes."""

import pytest

from chalicelib.errors import ImageRejected
from chalicelib.imaging.decode import Decoder
from chalicelib.imaging.limits import Limits
from tests import images

SCAN = b"\xff\xda"
PROGRESSIVE = images.encoded(images.marker(), "JPEG", progressive=True)
# Pillow's progressive JPEGs of colours are drawn in so many.
PASSES = 10


def header(body: bytes, *, max_scans: int) -> None:
    limits = Limits(max_bytes=10**8, max_pixels=10**7, max_side=10**4, max_scans=max_scans)
    Decoder(limits).header(body)


def refusal(body: bytes, *, max_scans: int) -> ImageRejected:
    with pytest.raises(ImageRejected) as caught:
        header(body, max_scans=max_scans)
    return caught.value


def with_segment(marker: int, content: bytes) -> bytes:
    """The progressive marker with one more segment behind its first two bytes."""
    segment = bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content
    return PROGRESSIVE[:2] + segment + PROGRESSIVE[2:]


def with_repeated_scans(times: int) -> bytes:
    """Its last pass again and again, which decoders take: each refines nothing."""
    last = PROGRESSIVE.rindex(SCAN)
    return PROGRESSIVE[:last] + PROGRESSIVE[last:-2] * times + b"\xff\xd9"


def test_as_many_passes_as_the_limit_are_taken_and_one_more_is_refused() -> None:
    header(PROGRESSIVE, max_scans=PASSES)
    error = refusal(PROGRESSIVE, max_scans=PASSES - 1)
    assert error.code == "image_too_complex"
    assert "drawn in 10 passes; at most 9" in error.public_message


def test_every_pass_of_a_scan_bomb_is_counted() -> None:
    error = refusal(with_repeated_scans(500), max_scans=100)
    assert f"drawn in {PASSES - 1 + 500} passes" in error.public_message


def test_a_baseline_jpeg_is_one_pass_with_restarts_and_fill_bytes_too() -> None:
    body = images.encoded(images.marker(640, 480), "JPEG", restart_marker_blocks=1)
    assert b"\xff\xd0" in body
    end = body.rindex(b"\xff\xd9")
    header(body[:end] + b"\xff" * 9 + body[end:], max_scans=1)


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xFE])
def test_passes_of_a_preview_in_a_segment_do_not_count(marker: int) -> None:
    header(with_segment(marker, PROGRESSIVE * 20), max_scans=PASSES)


def test_what_stands_behind_the_end_does_not_count() -> None:
    """A phone's film of 8 MB behind its photo has these two bytes some 120 times by chance."""
    header(PROGRESSIVE + SCAN * 200, max_scans=PASSES)
    header(images.mpo(), max_scans=1)


def test_a_start_or_a_lone_marker_where_none_belongs_hides_no_pass() -> None:
    for odd in (b"\xff\xd8", b"\xff\x01", b"\xff\xd3", b"\xff\x00", b"\xff\xff"):
        first = PROGRESSIVE.index(SCAN)
        body = PROGRESSIVE[:first] + odd + PROGRESSIVE[first:]
        # Pillow itself refuses some of them, when it opens the file.
        code = refusal(body, max_scans=PASSES - 1).code
        assert code in {"image_too_complex", "image_corrupt"}, odd
