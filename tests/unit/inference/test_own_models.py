"""Two real ImageNet models that a user may bring, through our own decoder and resize."""

import json
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chalicelib.imaging.decode import Decoder
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.render import model_input, to_ppm
from chalicelib.inference.classifier import Classifier
from chalicelib.inference.package import ModelPackage
from infrastructure.model_layer import checked

DECODER = Decoder(Limits(max_bytes=10**8, max_pixels=10**8, max_side=10**5))
# As a user would write them: no more than the graph cannot tell.
SQUEEZENET: dict[str, Any] = {
    "name": "squeezenet",
    "version": "1.1",
    "input": {"channels": "BGR"},
    "resize": {"rule": "shortest_edge", "shortest_edge": 256},
    "normalise": {"scale": 1, "mean": [104, 117, 123], "std": [1, 1, 1]},
    "output": {"softmax": True},
}
MOBILENET: dict[str, Any] = {
    "name": "mobilenetv2",
    "version": "12-int8",
    "resize": {"rule": "shortest_edge", "crop_ratio": 0.875},
    "normalise": {
        "scale": 1 / 255,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
    "output": {"softmax": False},
}


def own_package(shared: Path, folder: Path, graph: str, description: dict[str, Any]) -> Path:
    """The folder of a model package."""
    shutil.copy(shared / "models" / graph, folder / "model.onnx")
    shutil.copy(shared / "models" / "imagenet_labels_1000.txt", folder / "labels.txt")
    (folder / "model.json").write_text(json.dumps(description), encoding="utf-8")
    return folder


def answers(shared: Path, folder: Path, graph: str) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Ours and the recorded five best of each photo."""
    for name, body in checked(folder).files.items():
        (folder / name).write_bytes(body)
    package = ModelPackage.load(folder)
    recorded = json.loads((shared / "models" / "expected_top5.json").read_text())[graph]
    shape = package.description.input_shape()
    ppms = []
    for name in recorded:
        body = (shared / "photos" / "imagenet-sample" / name).read_bytes()
        header = DECODER.header(body)
        size = header.scaled(shape.picture_scale(header.width, header.height))
        picture = DECODER.picture(body, size=size)
        ppms.append(to_ppm(model_input(picture, shape)))
    predictions = Classifier(package=package, threads=1).predict_batch(ppms)
    for prediction, expected in zip(predictions, recorded.values(), strict=True):
        yield prediction.classes, [package.labels[index] for index, _ in expected]


def test_a_float16_model_with_bgr_input_a_fixed_batch_and_a_softmax_inside(
    shared: Path, tmp_path: Path
) -> None:
    graph = "SqueezeNet_fp16.onnx"
    folder = own_package(shared, tmp_path, graph, SQUEEZENET)
    pairs = list(answers(shared, folder, graph))
    assert len(pairs) == 40
    # The tolerance of ../shared/models/README.md: the reference came from another resize.
    assert sum(ours[0] != expected[0] for ours, expected in pairs) <= 2
    assert sum(len(set(ours) & set(expected)) < 4 for ours, expected in pairs) <= 4


def test_an_int8_model_with_float32_input(shared: Path, tmp_path: Path) -> None:
    graph = "mobilenetv2-12-int8.onnx"
    folder = own_package(shared, tmp_path, graph, MOBILENET)
    pairs = list(answers(shared, folder, graph))
    # Its weights overflow on processors without VNNI.
    flags = Path("/proc/cpuinfo").read_text() if platform.system() == "Linux" else ""
    least = 36 if "vnni" in flags else 28
    assert sum(ours[0] == expected[0] for ours, expected in pairs) >= least
