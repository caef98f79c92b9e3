"""A model package: ``model.onnx``, ``labels.txt`` and ``model.json`` in one folder.

Reading it needs neither numpy nor onnxruntime.
"""

import hashlib
import importlib.resources
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msgspec import UnsetType

from chalicelib.errors import ModelError
from chalicelib.inference.description import ModelDescription, parse

DESCRIPTION_FILE = "model.json"
LABELS_FILE = "labels.txt"
GRAPH_FILE = "model.onnx"


@dataclass(frozen=True, kw_only=True)
class ModelPackage:
    """A model with its labels and description.

    Attributes:
        place: Where its files lie, for the text of an error.
        read: Reads one of them by its name.
        description: What ``model.json`` says.
        labels: One a class, in the order of the output.
    """

    place: str
    read: Callable[[str], bytes]
    description: ModelDescription
    labels: tuple[str, ...]

    def graph(self) -> bytes:
        """The bytes of ``model.onnx``, read anew at each call: they are needed once.

        Raises:
            ModelError: It is missing, or is not the file that ``sha256`` names.
        """
        body = self.read(GRAPH_FILE)
        expected = self.description.sha256
        if not isinstance(expected, UnsetType) and hashlib.sha256(body).hexdigest() != expected:
            raise ModelError(
                f"The field sha256 of {self.place}/{DESCRIPTION_FILE} is not that of {GRAPH_FILE}."
            )
        return body

    @classmethod
    def open(cls, place: str, read: Callable[[str], bytes]) -> "ModelPackage":
        """Read the description and the labels of a package.

        Args:
            place: Where its files lie, for the text of an error.
            read: Reads one of them by its name; raises `ModelError` for one that is missing.

        Raises:
            ModelError: A file is missing or wrong; the text names the file and the field.
        """
        description = parse(read(DESCRIPTION_FILE), f"{place}/{DESCRIPTION_FILE}")
        try:
            labels = tuple(read(LABELS_FILE).decode("utf-8").splitlines())
        except UnicodeDecodeError:
            raise ModelError(f"{place}/{LABELS_FILE} is not in UTF-8.") from None
        if not labels or not all(label.strip() for label in labels):
            raise ModelError(f"{place}/{LABELS_FILE} has an empty line, or no label at all.")
        return cls(place=place, read=read, description=description, labels=labels)

    @classmethod
    def load(cls, folder: Path) -> "ModelPackage":
        """Read a package from a folder.

        Raises:
            ModelError: A file is missing or wrong; the text names the file and the field.
        """
        return cls.open(str(folder), lambda name: _read(folder, name))

    @classmethod
    def described_by(cls, text: str) -> "ModelPackage":
        """A package of which nothing but the ``model.json`` is at hand.

        Raises:
            ModelError: It is wrong; the text names the field.
        """

        def missing(name: str) -> bytes:
            raise ModelError(f"The file {name} of the model is in a layer that is not attached.")

        return cls(
            place="the model's layer",
            read=missing,
            description=parse(text.encode(), "The setting MODEL_DESCRIPTION"),
            labels=(),
        )

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
