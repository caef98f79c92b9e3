"""What every contender makes of a photo, so that their costs can be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

STANDARD = (800, 600)
THUMB = (150, 150)
# Pixels of either side of the model input: the whole shorter side, its middle cut out.
MODEL_SIDE = 224
QUALITY = 85
SMALL = ("standard", "thumb", "model")
FORMATS = ("webp", "jpeg", "png")


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How hard encoders try, the same for all contenders that can be told.

    Attributes:
        webp: libwebp's method, 0 to 6.
        png: What a peer's PNG encoder is told, in that library's own words.
        formats: The full-size copies that are made.
    """

    webp: int = 2
    png: Mapping[str, Any] = field(default_factory=dict)
    formats: Sequence[str] = FORMATS

    def as_request(self) -> dict[str, Any]:
        """For a worker's line of JSON."""
        return asdict(self)


class Contender(Protocol):
    """A module that does the jobs in Python."""

    # What is tried to find the quickest PNG setting that keeps its bytes small.
    PNG_SETTINGS: Sequence[Mapping[str, Any]]

    def versions(self) -> Mapping[str, str]:
        """The libraries that do the work."""
        ...

    def small(self, body: bytes) -> Mapping[str, bytes]:
        """The renditions, letterboxed on white, as JPEG, and the model input as RGB bytes."""
        ...

    def full(self, body: bytes, effort: Effort) -> Mapping[str, bytes]:
        """The copies at full size."""
        ...


def inside(size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """The size of a picture scaled to fit into a box, never enlarged."""
    scale = min(box[0] / size[0], box[1] / size[1], 1.0)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
