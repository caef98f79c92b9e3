"""The finished package: the best file of the model that keeps its accuracy, and what describes it.

Convention: images are (n, 3, height, width) float32, logits (n, classes) float32, targets (n,)
int64; shares are of 1.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data import Photos
from training.evaluate import (
    Figures,
    Preparation,
    calibration_error,
    fit_temperature,
    logits_of,
    measure,
    milliseconds_per_image,
)
from training.export import export_float16, export_float32, export_int8
from training.network import Classifier

NAME = "darkroom-32"
VERSION = "1.0.0"
CALIBRATION_PHOTOS = 512
# What a smaller file may cost of top-1: one point.
MOST_LOST = 0.01


@dataclass(frozen=True)
class Measured:
    """One file of the model and what it does on the validation photos."""

    kind: str
    size_bytes: int
    figures: Figures
    milliseconds: float


@dataclass(frozen=True)
class Package:
    """What was packaged, and every figure that the card tells."""

    labels: tuple[str, ...]
    chosen: str
    model: Path
    files: tuple[Measured, ...]
    temperature: float
    error_before: float
    error_after: float
    preparation: Preparation

    def of(self, kind: str) -> Measured:
        """Return the figures of ``float32``, ``float16`` or ``int8``."""
        return next(file for file in self.files if file.kind == kind)


def build_package(
    network: Classifier,
    train: Photos,
    val: Photos,
    preparation: Preparation,
    work: Path,
) -> Package:
    """Export ``network`` in three kinds into ``work``, measure each, and choose.

    Ranges for int8 are measured on ``train``; every figure comes from ``val``.

    Raises:
        OSError: the files cannot be written.
    """
    work.mkdir(parents=True, exist_ok=True)
    paths = {kind: work / f"{kind}.onnx" for kind in ("int8", "float16", "float32")}
    export_float32(network, paths["float32"], preparation.height, preparation.width)
    export_float16(paths["float32"], paths["float16"])
    step = max(1, len(train) // CALIBRATION_PHOTOS)
    sample = np.arange(0, len(train), step, dtype=np.int64)
    export_int8(paths["float32"], paths["int8"], preparation.images(train, sample))

    images = preparation.images(val)
    logits = {kind: logits_of(path, images) for kind, path in paths.items()}
    files = tuple(
        Measured(
            kind,
            path.stat().st_size,
            measure(logits[kind], val.targets),
            milliseconds_per_image(path, images),
        )
        for kind, path in paths.items()
    )
    enough = files[-1].figures.top1 - MOST_LOST
    # From the smallest file to the largest: the first that keeps the accuracy is taken.
    chosen = next(file.kind for file in files if file.figures.top1 >= enough)
    # Fitted on every other photo of val and judged on the rest: the training photos are known by
    # heart, and on them the model would look surer than it may be.
    odd = np.arange(len(val)) % 2 == 1
    temperature = fit_temperature(logits[chosen][odd], val.targets[odd])
    return Package(
        labels=val.labels,
        chosen=chosen,
        model=paths[chosen],
        files=files,
        temperature=temperature,
        error_before=calibration_error(logits[chosen][~odd], val.targets[~odd], 1.0),
        error_after=calibration_error(logits[chosen][~odd], val.targets[~odd], temperature),
        preparation=preparation,
    )


def write_package(package: Package, out: Path) -> None:
    """Write ``model.onnx``, ``labels.txt`` and ``model.json`` into ``out``.

    Raises:
        OSError: the files cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    content = package.model.read_bytes()
    (out / "model.onnx").write_bytes(content)
    (out / "labels.txt").write_text("\n".join(package.labels) + "\n", encoding="utf-8")
    preparation = package.preparation
    described = {
        "name": NAME,
        "version": VERSION,
        "input": {
            "name": "image",
            "layout": "NCHW",
            "width": preparation.width,
            "height": preparation.height,
            "channels": "RGB",
            "dtype": "float32",
        },
        "resize": {
            "rule": "shortest_edge",
            "shortest_edge": preparation.shortest_edge,
            "filter": preparation.filter,
        },
        "normalise": {
            "scale": preparation.scale,
            "mean": list(preparation.mean),
            "std": list(preparation.deviation),
        },
        "output": {"name": "logits", "softmax": False, "temperature": package.temperature},
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (out / "model.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
