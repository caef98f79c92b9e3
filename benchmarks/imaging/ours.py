"""What the stages `preprocess` and `optimise` do between fetching a file and storing copies."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from benchmarks.imaging.jobs import MODEL_SIDE, Effort
from chalicelib.images import FocalPoint
from chalicelib.imaging.decode import Decoder
from chalicelib.imaging.formats import CopyFormat, FullSize, Recipe, wanted_formats
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.png import LIBRARY_VERSION
from chalicelib.imaging.render import model_input
from chalicelib.imaging.renditions import encoded, installed, rendered
from chalicelib.models import ModelInputShape
from chalicelib.pipeline.rendering import decode_size

PNG_SETTINGS: Sequence[Mapping[str, Any]] = ({},)

_LIMITS = Limits(max_bytes=2**30, max_pixels=64_000_000, max_side=30_000)
_SHAPE = ModelInputShape(
    width=MODEL_SIDE, height=MODEL_SIDE, shortest_edge=MODEL_SIDE, filter="bilinear"
)
_CENTRE = FocalPoint(x=0.5, y=0.5)


def versions() -> Mapping[str, str]:
    """The libraries that do the work."""
    return {"Pillow": version("pillow"), "deflate": LIBRARY_VERSION}


def small(body: bytes) -> dict[str, bytes]:
    """The imaging part of `preprocess`."""
    decoder = Decoder(_LIMITS)
    header = decoder.header(body)
    size = (header.width, header.height)
    table = installed()
    picture = decoder.picture(body, size=decode_size(header, (_SHAPE, *table)))
    copies = {
        line.name: encoded(rendered(picture, line, original=size, focal=_CENTRE), line)
        for line in table
    }
    return {**copies, "model": model_input(picture, _SHAPE).tobytes()}


def full(body: bytes, effort: Effort) -> dict[str, bytes]:
    """The imaging part of `optimise`."""
    formats = tuple(map(CopyFormat, effort.formats))
    recipe = Recipe(
        of_photos=formats, of_graphics=formats, webp_method=effort.webp, keep_rights=False
    )
    source = FullSize.read(body, Decoder(_LIMITS))
    return {
        str(chosen): source.copy(chosen, recipe).body for chosen in wanted_formats(source, recipe)
    }
