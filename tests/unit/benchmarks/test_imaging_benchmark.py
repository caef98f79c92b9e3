import io
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image as Pillow

from benchmarks.imaging import naive, ours
from benchmarks.imaging.contenders import ContenderFailed, started
from benchmarks.imaging.figures import (
    Photo,
    Ratio,
    Table,
    cost_table,
    memory_table,
    score_table,
    size_table,
)
from benchmarks.imaging.jobs import MODEL_SIDE, Contender, Effort, inside

ORIENTATION = 0x0112
LARGE = Photo(name="beach", megapixels=12.2)
LITTLE = Photo(name="logo", megapixels=0.4)


def photo(size: tuple[int, int], *, media_format: str = "JPEG", orientation: int = 1) -> bytes:
    """Red above, blue below, as the file keeps it."""
    picture = Pillow.new("RGB", size, (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, size[0], size[1] // 2))
    exif = Pillow.Exif()
    exif[ORIENTATION] = orientation
    buffer = io.BytesIO()
    picture.save(buffer, media_format, exif=exif)
    return buffer.getvalue()


def sizes(made: Mapping[str, bytes]) -> dict[str, tuple[int, int]]:
    return {
        name: Pillow.open(io.BytesIO(body)).size for name, body in made.items() if name != "model"
    }


@pytest.mark.parametrize("contender", [naive, ours])
@pytest.mark.parametrize("size", [(1200, 700), (500, 900), (90, 60)])
@pytest.mark.parametrize("media_format", ["JPEG", "PNG"])
def test_the_small_job_makes_two_renditions_and_a_model_input(
    contender: Contender, size: tuple[int, int], media_format: str
) -> None:
    made = contender.small(photo(size, media_format=media_format))

    assert sizes(made) == {"standard": (800, 600), "thumb": (150, 150)}
    assert len(made["model"]) == 3 * MODEL_SIDE**2


@pytest.mark.parametrize("contender", [naive, ours])
def test_the_full_job_makes_the_formats_that_are_wanted_at_full_size(contender: Contender) -> None:
    made = contender.full(photo((320, 200)), Effort(formats=("webp", "png")))

    assert sizes(made) == {"webp": (320, 200), "png": (320, 200)}
    assert [Pillow.open(io.BytesIO(body)).format for body in made.values()] == ["WEBP", "PNG"]


def test_ours_is_upright_and_the_naive_way_is_not() -> None:
    turned = photo((300, 200), orientation=6)

    def top_right(body: bytes) -> tuple[int, ...]:
        pixel = Pillow.open(io.BytesIO(body)).convert("RGB").getpixel((460, 250))
        assert isinstance(pixel, tuple)
        return pixel

    red, _, blue = top_right(ours.small(turned)["standard"])
    assert red > 200 > blue
    red, _, blue = top_right(naive.small(turned)["standard"])
    assert abs(red - blue) > 100
    assert sizes(ours.full(turned, Effort(formats=("jpeg",)))) == {"jpeg": (200, 300)}
    assert sizes(naive.full(turned, Effort(formats=("jpeg",)))) == {"jpeg": (300, 200)}


def test_ours_is_told_how_hard_webp_is_tried() -> None:
    picture = Pillow.effect_noise((400, 300), 60).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")

    quick, hard = (
        ours.full(buffer.getvalue(), Effort(webp=method, formats=("webp",)))["webp"]
        for method in (0, 6)
    )

    assert hard != quick


def test_a_worker_tells_cost_sizes_and_memory_and_keeps_what_it_made(tmp_path: Path) -> None:
    source = tmp_path / "photo.jpg"
    source.write_bytes(photo((1200, 900)))

    with started("naive") as process:
        result = process.do(source, ["small"], Effort(), keep=tmp_path / "made")
        assert "Pillow" in process.versions

    assert result.cpu_ms > 0
    assert result.peak_bytes >= 0
    assert result.bytes == {
        file.name: file.stat().st_size for file in (tmp_path / "made").iterdir()
    }
    assert set(result.bytes) == {"standard", "thumb", "model"}


def test_a_worker_tells_why_a_job_failed_and_goes_on(tmp_path: Path) -> None:
    broken, whole = tmp_path / "broken.jpg", tmp_path / "whole.jpg"
    broken.write_bytes(b"no photo")
    whole.write_bytes(photo((40, 30)))

    with started("naive") as process:
        with pytest.raises(ContenderFailed, match=r"naive, broken\.jpg: UnidentifiedImageError"):
            process.do(broken, ["small"], Effort())
        assert process.do(whole, ["small"], Effort()).bytes


def test_a_contender_that_does_not_exist_is_told() -> None:
    with pytest.raises(ContenderFailed, match="nobody ended with code 1"):
        started("nobody")


def test_a_picture_is_fitted_into_a_box_and_never_enlarged() -> None:
    assert inside((4000, 3000), (800, 600)) == (800, 600)
    assert inside((1000, 3000), (150, 150)) == (50, 150)
    assert inside((10, 5000), (150, 150)) == (1, 150)
    assert inside((40, 30), (800, 600)) == (40, 30)


def test_a_ratio_is_that_of_medians_with_the_spread_of_its_rounds() -> None:
    ratio = Ratio.of([100, 120, 110], [10, 20, 11])

    assert (ratio.median, ratio.low, ratio.high) == (10, 6, 10)
    assert str(ratio) == "10.0x (6.0 to 10.0)"


def test_the_cost_table_has_a_mean_of_the_large_photos_alone() -> None:
    table = cost_table(
        "Costs",
        {
            LARGE: {"naive": [400, 400], "ours": [40, 50]},
            LITTLE: {"naive": [10, 10], "ours": [10, 10]},
        },
    )

    assert table.header == ["CPU ms", "naive", "ours"]
    assert table.rows == [
        ["beach, 12.2 MP", "400", "45, 8.9x (8.0 to 10.0)"],
        ["logo, 0.4 MP", "10", "10, 1.0x (1.0 to 1.0)"],
        ["mean of 12 MP", "1x", "8.9x"],
    ]


def test_sizes_are_percentages_and_what_was_not_made_is_a_dash() -> None:
    table = size_table(
        "Sizes", {LARGE: {"naive": {"png": 20_000}, "ours": {"png": 19_000}, "other": {}}}, ["png"]
    )

    assert table.rows == [["beach, 12.2 MP: png", "20", "95%", "-"]]


def test_a_picture_that_is_not_the_photo_is_called_wrong() -> None:
    scores = {"naive": {"thumb": -700.0}, "ours": {"thumb": 81.26}, "peer": {"thumb": -math.inf}}
    table = score_table("Scores", {LARGE: {**scores, "none": {}}}, ["thumb"])

    assert table.rows == [["beach, 12.2 MP: thumb", "wrong", "81.3", "wrong", "-"]]


def test_memory_is_told_in_megabytes() -> None:
    table = memory_table({"small": {"naive": 427_000_000, "ours": 59_400_000}})

    assert table.rows == [["small", "427", "59"]]


def test_a_table_is_written_as_markdown() -> None:
    table = Table(title="Costs", header=["photo", "ms"], rows=[["beach", "12"]])

    assert table.markdown() == ("### Costs\n\n| photo | ms |\n|---|---:|\n| beach | 12 |")
