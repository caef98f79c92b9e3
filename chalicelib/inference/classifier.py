"""Runs an ONNX classifier."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from chalicelib.errors import ModelError, ModelInputMismatch
from chalicelib.images import Prediction
from chalicelib.inference.package import ModelPackage

TOP_CLASSES = 5

# Binary PPM as `imaging.render.to_ppm` writes it: no comments, 8 bits a channel.
_PPM_HEADER = re.compile(rb"P6\s(\d{1,5})\s(\d{1,5})\s255\s")


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
        description = self.package.description
        scores = self._scores(np.concatenate([self._tensor(ppm) for ppm in ppms]))
        if not description.output.softmax:
            scores = softmax(scores / description.output.temperature)
        return [self._prediction(row) for row in scores]

    def _prediction(self, scores: npt.NDArray[np.float64]) -> Prediction:
        best = np.argsort(-scores, kind="stable")[:TOP_CLASSES]
        return Prediction(
            classes=tuple(self.package.labels[index] for index in best),
            probabilities=tuple(round(float(scores[index]), 6) for index in best),
            model_name=self.package.description.name,
            model_version=self.package.description.version,
        )

    def _scores(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Convention: what the graph says of each image; float64, (images, classes)."""
        description = self.package.description
        session = self._session
        try:
            (output,) = session.run([description.output.name], {description.input.name: tensor})
        # onnxruntime's exceptions share no base below Exception.
        except Exception as error:
            raise ModelError(
                f"{self.package.folder / 'model.onnx'} does not take what the field input "
                f"describes: {error}"
            ) from error
        scores = np.asarray(output, dtype=np.float64).reshape(len(tensor), -1)
        if scores.shape[1] != len(self.package.labels):
            raise self._wrong_class_count(scores.shape[1])
        return scores

    @cached_property
    def _session(self) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        try:
            session = ort.InferenceSession(
                self.package.graph, options, providers=["CPUExecutionProvider"]
            )
        # onnxruntime's exceptions share no base below Exception.
        except Exception as error:
            raise ModelError(
                f"{self.package.folder / 'model.onnx'} cannot be loaded: {error}"
            ) from error
        self._check(session)
        return session

    def _check(self, session: ort.InferenceSession) -> None:
        description = self.package.description
        inputs = {node.name: node for node in session.get_inputs()}
        outputs = {node.name: node for node in session.get_outputs()}
        if list(inputs) != [description.input.name]:
            raise ModelError(
                f"The field input.name is {description.input.name!r}, "
                f"but the graph's inputs are {sorted(inputs)}."
            )
        if description.output.name not in outputs:
            raise ModelError(
                f"The field output.name is {description.output.name!r}, "
                f"but the graph's outputs are {sorted(outputs)}."
            )
        width = outputs[description.output.name].shape[-1]
        if isinstance(width, int) and width != len(self.package.labels):
            raise self._wrong_class_count(width)

    def _wrong_class_count(self, classes: int) -> ModelError:
        return ModelError(
            f"{self.package.folder / 'labels.txt'} has {len(self.package.labels)} lines, "
            f"but the graph's output has {classes} classes."
        )

    def _tensor(self, ppm: bytes) -> npt.NDArray[np.float32]:
        """Convention: NCHW, float32, normalised as the description says; (1, 3, height, width)."""
        description = self.package.description
        header = _PPM_HEADER.match(ppm)
        if header is None:
            raise ModelInputMismatch("The prepared image is no binary PPM.")
        width, height = int(header[1]), int(header[2])
        if (width, height) != (description.input.width, description.input.height):
            raise ModelInputMismatch(f"The prepared image is {width} x {height} pixels.")
        if len(ppm) - header.end() != width * height * 3:
            raise ModelInputMismatch("The prepared image has too few or too many pixels.")
        pixels = np.frombuffer(ppm, np.uint8, offset=header.end())
        # (pixel * scale - mean) / std, folded into one multiplication and one addition.
        std = np.asarray(description.normalise.std, np.float32)
        factor = np.float32(description.normalise.scale) / std
        shift = -np.asarray(description.normalise.mean, np.float32) / std
        image = pixels.reshape(height, width, 3).astype(np.float32) * factor + shift
        return np.ascontiguousarray(image.transpose(2, 0, 1)[np.newaxis])


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probabilities of logits of shape (..., classes), computed without overflow."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: npt.NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result
