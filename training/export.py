"""From trained weights to ONNX files: float32, float16 and int8.

Convention: the graph's input ``image`` is (batch, 3, height, width) float32 and its output
``logits`` (batch, classes) float32; the batch is free, height and width are fixed.

The graph is written node by node, with every batch normalisation folded into the convolution
before it. An exporter would trace the network to the same thirty nodes, and bring a compiler's
dependencies with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from training.network import Classifier, Residual

OPSET = 17


def export_float32(network: Classifier, path: Path, height: int, width: int) -> None:
    """Write ``network`` to ``path`` as a float32 graph."""
    graph = _Graph()
    value = graph.convolution("image", network.stem[0], network.stem[1], relu=True)
    for block in network.blocks:
        if not isinstance(block, Residual):
            raise TypeError(f"no rule to export a {type(block).__name__}: only residual blocks")
        value = graph.residual(value, block)
    value = graph.add("GlobalAveragePool", [value])
    value = graph.add("Flatten", [value], axis=1)
    weight = graph.constant(network.head.weight.detach().numpy())
    bias = graph.constant(network.head.bias.detach().numpy())
    graph.add("Gemm", [value, weight, bias], output="logits", transB=1)
    made = helper.make_graph(
        graph.nodes,
        "darkroom",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, height, width])],
        [
            helper.make_tensor_value_info(
                "logits", TensorProto.FLOAT, ["batch", network.head.out_features]
            )
        ],
        graph.constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])
    # What onnxruntime of two years ago reads as well; the graph needs nothing newer.
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def export_int8(source: Path, path: Path, images: NDArray[np.float32]) -> None:
    """Quantise ``source`` to int8 with ranges measured on ``images`` (n, 3, height, width)."""
    prepared = path.with_suffix(".prepared")
    # Names the shape of every value, without which the quantiser leaves some of them out.
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(path),
        _Ranges(images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        # Seven bits of weight: with eight, sums saturate on processors without VNNI.
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    prepared.unlink()


def export_float16(source: Path, path: Path) -> None:
    """Store the weights of ``source`` as float16; the arithmetic stays float32."""
    model = onnx.load(str(source))
    casts = []
    for constant in list(model.graph.initializer):
        values = numpy_helper.to_array(constant)
        if values.dtype != np.float32:
            continue
        model.graph.initializer.remove(constant)
        name = f"{constant.name}_half"
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), name))
        casts.append(helper.make_node("Cast", [name], [constant.name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    onnx.save(model, str(path))


class _Graph:
    """Nodes and constants of a graph that is being written, with names that count up."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(
        self, kind: str, inputs: Sequence[str], output: str = "", **attributes: int | list[int]
    ) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        result = output or f"{name}_out"
        node = helper.make_node(kind, list(inputs), [result], name=name)
        node.attribute.extend(helper.make_attribute(*pair) for pair in attributes.items())
        self.nodes.append(node)
        return result

    def constant(self, values: NDArray[np.float32]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def convolution(
        self, value: str, layer: nn.Module, norm: nn.Module, *, relu: bool = False
    ) -> str:
        if not isinstance(layer, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
            raise TypeError(f"expected a convolution and its norm, got {layer!r} and {norm!r}")
        weight, bias = _fold(layer, norm)
        pad = layer.kernel_size[0] // 2
        value = self.add(
            "Conv",
            [value, self.constant(weight), self.constant(bias)],
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.stride),
            pads=[pad] * 4,
        )
        return self.add("Relu", [value]) if relu else value

    def residual(self, value: str, block: Residual) -> str:
        main = self.convolution(value, block.first[0], block.first[1], relu=True)
        main = self.convolution(main, block.second[0], block.second[1])
        shortcut = value
        layers = list(block.shortcut)
        if layers and isinstance(layers[0], nn.AvgPool2d):
            pool = layers.pop(0)
            side = int(pool.kernel_size)  # type: ignore[arg-type,unused-ignore]
            shortcut = self.add(
                "AveragePool",
                [shortcut],
                kernel_shape=[side, side],
                strides=[side, side],
                ceil_mode=1,
            )
        if layers:
            shortcut = self.convolution(shortcut, layers[0], layers[1])
        return self.add("Relu", [self.add("Add", [main, shortcut])])


def _fold(
    layer: nn.Conv2d, norm: nn.BatchNorm2d
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the weight and the bias of a convolution that does what ``layer`` and ``norm`` do."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise TypeError("a norm without running statistics cannot be folded into its convolution")
    gain = norm.weight.detach() / torch.sqrt(variance + norm.eps)
    weight = layer.weight.detach() * gain.view(-1, 1, 1, 1)
    bias = norm.bias.detach() - mean * gain
    return weight.contiguous().numpy(), bias.numpy()


class _Ranges(CalibrationDataReader):  # type: ignore[misc,unused-ignore]
    """Hands photos to the quantiser, a few at a time."""

    def __init__(self, images: NDArray[np.float32], batch_size: int = 16) -> None:
        self._batches: Iterator[NDArray[np.float32]] = (
            images[start : start + batch_size] for start in range(0, len(images), batch_size)
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}
