"""Make the Lambda layer of a user's own model: ``python -m infrastructure.model_layer FOLDER ZIP``.

The model is loaded and tried out first, and what its ``model.json`` leaves out is filled in from
the graph: `preprocess` needs it and cannot read graphs. The same folder always gives the same zip.
"""

import argparse
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from chalicelib.errors import ModelError
from chalicelib.inference.description import ModelDescription
from chalicelib.inference.graph import load
from chalicelib.inference.package import (
    DESCRIPTION_FILE,
    GRAPH_FILE,
    LABELS_FILE,
    ModelPackage,
)

# What the layer's Python package is called; a function finds it as it finds the built-in model.
LAYER_PACKAGE = "darkroom_model_layer"
# AWS Lambda quotas: a layer, zipped, as it may be uploaded directly, and what all layers and the
# code of a function may have unzipped. Ours have 138 MB, by `make package-check`.
MAX_ZIPPED_BYTES = 50_000_000
MAX_UNZIPPED_BYTES = 250_000_000 - 140_000_000
# The earliest date that a zip can tell.
_NO_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A model that was checked: its files by their names, the description completed."""

    description: ModelDescription
    files: Mapping[str, bytes]


def checked(folder: Path) -> ModelFiles:
    """Load a package from a folder, try it out, and fill in its description.

    Raises:
        ModelError: It cannot be used; the text names the file and the field.
    """
    package = ModelPackage.load(folder)
    graph = load(package, threads=1)
    description = msgspec.structs.replace(graph.description, sha256=graph.sha256)
    return ModelFiles(
        description=description,
        files={
            DESCRIPTION_FILE: msgspec.json.format(msgspec.json.encode(description), indent=2),
            LABELS_FILE: "".join(f"{label}\n" for label in package.labels).encode(),
            GRAPH_FILE: package.graph(),
        },
    )


def write_layer(model: ModelFiles, target: Path) -> None:
    """Write the layer's zip.

    Raises:
        ModelError: It is larger than Lambda takes.
    """
    unzipped = sum(len(body) for body in model.files.values())
    if unzipped > MAX_UNZIPPED_BYTES:
        raise ModelError(
            f"The model has {unzipped} bytes; beside the libraries Lambda takes "
            f"{MAX_UNZIPPED_BYTES}. Put it into the bucket instead (docs/models.md)."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as layer:
        for name, body in sorted({"__init__.py": b"", **model.files}.items()):
            entry = zipfile.ZipInfo(f"python/{LAYER_PACKAGE}/{name}", _NO_DATE)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            layer.writestr(entry, body, zipfile.ZIP_DEFLATED, compresslevel=9)
    zipped = target.stat().st_size
    if zipped > MAX_ZIPPED_BYTES:
        target.unlink()
        raise ModelError(
            f"The model's layer has {zipped} bytes zipped; Lambda takes {MAX_ZIPPED_BYTES}. "
            "Put the model into the bucket instead (docs/models.md)."
        )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    try:
        model = checked(arguments.folder)
        write_layer(model, arguments.target)
    except ModelError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    size = arguments.target.stat().st_size / 1e6
    print(f"{arguments.target}: {model.description.reference}, {size:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
