"""Which model is to be run, and what it wants to see. Pure: no AWS, no Pillow, no onnxruntime."""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chalicelib.errors import ModelError

# The model that a deployment carries, whatever it is called.
DEFAULT = "default"
MODELS_PREFIX = "models/"
# Part of every fingerprint: raise it when the same shape would give other pixels.
_RECIPE_VERSION = 1

REFERENCE_PATTERN = (
    rf"^({DEFAULT}|[A-Za-z0-9][A-Za-z0-9._-]{{0,63}}@[A-Za-z0-9][A-Za-z0-9._-]{{0,63}})$"
)
_REFERENCE = re.compile(REFERENCE_PATTERN)
Reference = Annotated[str, Meta(pattern=REFERENCE_PATTERN)]
Share = Annotated[float, Meta(ge=0, le=1)]


def is_reference(text: str) -> bool:
    """Whether the text may name a model: ``default`` or ``NAME@VERSION``."""
    return _REFERENCE.fullmatch(text) is not None


def model_key(reference: str, name: str) -> str:
    """Where a file of a model lies in the uploads bucket."""
    model, _, version = reference.partition("@")
    return f"{MODELS_PREFIX}{model}/{version}/{name}"


class ModelChoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which models run: what the models parameter says.

    Attributes:
        active: Whose answers are shown.
        shadow: Runs beside it, and its answers are only counted.
        share: For which part of the images the shadow runs, 0 to 1.
    """

    active: Reference = DEFAULT
    shadow: Reference | None = None
    share: Share = 1.0

    @classmethod
    def parse(cls, text: str) -> "ModelChoice":
        """Read the parameter's value.

        Raises:
            ModelError: It is wrong; the text names the field.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ModelError(f"The choice of models is wrong: {error}.") from None

    def shadows(self, image_id: str) -> bool:
        """Whether the shadow runs for this image; for the same image the answer never changes,
        and whoever is in a small share is in each larger one.
        """
        if self.shadow is None:
            return False
        digest = hashlib.sha256(image_id.encode()).digest()
        return int.from_bytes(digest[:8]) < self.share * 2**64


@dataclass(frozen=True, kw_only=True)
class ModelInputShape:
    """What a model wants to see.

    Attributes:
        width: Pixels.
        height: Pixels.
        filter: Of the scaling.
        rule: ``shortest_edge`` scales the shorter side and cuts out the centre, ``stretch``
            scales both sides, ``letterbox`` scales the whole picture into the input.
        shortest_edge: To how many pixels the shorter side is scaled; for that rule alone.
        fill: Red, green and blue of a letterbox's ground.
    """

    width: int
    height: int
    filter: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
    rule: Literal["shortest_edge", "stretch", "letterbox"] = "shortest_edge"
    shortest_edge: int = 0
    fill: tuple[int, int, int] = (0, 0, 0)

    def scale(self, width: int, height: int) -> float:
        """By what a picture of this size is scaled, or its more enlarged side is."""
        match self.rule:
            case "shortest_edge":
                return self.shortest_edge / min(width, height)
            case "stretch":
                return max(self.width / width, self.height / height)
            case "letterbox":
                return min(self.width / width, self.height / height)

    def picture_scale(self, width: int, height: int) -> float:
        """By what a picture of this size is scaled at most before `imaging.render` works on it.

        A model is used to the filter that it was trained with, which has to do the last part.
        """
        return 1.5 * self.scale(width, height)

    @cached_property
    def fingerprint(self) -> str:
        """Differs where the pixels would: a prepared image that carries it in its key is not
        taken for that of another model.
        """
        parts = (
            _RECIPE_VERSION, self.width, self.height, self.filter, self.rule, self.shortest_edge,
            self.fill,
        )  # fmt: skip
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]
