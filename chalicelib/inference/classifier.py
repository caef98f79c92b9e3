"""Runs an ONNX classifier."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from chalicelib.errors import ModelInputMismatch
from chalicelib.images import Prediction
from chalicelib.inference.description import known
from chalicelib.inference.graph import Graph, load, softmax, tensor_of
from chalicelib.inference.package import ModelPackage

TOP_CLASSES = 5

# Binary PPM as `imaging.render.to_ppm` writes it: no comments, 8 bits a channel.
_PPM_HEADER = re.compile(rb"P6\s(\d{1,5})\s(\d{1,5})\s255\s")
# What a probability of 0 counts as where its logarithm is taken.
_LEAST = 1e-12


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A model and its session, made at the first prediction and kept for the process's life.

    Args:
        package: The model.
        threads: Threads of one run.
    """

    package: ModelPackage
    threads: int

    def predict(self, ppm: bytes) -> Prediction:
        """The best classes for one model input; see `predict_batch`."""
        (prediction,) = self.predict_batch([ppm])
        return prediction

    def predict_batch(self, ppms: Sequence[bytes]) -> list[Prediction]:
        """The best classes for each model input, in their order.

        Args:
            ppms: Binary PPMs of exactly the model's width and height.

        Raises:
            ModelError: The model cannot be loaded, or is not what its description says.
            ModelInputMismatch: A PPM is not of the model's size.
        """
        if not ppms:
            return []
        pixels = np.stack([self._pixels(ppm) for ppm in ppms])
        probabilities = self._probabilities(self.graph.scores(tensor_of(pixels, self.graph)))
        return self._predictions(probabilities)

    def check(self, ppm: bytes) -> None:
        """Raise `ModelInputMismatch` unless this is a PPM of the model's size."""
        self._pixels(ppm)

    @cached_property
    def graph(self) -> Graph:
        """The model's graph; raises `ModelError` where it cannot be used."""
        return load(self.package, threads=self.threads)

    def _probabilities(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        output = self.graph.description.output
        if not output.softmax:
            return softmax(scores / output.temperature)
        if output.temperature != 1:
            return softmax(np.log(np.maximum(scores, _LEAST)) / output.temperature)
        return scores

    def _predictions(self, probabilities: npt.NDArray[np.float64]) -> list[Prediction]:
        """Convention: (n, classes). At once, for numpy's calls cost more than their work."""
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP_CLASSES]
        shares = np.round(np.take_along_axis(probabilities, best, axis=1), 6)
        return [
            Prediction(
                classes=tuple(self.package.labels[index] for index in indexes),
                probabilities=tuple(row),
                model_name=self.graph.description.name,
                model_version=self.graph.description.version,
                model_sha256=self.graph.sha256,
            )
            for indexes, row in zip(best.tolist(), shares.tolist(), strict=True)
        ]

    def _pixels(self, ppm: bytes) -> npt.NDArray[np.uint8]:
        """Convention: RGB; (height, width, 3) uint8."""
        wanted = self.graph.description.input
        size = known(wanted.width, "input.width"), known(wanted.height, "input.height")
        header = _PPM_HEADER.match(ppm)
        if header is None:
            raise ModelInputMismatch("The prepared image is no binary PPM.")
        width, height = int(header[1]), int(header[2])
        if (width, height) != size:
            raise ModelInputMismatch(f"The prepared image is {width} x {height} pixels.")
        if len(ppm) - header.end() != width * height * 3:
            raise ModelInputMismatch("The prepared image has too few or too many pixels.")
        pixels = np.frombuffer(ppm, np.uint8, offset=header.end())
        return pixels.reshape(height, width, 3)


class Classifiers:
    """The classifiers of a process, each made when it is first asked for.

    Args:
        threads: Threads of one run.
        most: How many are kept: the active one, the shadow and one that was asked for by name.
    """

    def __init__(self, *, threads: int, most: int = 3) -> None:
        self._threads = threads
        self._most = most
        self._made: dict[str, Classifier] = {}

    def __call__(self, package: ModelPackage) -> Classifier:
        """The classifier of a package; the one that was not asked for longest makes room."""
        reference = package.description.reference
        classifier = self._made.pop(reference, None)
        if classifier is None:
            while len(self._made) >= self._most:
                del self._made[next(iter(self._made))]
            classifier = Classifier(package=package, threads=self._threads)
        self._made[reference] = classifier
        return classifier
