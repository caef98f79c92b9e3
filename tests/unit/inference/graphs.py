"""Small ONNX graphs, made by the tests that use them.

Each says of a picture how much red, green and blue it has, in the order of its channels: what a
model sees can be read off its scores.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as Pillow

from chalicelib.imaging.render import to_ppm
from chalicelib.inference.classifier import Classifier
from chalicelib.inference.graph import tensor_of
from chalicelib.inference.package import ModelPackage

LABELS = ("first", "second", "third")
_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "uint8": TensorProto.UINT8,
    "int64": TensorProto.INT64,
}
type Side = int | str


def graph(
    *,
    layout: Literal["NCHW", "NHWC"] = "NCHW",
    dtype: str = "float32",
    batch: Side = "n",
    width: Side = 6,
    height: Side = 4,
    softmax: bool = False,
    tail: Sequence[int] = (),
    outputs: Sequence[str] = ("scores",),
    operator: str = "ReduceMean",
    flat_batch: int | None = None,
    open_classes: bool = False,
) -> bytes:
    """A graph ``pixels`` to ``scores``: the mean of each channel.

    Args:
        layout: Of the input.
        dtype: Of the input.
        batch: Its first dimension.
        width: Of the input, in pixels.
        height: Likewise.
        softmax: Whether it ends in one.
        tail: Dimensions of 1 behind the classes.
        outputs: More outputs say the same.
        operator: What takes the mean; another one that no runtime knows.
        flat_batch: A batch that is written into a reshape, whatever the first dimension says.
        open_classes: Whether the graph keeps the number of its classes to itself.
    """
    shape: list[Any] = [batch, 3, height, width] if layout == "NCHW" else [batch, height, width, 3]
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    nodes = [helper.make_node("Cast", ["pixels"], ["values"], to=TensorProto.FLOAT)]
    constants = [numpy_helper.from_array(np.array(axes, np.int64), "axes")]
    nodes.append(helper.make_node(operator, ["values", "axes"], ["means"], keepdims=0))
    last = "means"
    if flat_batch is not None:
        constants.append(numpy_helper.from_array(np.array([flat_batch, 3], np.int64), "flat"))
        nodes.append(helper.make_node("Reshape", [last, "flat"], ["reshaped"]))
        last = "reshaped"
    if softmax:
        nodes.append(helper.make_node("Softmax", [last], ["softmaxed"], axis=1))
        last = "softmaxed"
    if tail:
        constants.append(numpy_helper.from_array(np.array([-1, 3, *tail], np.int64), "long"))
        nodes.append(helper.make_node("Reshape", [last, "long"], ["lengthened"]))
        last = "lengthened"
    nodes += [helper.make_node("Identity", [last], [name]) for name in outputs]
    classes: Any = "classes" if open_classes else 3
    made = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("pixels", _TYPES[dtype], shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, classes, *tail])
            for name in outputs
        ],
        constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    body: bytes = model.SerializeToString()
    return body


def two_inputs() -> bytes:
    """A graph that wants something else beside the pixels."""
    shape: list[str | int | None] = ["n", 3, 4, 6]
    made = helper.make_graph(
        [helper.make_node("Add", ["pixels", "more"], ["scores"])],
        "two",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name in ("pixels", "more")
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)],
    )
    body: bytes = onnx.helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    ).SerializeToString()
    return body


def no_input() -> bytes:
    """A graph that looks at nothing."""
    made = helper.make_graph(
        [helper.make_node("Identity", ["constant"], ["scores"])],
        "none",
        [],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.ones((1, 3), np.float32), "constant")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    body: bytes = model.SerializeToString()
    return body


DESCRIPTION: Mapping[str, Any] = {
    "name": "means",
    "version": "1",
    "resize": {"rule": "stretch"},
    "normalise": {"scale": 1.0, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
    "output": {"softmax": False},
}


def package(
    folder: Path,
    body: bytes,
    *,
    changes: Mapping[str, Any] | None = None,
    labels: Sequence[str] = LABELS,
) -> ModelPackage:
    """A package around a graph; ``changes`` of its description by path, ``...`` removes."""
    value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(DESCRIPTION))
    for path, new in (changes or {}).items():
        *parents, name = path.split(".")
        place = value
        for parent in parents:
            place = place.setdefault(parent, {})
        if new is ...:
            del place[name]
        else:
            place[name] = new
    (folder / "model.json").write_bytes(msgspec.json.encode(value))
    (folder / "labels.txt").write_text("\n".join(labels), encoding="utf-8")
    (folder / "model.onnx").write_bytes(body)
    return ModelPackage.load(folder)


def classifier(folder: Path, body: bytes, **options: Any) -> Classifier:
    """A classifier of such a package."""
    return Classifier(package=package(folder, body, **options), threads=1)


def scores(
    made: Classifier, colour: tuple[int, int, int], *, size: tuple[int, int] = (6, 4)
) -> list[float]:
    """What a graph says of a picture of one colour, in the order of its channels."""
    picture = Pillow.new("RGB", size, colour)
    pixels = np.asarray(picture)[np.newaxis]
    return [float(value) for value in made.graph.scores(tensor_of(pixels, made.graph))[0]]


def ppm(colour: tuple[int, int, int], *, size: tuple[int, int] = (6, 4)) -> bytes:
    """A prepared picture of one colour."""
    return to_ppm(Pillow.new("RGB", size, colour))
