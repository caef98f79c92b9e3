"""A model's graph, loaded and tried out, so that nothing about it is found out in a batch.

Convention: images are (n, 3, height, width) or (n, height, width, 3) of the model's dtype,
scores are (n, classes) float64.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from msgspec import UnsetType

from chalicelib import telemetry
from chalicelib.errors import ModelError
from chalicelib.inference.description import Dtype, Layout, ModelDescription, check, known
from chalicelib.inference.package import DESCRIPTION_FILE, GRAPH_FILE, LABELS_FILE, ModelPackage

# How many images go through the graph at once. One core, the default model, measured by
# benchmarks/session_options.py: 1.40 ms an image alone, 1.28 in twos, 1.22 in fours, 1.20 in
# eights, 1.18 in sixteens; memory grows with each.
LARGEST_BATCH = 8

_DTYPES: Mapping[str, Dtype] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
}
_SCORE_TYPES = frozenset({"tensor(float)", "tensor(float16)", "tensor(double)"})
# Where a softmax in half precision over 1,000 classes may end up.
_SUM_TOLERANCE = 0.05
# By how much of their range the scores of an image may differ alone and among others.
_BATCH_TOLERANCE = 0.05


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A graph that was loaded, checked and run.

    Attributes:
        session: Of onnxruntime.
        description: Of the model, with all that was left out filled in.
        layout: Of the input.
        dtype: Of the input.
        batch: How many images go through it at once.
        fixed: Whether it takes exactly that many.
        classes: How many scores an image gets.
        sha256: Of ``model.onnx``.
    """

    session: ort.InferenceSession
    description: ModelDescription
    layout: Layout
    dtype: Dtype
    batch: int
    fixed: bool
    classes: int
    sha256: str

    def scores(self, images: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """What the graph says of any number of images.

        Raises:
            ModelError: It cannot be run.
        """
        parts: list[npt.NDArray[np.float64]] = []
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            count = len(part)
            if self.fixed and count < self.batch:
                filling = np.zeros((self.batch - count, *part.shape[1:]), part.dtype)
                part = np.concatenate([part, filling])
            parts.append(self._run(part)[:count])
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _run(self, images: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        names = self.description.input.name, self.description.output.name
        try:
            (output,) = self.session.run([names[1]], {names[0]: images})
        # onnxruntime's exceptions share no base below Exception.
        except Exception as error:
            raise ModelError(f"The graph cannot be run: {error}") from error
        scores = np.asarray(output, dtype=np.float64)
        if scores.size != len(images) * self.classes:
            raise ModelError(
                f"{len(images)} images got an output of shape {list(np.shape(output))}; "
                f"by {LABELS_FILE} an image has {self.classes} classes."
            )
        # Some graphs end in (n, classes, 1, 1).
        return scores.reshape(len(images), self.classes)


def load(package: ModelPackage, *, threads: int) -> Graph:
    """Load a package's graph, compare it with the description, and try it out.

    Raises:
        ModelError: Graph, labels and description do not fit; the text names the field.
    """
    body = package.graph()
    session = _session(body, package.place, threads=threads)
    description = completed(package.description, session)
    check(description, f"{package.place}/{DESCRIPTION_FILE}")
    # Tells a missing field or a wrong size now rather than with the first image.
    description.input_shape()
    fixed = _fixed_batch(session)
    classes = _classes(session, description)
    if classes is not None and classes != len(package.labels):
        raise ModelError(
            f"{package.place}/{LABELS_FILE} has {len(package.labels)} lines, "
            f"but the graph's output has {classes} classes."
        )
    graph = Graph(
        session=session,
        description=description,
        layout=known(description.input.layout, "input.layout"),
        dtype=known(description.input.dtype, "input.dtype"),
        batch=fixed or 1,
        fixed=fixed is not None,
        classes=len(package.labels),
        sha256=hashlib.sha256(body).hexdigest(),
    )
    return _tried(graph, package.place)


def completed(description: ModelDescription, session: ort.InferenceSession) -> ModelDescription:
    """The description with what it leaves out, as the graph tells it.

    Raises:
        ModelError: The graph contradicts a field, or leaves one open that is left out.
    """
    inputs = session.get_inputs()
    given = description.input
    names = [entry.name for entry in inputs]
    if len(names) != 1 or given.name not in (names[0], msgspec.UNSET):
        wanted = "left out" if isinstance(given.name, UnsetType) else repr(given.name)
        raise ModelError(
            f"The field input.name is {wanted}, but the graph's inputs are {sorted(names)}; "
            "a classifier takes one."
        )
    (node,) = inputs
    if node.type not in _DTYPES:
        raise ModelError(
            f"The graph's input is {node.type}; input.dtype may be {', '.join(_DTYPES.values())}."
        )
    if len(node.shape) != 4:
        raise ModelError(
            f"The graph's input has the shape {node.shape}; input.layout is of four dimensions."
        )
    layout = _layout(given.layout, node.shape)
    height, width = node.shape[2:] if layout == "NCHW" else node.shape[1:3]
    facts = {
        "name": node.name,
        "layout": layout,
        "width": _agreed("input.width", given.width, width),
        "height": _agreed("input.height", given.height, height),
        "dtype": _agreed("input.dtype", given.dtype, _DTYPES[node.type]),
    }
    return msgspec.structs.replace(
        description,
        input=msgspec.structs.replace(given, **facts),
        output=msgspec.structs.replace(description.output, name=_output_name(description, session)),
    )


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probabilities of logits of shape (..., classes), computed without overflow."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: npt.NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result


def _session(body: bytes, place: str, *, threads: int) -> ort.InferenceSession:
    """Chosen by measurement, one core, the default model and MobileNetV2 int8.

    All optimisations: 1.40 ms an image against 1.64 with the extended and 4.7 with the basic
    ones. A graph that was optimised beforehand loads in 5.5 ms instead of 8.7, too little to
    keep a second file for, and its extended optimisations alone cost 0.24 ms an image. The
    arena saves 0.03 ms, the pattern of memory nothing that could be measured. A second thread
    halves the time and doubles the processor time, of which a function has one or two.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # What it warns of, unused initialisers above all, is no concern of who runs the model.
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(body, options, providers=["CPUExecutionProvider"])
    # onnxruntime's exceptions share no base below Exception.
    except Exception as error:
        raise ModelError(f"{place}/{GRAPH_FILE} cannot be loaded: {error}") from error


def _layout(given: Layout | UnsetType, shape: Sequence[object]) -> Layout:
    possible: list[Layout] = []
    if shape[1] == 3 or not isinstance(shape[1], int):
        possible.append("NCHW")
    if shape[3] == 3 or not isinstance(shape[3], int):
        possible.append("NHWC")
    if not isinstance(given, UnsetType):
        if given not in possible:
            raise ModelError(
                f"The field input.layout is {given}, but the graph's input has the shape {shape}."
            )
        return given
    # A dimension of 3 tells more than one that is left open.
    certain = [name for name in possible if shape[1 if name == "NCHW" else 3] == 3]
    if len(certain) == 1:
        return certain[0]
    raise ModelError(
        f"The field input.layout is left out, and the shape {shape} of the graph's input does not "
        "tell it: no dimension, or more than one, is that of three channels."
    )


def _agreed(field: str, given: Any, found: object) -> Any:
    """What the description and the graph say together."""
    if isinstance(found, int | str) and not (isinstance(found, str) and "dtype" not in field):
        if isinstance(given, UnsetType) or given == found:
            return found
        raise ModelError(f"The field {field} is {given}, but the graph's input has {found}.")
    if isinstance(given, UnsetType):
        raise ModelError(f"The field {field} is left out, and the graph leaves it open.")
    return given


def _output_name(description: ModelDescription, session: ort.InferenceSession) -> str:
    outputs = {node.name: node for node in session.get_outputs()}
    name = description.output.name
    if isinstance(name, UnsetType):
        if len(outputs) > 1:
            raise ModelError(
                f"The field output.name is left out, and the graph has {sorted(outputs)}."
            )
        (name,) = outputs
    if name not in outputs:
        raise ModelError(
            f"The field output.name is {name!r}, but the graph's outputs are {sorted(outputs)}."
        )
    if outputs[name].type not in _SCORE_TYPES:
        raise ModelError(
            f"The field output.name is {name!r}, which is {outputs[name].type} and no scores."
        )
    return name


def _fixed_batch(session: ort.InferenceSession) -> int | None:
    batch = session.get_inputs()[0].shape[0]
    return batch if isinstance(batch, int) and batch > 0 else None


def _classes(session: ort.InferenceSession, description: ModelDescription) -> int | None:
    """How many scores an image gets, where the graph says so beforehand."""
    (shape,) = (n.shape for n in session.get_outputs() if n.name == description.output.name)
    rest = shape[1:]
    if not rest or not all(isinstance(side, int) for side in rest):
        return None
    return int(np.prod(rest))


def _tried(graph: Graph, place: str) -> Graph:
    """The graph after runs on made-up images, with the batch that it really takes."""
    images = _made_up(graph, 2)
    alone = np.concatenate([graph.scores(images[:1]), graph.scores(images[1:])])
    if not np.isfinite(alone).all():
        raise ModelError(f"{place}/{GRAPH_FILE} answers with values that are no numbers.")
    distribution = bool(
        (alone >= -_SUM_TOLERANCE).all() and (abs(alone.sum(axis=1) - 1) < _SUM_TOLERANCE).all()
    )
    if distribution != graph.description.output.softmax and graph.classes > 1:
        raise ModelError(
            f"The field output.softmax is {str(not distribution).lower()}, but the graph's output "
            f"{'sums' if distribution else 'does not sum'} up to 1 over the classes."
        )
    if graph.fixed:
        return graph
    # An open batch dimension is a promise that not every graph keeps: some have a reshape to a
    # fixed size in them, which fails or mixes the images up.
    several = replace(graph, batch=LARGEST_BATCH)
    try:
        together = several.scores(images)
    except ModelError as error:
        telemetry.logger().warning("%s takes one image at a time: %s", place, error)
        return graph
    if np.abs(together - alone).max() > _BATCH_TOLERANCE * max(np.ptp(alone), 1e-6):
        telemetry.logger().warning("%s takes one image at a time: its answers differ", place)
        return graph
    return several


def _made_up(graph: Graph, count: int) -> npt.NDArray[Any]:
    width = known(graph.description.input.width, "input.width")
    height = known(graph.description.input.height, "input.height")
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    return tensor_of(pixels, graph)


def tensor_of(pixels: npt.NDArray[np.uint8], graph: Graph) -> npt.NDArray[Any]:
    """What the graph takes, of pictures.

    Convention: pixels are (n, height, width, 3) uint8, RGB; the result is of the graph's layout,
    channel order and dtype, normalised as the description says.
    """
    description = graph.description
    if description.input.channels == "BGR":
        pixels = pixels[..., ::-1]
    rule = description.normalise
    first = graph.layout == "NCHW"
    if first:
        pixels = pixels.transpose(0, 3, 1, 2)
    if isinstance(rule, UnsetType):
        return np.ascontiguousarray(pixels)
    # (pixel * scale - mean) / std, folded into one multiplication and one addition; an image
    # at a time, which stays in the processor's cache: 0.03 ms instead of 0.33.
    std = np.asarray(rule.std, np.float64)
    factor = (rule.scale / std).astype(np.float32)
    shift = (-np.asarray(rule.mean) / std).astype(np.float32)
    if first:
        factor, shift = factor[:, None, None], shift[:, None, None]
    tensor = np.empty(pixels.shape, np.float32)
    for image, values in zip(pixels, tensor, strict=True):
        np.multiply(image, factor, out=values)
        np.add(values, shift, out=values)
    return tensor if graph.dtype == "float32" else tensor.astype(np.float16)
