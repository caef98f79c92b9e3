"""Hundreds of odd, hostile and broken files from public repositories, through the stages.

Which of them are images, which are none, and which may be either is judged by
what three decoders say of them; ``index.csv`` tells. Each goes from its upload to
its copies as it does in the service: with its limits and its renditions, and with
all formats.
"""

import csv
import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pillow

from chalicelib.images import ConversionStatus, Image, Status
from chalicelib.imaging import renditions
from chalicelib.imaging.formats import CopyFormat
from chalicelib.imaging.limits import Limits
from tests.unit.pipeline.world import RECIPE, SETTINGS, World

LIMITS = Limits(
    max_bytes=SETTINGS.max_upload_bytes,
    max_pixels=SETTINGS.max_pixels,
    max_side=SETTINGS.max_side,
    max_scans=SETTINGS.max_scans,
    max_frames=SETTINGS.max_frames,
    max_animation_pixels=SETTINGS.max_animation_pixels,
    decode_seconds=SETTINGS.decode_seconds,
    decode_memory_bytes=SETTINGS.decode_memory_bytes,
)
FORMATS = tuple(CopyFormat)
TABLE = renditions.installed()
MAX_SECONDS = 20
# What docs/api.md lists as reasons that lie in the file.
CODES = {
    "image_empty", "image_too_large", "image_dimensions_too_large", "image_corrupt",
    "image_truncated", "image_too_complex", "unsupported_media_type",
}  # fmt: skip
# What a picture of Pillow's may have beside its pixels: how they are kept, and nothing else.
HARMLESS = {
    "jfif", "jfif_version", "jfif_unit", "jfif_density", "progressive", "progression",
    "loop", "background", "timestamp", "duration", "transparency", "adobe", "adobe_transform",
}  # fmt: skip
# What the segments and chunks begin with that hold anything else.
TRACES = (
    b"Exif\0\0", b"eXIf", b"http://ns.adobe.com/xap", b"<x:xmpmeta", b"<?xpacket", b"ICC_PROFILE\0",
    b"iCCP", b"tEXt", b"iTXt", b"zTXt", b"tIME", b"Photoshop 3.0\0", b"MPF\0", b"JFXX\0",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class End:
    """What became of one file.

    Attributes:
        expected: The file's line in the index.
        row: Of the image.
        seconds: Processor time of all stages together.
        sizes: Of what was made, by key.
        thumbnails: Of what was made, by the name of the rendition or the format.
        leftovers: What was found in an output beside its picture.
        tries: How often it was prepared, and how often its copies were begun.
    """

    expected: Mapping[str, str]
    row: Image
    seconds: float
    sizes: Mapping[str, tuple[int, int]]
    thumbnails: Mapping[str, npt.NDArray[np.float64]]
    leftovers: tuple[str, ...]
    tries: tuple[int, int]

    @property
    def accepted(self) -> bool:
        """Whether it got its predictions and its copies."""
        return (
            self.row.status is Status.COMPLETED
            and self.row.conversion_status is ConversionStatus.COMPLETED
        )

    def __str__(self) -> str:
        row = self.row
        told = row.error or row.conversion_error
        return (
            f"{self.expected['file']}: {row.status}, {row.conversion_status}"
            f"{f', {told.code}' if told else ''} ({self.expected['why']})"
        )


def through_the_stages(expected: Mapping[str, str], body: bytes, *, compared: bool) -> End:
    """Upload a file; ``compared`` to others if it is turned, or what others are turned to."""
    world = World(max_bytes=LIMITS.max_bytes)
    world.preprocess = replace(world.preprocess, limits=LIMITS, table=TABLE)
    world.optimise = replace(
        world.optimise,
        limits=LIMITS,
        recipe=replace(
            RECIPE, of_photos=FORMATS, of_graphics=FORMATS, webp_method=SETTINGS.webp_method
        ),
    )
    image_id = world.create()
    started = time.process_time()
    world.run(world.upload(image_id, body))
    seconds = time.process_time() - started
    row = world.row(image_id)
    sizes, thumbnails, leftovers = {}, {}, []
    for name, copy in {**row.renditions, **row.formats}.items():
        made = world.renditions.objects[copy.key]
        leftovers += [f"{name}: {trace!r}" for trace in TRACES if trace in made]
        with Pillow.open(io.BytesIO(made)) as picture:
            sizes[name] = picture.size
            leftovers += [f"{name}: {key}" for key in set(picture.info) - HARMLESS]
            leftovers += [f"{name}: EXIF {tag}" for tag in picture.getexif()]
            if compared:
                shown = within_the_box(picture, row, name).convert("RGB").resize((64, 64))
                thumbnails[name] = np.asarray(shown, np.float64)
    return End(
        expected=expected,
        row=row,
        seconds=seconds,
        sizes=sizes,
        thumbnails=thumbnails,
        leftovers=tuple(leftovers),
        tries=(
            world.trail.calls.count("images.start") - world.trail.calls.count("inference.send"),
            world.trail.calls.count("conversions.start"),
        ),
    )


def within_the_box(picture: Pillow.Image, row: Image, name: str) -> Pillow.Image:
    """What a rendition shows of the original, without the box around it."""
    for rendition in TABLE:
        if rendition.name == name:
            size = (row.original.width or 0, row.original.height or 0)
            scale = rendition.scale(*size)
            left, top = (
                (whole - side * scale) / 2 for whole, side in zip(picture.size, size, strict=True)
            )
            box = (left, top, picture.width - left, picture.height - top)
            return picture.resize((64, 64), box=box)
    return picture


@pytest.fixture(scope="module")
def ends(shared: Path) -> list[End]:
    corpus = shared / "corpus"
    with (corpus / "index.csv").open(encoding="utf-8", newline="") as index:
        rows = list(csv.DictReader(index))
    references = {row["upright_ref"] for row in rows}
    return [
        through_the_stages(
            row,
            (corpus / "files" / row["file"]).read_bytes(),
            compared=bool(row["upright_ref"]) or row["file"] in references,
        )
        for row in rows
    ]


def of_class(ends: list[End], expected: str) -> list[End]:
    found = [end for end in ends if end.expected["expected"] == expected]
    assert found, f"no file is {expected}"
    return found


def test_every_valid_image_is_taken_to_its_copies(ends: list[End]) -> None:
    assert [str(end) for end in of_class(ends, "valid") if not end.accepted] == []


def test_every_file_that_no_decoder_takes_is_refused(ends: list[End]) -> None:
    refused = Status.PREPROCESSING_FAILED
    assert [str(end) for end in of_class(ends, "must-reject") if end.row.status != refused] == []


def test_a_file_that_is_refused_says_why_and_leaves_nothing(ends: list[End]) -> None:
    refused = [end for end in ends if not end.accepted]
    assert refused
    for end in refused:
        assert end.row.error is not None, str(end)
        assert end.row.error.code in CODES, str(end)
        assert end.row.error.message.endswith("."), str(end)
        assert end.row.conversion_status is ConversionStatus.FAILED, str(end)
        assert end.sizes == {}, str(end)


def test_files_that_decoders_disagree_on_end_both_branches(ends: list[End]) -> None:
    final = {ConversionStatus.COMPLETED, ConversionStatus.FAILED}
    wrong = [
        str(end)
        for end in of_class(ends, "either")
        if not end.row.status.final or end.row.conversion_status not in final
    ]
    assert wrong == []


def test_no_file_is_at_fault_only_once_its_copies_are_made(ends: list[End]) -> None:
    """What a client sees: taken or refused, not something between."""
    assert [str(end) for end in ends if end.row.status.failed == end.accepted] == []


def test_no_file_was_tried_twice(ends: list[End]) -> None:
    """A fault of ours is tried again: whatever a decoder raises is the file's."""
    assert [str(end) for end in ends if end.tries != (1, 1 if end.accepted else 0)] == []


def test_no_file_takes_longer_than_it_may(ends: list[End]) -> None:
    assert [str(end) for end in ends if end.seconds > MAX_SECONDS] == []


def test_nothing_of_any_file_is_in_an_output_but_its_picture(ends: list[End]) -> None:
    """Metadata of 44 cameras among them."""
    assert [f"{end}: {end.leftovers}" for end in ends if end.leftovers] == []


def test_every_size_is_told_and_kept_upright(ends: list[End]) -> None:
    wrong = []
    for end in ends:
        told = (end.row.original.width, end.row.original.height)
        if end.expected["upright_width"] and end.row.original.width is not None:
            meant = (int(end.expected["upright_width"]), int(end.expected["upright_height"]))
            wrong += [f"{end}: {told}"] * (told != meant)
        for name, size in end.sizes.items():
            rendition = next((line for line in TABLE if line.name == name), None)
            meant_size = told if rendition is None else (rendition.width, rendition.height)
            wrong += [f"{end}: {name} {size}"] * (size != meant_size)
    assert wrong == []


def test_every_turned_image_comes_out_as_its_upright_reference(ends: list[End]) -> None:
    """In each rendition and in each copy."""
    by_file = {end.expected["file"]: end for end in ends}
    turned = [end for end in ends if end.expected["upright_ref"]]
    assert turned
    wrong = []
    for end in turned:
        reference = by_file[end.expected["upright_ref"]]
        assert set(end.thumbnails) == {"standard", "thumb", "webp", "jpeg", "png", "avif"}
        for name, thumbnail in end.thumbnails.items():
            difference = float(np.abs(thumbnail - reference.thumbnails[name]).mean())
            if difference > float(end.expected["upright_max_mae"]):
                wrong.append(f"{end}: {name} {difference:.2f}")
    assert wrong == []
