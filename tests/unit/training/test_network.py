"""The network's shapes, and that its exported graph computes what it computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training has an environment of its own, with torch")
pytest.importorskip("onnx", reason="training has an environment of its own, with onnx")

from training.evaluate import logits_of  # noqa: E402 - torch decides
from training.export import export_float32  # noqa: E402 - torch decides
from training.network import (  # noqa: E402 - torch decides
    Classifier,
    channels_last,
    parameter_count,
)

# One byte each in int8; the rest of four megabytes is the graph and its scales.
MOST_PARAMETERS = 3_900_000


@pytest.mark.parametrize("size", [64, 96, 112])
def test_logits_are_one_row_per_image_at_any_size(size: int) -> None:
    network = channels_last(Classifier(5)).eval()

    with torch.no_grad():
        logits = network(torch.rand(2, 3, size, size))

    assert logits.shape == (2, 5)
    assert logits.dtype == torch.float32


def test_the_network_stays_under_four_megabytes_in_int8() -> None:
    assert parameter_count(Classifier(32)) < MOST_PARAMETERS


def test_the_exported_graph_answers_as_the_network_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Classifier(5, widths=(8, 16), depths=(1, 2))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # Statistics and gains as after a training: folded wrongly, they would show.
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    network.eval()
    images = torch.rand(3, 3, 48, 48)

    export_float32(network, tmp_path / "model.onnx", 48, 48)

    with torch.no_grad():
        expected = network(images).numpy()
    assert np.allclose(logits_of(tmp_path / "model.onnx", images.numpy()), expected, atol=1e-4)
