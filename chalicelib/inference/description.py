"""What ``model.json`` may say; `model.schema.json` beside this file is made from these types.

Whatever the ONNX graph tells by itself may be left out: `graph.completed` fills
it in. Reading a description needs neither numpy nor onnxruntime, so that
`preprocess` knows what the model wants to see without loading what runs it.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from chalicelib.errors import ModelError
from chalicelib.models import ModelInputShape

type Layout = Literal["NCHW", "NHWC"]
type Dtype = Literal["float32", "float16", "uint8"]
type Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]

Word = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Part of keys and links."),
]
Side = Annotated[int, Meta(ge=1, le=4096)]
Byte = Annotated[int, Meta(ge=0, le=255)]
Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(gt=0, le=1)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Described(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a description: a field that is spelt wrong is refused, not ignored."""


class InputDescription(Described, frozen=True):
    """The input tensor. Width and height are pixels; channels is their order."""

    channels: Literal["RGB", "BGR"] = "RGB"
    name: str | UnsetType = UNSET
    layout: Layout | UnsetType = UNSET
    width: Side | UnsetType = UNSET
    height: Side | UnsetType = UNSET
    dtype: Dtype | UnsetType = UNSET


class ShortestEdge(Described, frozen=True, tag="shortest_edge", tag_field="rule"):
    """Scale the shorter side to shortest_edge pixels, then cut out the centre.

    Instead of shortest_edge, crop_ratio may say which part of the scaled picture the longer side
    of the input is: 0.875 where 224 pixels are cut out of 256.
    """

    filter: Filter = "bilinear"
    shortest_edge: Side | UnsetType = UNSET
    crop_ratio: Share | UnsetType = UNSET


class Stretch(Described, frozen=True, tag="stretch", tag_field="rule"):
    """Scale both sides to the input's, whatever becomes of the shape."""

    filter: Filter = "bilinear"


class Letterbox(Described, frozen=True, tag="letterbox", tag_field="rule"):
    """Scale the whole picture into the input, on a ground of the colour fill (red, green, blue)."""

    filter: Filter = "bilinear"
    fill: tuple[Byte, Byte, Byte] = (0, 0, 0)


class Normalisation(Described, frozen=True):
    """``(pixel * scale - mean) / std`` of pixels from 0 to 255, in the order of the channels."""

    scale: Positive
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]


class OutputDescription(Described, frozen=True):
    """The output tensor: whether a softmax is applied in the graph, else by which temperature the
    logits are divided before it (Guo et al. 2017).
    """

    softmax: bool
    name: str | UnsetType = UNSET
    temperature: Positive = 1.0


class ModelDescription(Described, frozen=True):
    """What ``model.json`` holds. The normalisation is left out of a uint8 model's."""

    name: Word
    version: Word
    resize: ShortestEdge | Stretch | Letterbox
    output: OutputDescription
    input: InputDescription = InputDescription()
    normalise: Normalisation | UnsetType = UNSET
    sha256: Sha256 | UnsetType = UNSET
    schema: str | UnsetType = field(default=UNSET, name="$schema")

    @property
    def reference(self) -> str:
        """``NAME@VERSION``."""
        return f"{self.name}@{self.version}"

    def input_shape(self) -> ModelInputShape:
        """How a picture becomes the model's input.

        Raises:
            ModelError: A field that says so is left out; the text names it.
        """
        width = known(self.input.width, "input.width")
        height = known(self.input.height, "input.height")
        shortest_edge, fill = 0, (0, 0, 0)
        match self.resize:
            case ShortestEdge(shortest_edge=UnsetType(), crop_ratio=ratio):
                shortest_edge = round(max(width, height) / known(ratio, "resize.crop_ratio"))
            case ShortestEdge(shortest_edge=int(edge)):
                shortest_edge = edge
            case Letterbox(fill=colour):
                fill = colour
        return ModelInputShape(
            width=width,
            height=height,
            filter=self.resize.filter,
            rule=_rule_of(self.resize),
            shortest_edge=shortest_edge,
            fill=fill,
        )


def parse(body: bytes, place: str) -> ModelDescription:
    """Read a ``model.json``.

    Args:
        body: The file.
        place: Where it lies, for the text of an error.

    Raises:
        ModelError: It is wrong; the text names the field.
    """
    try:
        description = msgspec.json.decode(body, type=ModelDescription)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{place} is wrong: {error}.") from None
    check(description, place)
    return description


def check(description: ModelDescription, place: str) -> None:
    """Raise `ModelError` where the fields contradict one another, which no type can tell."""
    problem = _contradiction(description)
    if problem is not None:
        raise ModelError(f"{place} is wrong: {problem}.")


def schema() -> bytes:
    """The JSON Schema of ``model.json``, as `model.schema.json` has it."""
    made = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "model.json of a Darkroom model package",
        **msgspec.json.schema(ModelDescription),
    }
    return msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"


def known[T](value: T | UnsetType, name: str) -> T:
    """The value of a field that may be left out.

    Raises:
        ModelError: It is left out; the text names it.
    """
    if isinstance(value, UnsetType):
        raise ModelError(
            f"The field {name} of model.json is left out; `make model-check` reads it from the "
            "graph and says what to write there."
        )
    return value


def _rule_of(
    resize: ShortestEdge | Stretch | Letterbox,
) -> Literal["shortest_edge", "stretch", "letterbox"]:
    match resize:
        case ShortestEdge():
            return "shortest_edge"
        case Stretch():
            return "stretch"
        case Letterbox():
            return "letterbox"


def _contradiction(description: ModelDescription) -> str | None:
    resize, wanted = description.resize, description.input
    if isinstance(resize, ShortestEdge):
        edge, ratio = resize.shortest_edge, resize.crop_ratio
        if isinstance(edge, UnsetType) == isinstance(ratio, UnsetType):
            return (
                "one of the fields resize.shortest_edge and resize.crop_ratio is needed, not "
                + ("neither" if isinstance(edge, UnsetType) else "both")
            )
        for name, side in (("width", wanted.width), ("height", wanted.height)):
            if isinstance(edge, int) and isinstance(side, int) and edge < side:
                return (
                    f"the field resize.shortest_edge is {edge}, less than the "
                    f"input.{name} of {side} that is cut out"
                )
    plain = isinstance(description.normalise, UnsetType)
    if wanted.dtype == "uint8" and not plain:
        return "the field normalise must be left out where input.dtype is uint8"
    if wanted.dtype in {"float32", "float16"} and plain:
        return f"the field normalise is missing, and a {wanted.dtype} input needs it"
    return None
