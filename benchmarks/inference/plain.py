"""The straight way from a file to an answer, as one writes it inside a server of models.

Decode whole, scale the shorter side, cut out the centre, normalise, run, softmax. None of our
own code is in it. It serves the peers, and makes the tensors of the bare session.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from PIL import Image as Pillow

Floats = npt.NDArray[np.float32]

# The default model, the one that our stages run where nothing else is set.
MODEL = Path(__file__).resolve().parent.parent.parent / "vendor" / "darkroom_model"
TOP_CLASSES = 5
_FILTERS = {
    "bilinear": Pillow.Resampling.BILINEAR,
    "bicubic": Pillow.Resampling.BICUBIC,
    "lanczos": Pillow.Resampling.LANCZOS,
}


class PlainModel:
    """The model of a package's folder.

    Args:
        folder: ``model.onnx``, ``model.json`` and ``labels.txt``.
        reduced: Whether a JPEG is decoded at 1/2, 1/4 or 1/8 where that is enough, which Pillow
            does for who knows to ask.
    """

    def __init__(self, folder: Path, *, reduced: bool = False) -> None:
        description: dict[str, Any] = json.loads((folder / "model.json").read_text())
        self._name: str = description["name"]
        self._version: str = description["version"]
        self._input: str = description["input"]["name"]
        self._output: str = description["output"]["name"]
        self._size = (int(description["input"]["width"]), int(description["input"]["height"]))
        self._edge = int(description["resize"]["shortest_edge"])
        self._filter = _FILTERS[description["resize"]["filter"]]
        self._temperature = float(description["output"].get("temperature", 1.0))
        std = np.array(description["normalise"]["std"], np.float32)
        self._factor = np.float32(description["normalise"]["scale"]) / std
        self._shift = -np.array(description["normalise"]["mean"], np.float32) / std
        self._labels = (folder / "labels.txt").read_text().splitlines()
        self._reduced = reduced
        self._session = session_of(folder / "model.onnx")

    def tensor(self, photo: Pillow.Image) -> Floats:
        """Convention: RGB; (3, height, width), float32, normalised."""
        if self._reduced:
            photo.draft("RGB", (2 * self._edge, 2 * self._edge))
        photo = photo.convert("RGB")
        scale = self._edge / min(photo.size)
        whole = (round(photo.width * scale), round(photo.height * scale))
        width, height = self._size
        left, top = (whole[0] - width) // 2, (whole[1] - height) // 2
        cut = photo.resize(whole, self._filter).crop((left, top, left + width, top + height))
        return self.normalised(np.asarray(cut))

    def tensor_of_file(self, body: bytes) -> Floats:
        """Convention: as `tensor`."""
        return self.tensor(Pillow.open(io.BytesIO(body)))

    def normalised(self, pixels: npt.NDArray[np.uint8]) -> Floats:
        """Convention: RGB; (height, width, 3) uint8 becomes (3, height, width) float32."""
        scaled = pixels.astype(np.float32) * self._factor + self._shift
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))

    def run(self, batch: Floats) -> Floats:
        """Convention: (n, 3, height, width) becomes (n, classes), as the graph puts it out."""
        (scores,) = self._session.run([self._output], {self._input: batch})
        result: Floats = scores
        return result

    def answers(self, scores: Floats) -> list[dict[str, Any]]:
        """The result documents of a run."""
        logits = scores.astype(np.float64) / self._temperature
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = exponentials / exponentials.sum(axis=1, keepdims=True)
        best = np.argsort(-shares, axis=1, kind="stable")[:, :TOP_CLASSES]
        return [
            {
                "model": {"name": self._name, "version": self._version},
                "classes": [self._labels[index] for index in order],
                "probabilities": [round(float(row[index]), 6) for index in order],
            }
            for row, order in zip(shares, best, strict=True)
        ]

    def classify(self, tensors: Sequence[Floats]) -> list[dict[str, Any]]:
        """Run a batch of tensors of `tensor`."""
        return self.answers(self.run(np.stack(tensors)))


def session_of(graph: Path) -> ort.InferenceSession:
    """A session of one thread, as our stage has it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
