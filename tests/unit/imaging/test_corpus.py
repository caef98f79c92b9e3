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
# What a picture of Pillow's may have beside its pixels: how they are kept, and nothing else.
HARMLESS = {
    "jfif", "jfif_version", "jfif_unit", "jfif_density", "progressive", "progression",
    "loop", "background", "timestamp", "duration", "transparency",
}  # fmt: skip
# What the segments and chunks begin with that hold anything else.
TRACES = (
    b"Exif\0\0", b"eXIf", b"http://ns.adobe.com/xap", b"<x:xmpmeta", b"<?xpacket", b"ICC_PROFILE\0",
    b"iCCP", b"tEXt", b"iTXt", b"zTXt", b"tIME", b"Photoshop 3.0\0", b"\xff\xfe\x00", b"MPF\0",
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
    """

    expected: Mapping[str, str]
    row: Image
    seconds: float
    sizes: Mapping[str, tuple[int, int]]
    thumbnails: Mapping[str, npt.NDArray[np.float64]]
    leftovers: tuple[str, ...]

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
        reason = f"{told.code}" if told else ""
        return (
            f"{self.expected['file']}: {row.status}, {row.conversion_status} {reason} "
            f"({self.expected['why']})"
        )


def through_the_stages(expected: Mapping[str, str], body: bytes) -> End:
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
    needs_thumbnails = bool(expected["upright_ref"]) or expected["file"] in REFERENCES
    for name, copy in {**row.renditions, **row.formats}.items():
        made = world.renditions.objects[copy.key]
        leftovers += [f"{name}: {trace!r}" for trace in TRACES if trace in made]
        with Pillow.open(io.BytesIO(made)) as picture:
            sizes[name] = picture.size
            leftovers += [f"{name}: {key}" for key in set(picture.info) - HARMLESS]
            leftovers += [f"{name}: EXIF {tag}" for tag in picture.getexif()]
            if needs_thumbnails and name != "thumb":
                shown = picture.convert("RGB").resize((64, 64))
                thumbnails[name] = np.asarray(shown, np.float64)
    return End(
        expected=expected,
        row=row,
        seconds=seconds,
        sizes=sizes,
        thumbnails=thumbnails,
        leftovers=tuple(leftovers),
    )


REFERENCES: set[str] = set()


@pytest.fixture(scope="session")
def ends(shared: Path) -> list[End]:
    corpus = shared / "corpus"
    with (corpus / "index.csv").open(encoding="utf-8", newline="") as index:
        rows = list(csv.DictReader(index))
    REFERENCES.update(row["upright_ref"] for row in rows if row["upright_ref"])
    return [through_the_stages(row, (corpus / "files" / row["file"]).read_bytes()) for row in rows]
