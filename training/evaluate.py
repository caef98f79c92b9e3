"""What counts: the packaged model, run by onnxruntime on photos prepared by Pillow.

Convention: prepared images are (n, 3, height, width) float32, RGB, normalised; logits are
(n, classes) float32; targets are (n,) int64; times are milliseconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from training.data import Photos

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preparation:
    """How a photo becomes the model's input; the same words as in ``model.json``."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    width: int = 128
    height: int = 128
    # A little more than the crop: the crops of training show things larger than whole photos do.
    shortest_edge: int = 136
    filter: str = "bilinear"
    scale: float = 1.0 / 255.0

    def pixels(self, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Scale and crop (h, w, 3) uint8 to (height, width, 3) uint8."""
        high, wide = photo.shape[:2]
        ratio = self.shortest_edge / min(high, wide)
        size = (max(self.width, round(wide * ratio)), max(self.height, round(high * ratio)))
        image = Image.fromarray(photo).resize(size, FILTERS[self.filter])
        left, top = (size[0] - self.width) // 2, (size[1] - self.height) // 2
        cropped = image.crop((left, top, left + self.width, top + self.height))
        return np.asarray(cropped, dtype=np.uint8)

    def images(
        self, photos: Photos, indices: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Return photos (all, or those of ``indices``) as (n, 3, height, width) float32."""
        chosen = range(len(photos)) if indices is None else indices.tolist()
        pixels = np.stack([self.pixels(photos.photo(index)) for index in chosen])
        values = pixels.astype(np.float32) * np.float32(self.scale)
        values -= np.asarray(self.mean, dtype=np.float32)
        values /= np.asarray(self.deviation, dtype=np.float32)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


@dataclass(frozen=True)
class Figures:
    """What a model does on a set of photos: shares of 1, and per class as many as labels."""

    top1: float
    top5: float
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    confusion: NDArray[np.int64]


def open_session(model: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open a model with a number of threads, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def logits_of(
    model: Path, images: NDArray[np.float32], batch_size: int = 32
) -> NDArray[np.float32]:
    """Run a model over images (n, 3, height, width) and return (n, classes) float32."""
    session = open_session(model)
    parts = [
        session.run(["logits"], {"image": images[start : start + batch_size]})[0]
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts).astype(np.float32)


def measure(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> Figures:
    """Measure logits (n, classes) against targets (n,)."""
    classes = logits.shape[1]
    order = np.argsort(-logits, axis=1, kind="stable")
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (targets, order[:, 0]), 1)
    right = np.diag(confusion).astype(np.float64)
    return Figures(
        top1=float((order[:, 0] == targets).mean()),
        top5=float((order[:, :5] == targets[:, None]).any(axis=1).mean()),
        precision=right / np.maximum(confusion.sum(axis=0), 1),
        recall=right / np.maximum(confusion.sum(axis=1), 1),
        confusion=confusion,
    )


def softmax(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Return probabilities (n, classes) float64 of logits divided by a temperature."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    powers = np.exp(scaled)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


def fit_temperature(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Return the temperature, to 0.01, under which the right answers are most probable."""
    rows = np.arange(len(targets))
    candidates = np.round(np.arange(0.30, 4.0, 0.01), 2)
    losses = [
        -np.log(softmax(logits, float(candidate))[rows, targets] + 1e-12).mean()
        for candidate in candidates
    ]
    return float(candidates[int(np.argmin(losses))])


def calibration_error(
    logits: NDArray[np.float32], targets: NDArray[np.int64], temperature: float, bins: int = 15
) -> float:
    """Return the expected calibration error: how far confidence and being right lie apart, 0 to 1.

    Over ``bins`` bins of equal width, weighted by how many photos fall into each.
    """
    probabilities = softmax(logits, temperature)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets
    places = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    error = 0.0
    for place in range(bins):
        inside = places == place
        if inside.any():
            gap = abs(float(right[inside].mean()) - float(confidence[inside].mean()))
            error += gap * float(inside.mean())
    return error


def milliseconds_per_image(model: Path, images: NDArray[np.float32], runs: int = 200) -> float:
    """Return the median time of one photo through a model with one thread, in milliseconds."""
    session = open_session(model)
    one = images[:1]
    for _ in range(20):
        session.run(["logits"], {"image": one})
    times: list[float] = []
    for _ in range(runs):
        started = time.perf_counter()
        session.run(["logits"], {"image": one})
        times.append(time.perf_counter() - started)
    return float(np.median(times)) * 1000.0
