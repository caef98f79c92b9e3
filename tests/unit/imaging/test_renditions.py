"""Renditions: the table, the geometry of each fit, what is encoded."""

import io

import pytest
from PIL import Image as Pillow

from chalicelib.errors import SettingsError
from chalicelib.images import FocalPoint
from chalicelib.imaging import renditions
from chalicelib.imaging.renditions import Fit, Rendition, encoded, parse, rendered
from tests import images

CENTRE = FocalPoint()
WHITE = (255, 255, 255)


def one(line: str) -> Rendition:
    """The rendition of a table of one line."""
    (rendition,) = parse(line)
    return rendition


LETTERBOX = one("a 80 60 letterbox #ffffff jpeg 85")
COVER = one("a 80 60 cover #ffffff jpeg 85")
INSIDE = one("a 80 60 inside #ffffff jpeg 85")


def test_the_installed_table_is_what_the_contract_promises() -> None:
    installed = {rendition.name: rendition for rendition in renditions.installed()}
    standard, thumb = installed["standard"], installed["thumb"]
    assert (standard.name, standard.width, standard.height) == ("standard", 800, 600)
    assert (thumb.name, thumb.width, thumb.height) == ("thumb", 150, 150)
    for rendition in (standard, thumb):
        assert rendition.fit is Fit.LETTERBOX
        assert rendition.background == WHITE
        assert rendition.format.media_type == "image/jpeg"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("Big 80 60 cover #fff jpeg 85", "the name 'Big'"),
        ("a 0 60 cover #fff jpeg 85", "the width '0'"),
        ("a 80 5000 cover #fff jpeg 85", "the height '5000'"),
        ("a 80 60 squeeze #fff jpeg 85", "'squeeze'"),
        ("a 80 60 cover red-ish jpeg 85", "red-ish"),
        ("a 80 60 cover #fff gif 85", "'gif'"),
        ("a 80 60 cover #fff jpeg 101", "the quality '101'"),
        ("a 80 60 cover #fff jpeg", "takes a quality"),
        ("a 80 60 cover #fff png 85", "takes no quality"),
        ("a 80 60 cover #fff", "5 words"),
        ("b 8 6 cover #fff png\na 80 60 cover #fff png\nb 9 9 inside #fff png", "another 'b'"),
    ],
)
def test_a_wrong_line_is_named_with_what_is_wrong(line: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(f"# a comment\n\n{line}")
    assert problem in str(caught.value)
    assert "line " in str(caught.value)


def test_all_wrong_lines_are_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"line 1.*line 2"):
        parse("a 0 1 cover #fff png\nb 1 0 cover #fff png")


@pytest.mark.parametrize(
    ("size", "inner"),
    [
        ((800, 600), (80, 60)),
        ((1600, 600), (80, 30)),
        ((600, 1600), (22, 60)),
        ((40, 30), (40, 30)),
        ((81, 1), (80, 1)),
        ((1, 1), (1, 1)),
    ],
)
def test_a_letterbox_shows_the_whole_picture_in_the_middle_of_its_background(
    size: tuple[int, int], inner: tuple[int, int]
) -> None:
    picture = Pillow.new("RGB", size, images.BLUE)
    result = rendered(picture, LETTERBOX, original=size, focal=CENTRE)
    assert result.size == (80, 60)
    left, top = (80 - inner[0]) // 2, (60 - inner[1]) // 2
    expected = Pillow.new("RGB", (80, 60), WHITE)
    expected.paste(images.BLUE, (left, top, left + inner[0], top + inner[1]))
    assert result.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("size", "expected"),
    [((800, 600), (80, 60)), ((1600, 600), (80, 30)), ((40, 30), (40, 30)), ((9, 90), (6, 60))],
)
def test_inside_is_the_whole_picture_and_nothing_else(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    picture = Pillow.new("RGB", size, images.BLUE)
    assert rendered(picture, INSIDE, original=size, focal=CENTRE).size == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [((800, 600), (80, 60)), ((1600, 600), (80, 60)), ((40, 300), (40, 60)), ((40, 30), (40, 30))],
)
def test_cover_fills_its_size_and_enlarges_nothing(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    picture = Pillow.new("RGB", size, images.BLUE)
    assert rendered(picture, COVER, original=size, focal=CENTRE).size == expected


@pytest.mark.parametrize(
    ("focal", "colour"),
    [
        (FocalPoint(x=0.0, y=0.5), images.BLUE),
        (FocalPoint(x=1.0, y=0.5), images.YELLOW),
        (FocalPoint(x=0.1, y=0.9), images.BLUE),
    ],
)
def test_cover_keeps_the_focal_point_in_view(
    focal: FocalPoint, colour: tuple[int, int, int]
) -> None:
    picture = Pillow.new("RGB", (400, 60), images.BLUE)
    picture.paste(images.YELLOW, (200, 0, 400, 60))
    result = rendered(picture, COVER, original=(400, 60), focal=focal)
    assert result.size == (80, 60)
    assert result.getpixel((40, 30)) == colour


def test_a_reduced_decode_gives_the_same_size_as_a_whole_one() -> None:
    whole, reduced = Pillow.new("RGB", (1601, 1201)), Pillow.new("RGB", (401, 301))
    for rendition in (LETTERBOX, COVER, INSIDE):
        sizes = {
            rendered(picture, rendition, original=(1601, 1201), focal=CENTRE).size
            for picture in (whole, reduced)
        }
        assert len(sizes) == 1


@pytest.mark.parametrize(
    ("words", "kind"), [("jpeg 85", "JPEG"), ("webp 80", "WEBP"), ("png", "PNG")]
)
def test_a_file_is_of_its_format_without_metadata_and_the_same_each_time(
    words: str, kind: str
) -> None:
    rendition = one(f"a 80 60 inside #fff {words}")
    picture = Pillow.radial_gradient("L").resize((80, 60)).convert("RGB")
    body = encoded(picture, rendition)
    assert encoded(picture, rendition) == body
    with Pillow.open(io.BytesIO(body)) as opened:
        assert opened.format == kind
        assert opened.size == (80, 60)
        assert not {"exif", "icc_profile", "comment", "xmp"} & set(opened.info)


def test_a_key_changes_with_whatever_changes_the_bytes_and_with_nothing_else() -> None:
    base = one("a 80 60 cover #ffffff jpeg 85")
    same = one("a 80 60 cover white jpeg 85")
    assert base.key("i", "g") == same.key("i", "g") == f"renditions/i/g/a-{base.fingerprint}.jpg"
    others = [
        "a 81 60 cover #ffffff jpeg 85",
        "a 80 61 cover #ffffff jpeg 85",
        "a 80 60 inside #ffffff jpeg 85",
        "a 80 60 cover #fffffe jpeg 85",
        "a 80 60 cover #ffffff webp 85",
        "a 80 60 cover #ffffff jpeg 84",
    ]
    keys = {one(line).key("i", "g") for line in others}
    assert len(keys) == len(others)
    assert base.key("i", "g") not in keys
