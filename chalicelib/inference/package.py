"""A model package: ``model.onnx``, ``labels.txt`` and ``model.json`` in one folder.

Reading it needs neither numpy nor onnxruntime, so that `preprocess` knows what
the model wants to see without loading what runs it.
"""

import hashlib
import importlib.resources
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chalicelib.errors import ModelError

Side = Annotated[int, Meta(ge=1, le=4096)]
Channels = Annotated[list[float], Meta(min_length=3, max_length=3)]
Positive = Annotated[float, Meta(gt=0)]
Deviations = Annotated[list[Positive], Meta(min_length=3, max_length=3)]


@dataclass(frozen=True, kw_only=True)
class InputDescription:
    """The input tensor. ``width`` and ``height`` are pixels."""

    name: str
    layout: Literal["NCHW"]
    width: Side
    height: Side
    channels: Literal["RGB"]
    dtype: Literal["float32"]


@dataclass(frozen=True, kw_only=True)
class ResizeRule:
    """How a picture becomes ``width`` x ``height``: scale its shorter side, cut out the centre."""

    rule: Literal["shortest_edge"]
    shortest_edge: Side
    filter: Literal["bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """``(pixel * scale - mean) / std`` for each channel, of pixels from 0 to 255."""

    scale: Positive
    mean: Channels
    std: Deviations


@dataclass(frozen=True, kw_only=True)
class OutputDescription:
    """The output tensor.

    Attributes:
        name: Of the tensor in the graph.
        softmax: Whether the graph ends in a softmax already.
        temperature: Divides the logits before the softmax (Guo et al. 2017).
    """

    name: str
    softmax: bool
    temperature: Positive = 1.0


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """What ``model.json`` holds."""

    name: str
    version: str
    input: InputDescription
    resize: ResizeRule
    normalise: Normalisation
    output: OutputDescription
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelPackage:
    """A model with its labels and description.

    Attributes:
        folder: Where its files lie.
        description: What ``model.json`` says.
        labels: One a class, in the order of the output.
    """

    folder: Path
    description: ModelDescription
    labels: tuple[str, ...]

    @cached_property
    def graph(self) -> bytes:
        """The bytes of ``model.onnx``.

        Raises:
            ModelError: It is missing, or is not the file that ``sha256`` names.
        """
        body = _read(self.folder, "model.onnx")
        expected = self.description.sha256
        if expected is not None and hashlib.sha256(body).hexdigest() != expected:
            raise ModelError(
                f"The field sha256 of {self.folder / 'model.json'} is not that of model.onnx."
            )
        return body

    @classmethod
    def load(cls, folder: Path) -> "ModelPackage":
        """Read the description and the labels of a package.

        Raises:
            ModelError: A file is missing or wrong; the text names the file and the field.
        """
        try:
            description = msgspec.json.decode(_read(folder, "model.json"), type=ModelDescription)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ModelError(f"{folder / 'model.json'} is wrong: {error}.") from None
        try:
            labels = tuple(_read(folder, "labels.txt").decode("utf-8").splitlines())
        except UnicodeDecodeError:
            raise ModelError(f"{folder / 'labels.txt'} is not in UTF-8.") from None
        if not labels or not all(label.strip() for label in labels):
            raise ModelError(f"{folder / 'labels.txt'} has an empty line, or no label at all.")
        return cls(folder=folder, description=description, labels=labels)

    @classmethod
    def installed(cls, package: str) -> "ModelPackage":
        """The package that an importable Python package of this name carries.

        Raises:
            ModelError: There is no such package, or a file of it is missing or wrong.
        """
        try:
            folder = importlib.resources.files(package)
        # A name that begins with a dot, or none at all, is no package's either.
        except (ModuleNotFoundError, TypeError, ValueError):
            raise ModelError(f"There is no Python package {package!r} with a model.") from None
        return cls.load(Path(str(folder)))


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError:
        raise ModelError(f"The model package {folder} has no file {name}.") from None
