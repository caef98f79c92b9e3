"""Every field of ``model.json``, against small graphs that tell what they saw."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from chalicelib.errors import ModelError
from chalicelib.inference import description
from chalicelib.inference.graph import LARGEST_BATCH, completed
from tests.unit.inference import graphs, packages

RED = (200, 40, 10)
SCHEMA = Path(description.__file__).with_name("model.schema.json")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_layout_dtype_and_order_of_channels_are_what_the_model_wants(
    tmp_path: Path, layout: Any, dtype: str, channels: str
) -> None:
    changes: dict[str, Any] = {"input.channels": channels}
    if dtype == "uint8":
        changes["normalise"] = ...
    made = graphs.classifier(tmp_path, graphs.graph(layout=layout, dtype=dtype), changes=changes)
    assert graphs.scores(made, RED) == list(RED if channels == "RGB" else RED[::-1])


def test_scale_mean_and_std_are_applied_in_the_order_of_the_channels(tmp_path: Path) -> None:
    rule = {"scale": 0.5, "mean": [1.0, 2.0, 3.0], "std": [1.0, 2.0, 4.0]}
    for channels, colour in (("RGB", RED), ("BGR", RED[::-1])):
        made = graphs.classifier(
            tmp_path, graphs.graph(), changes={"normalise": rule, "input.channels": channels}
        )
        expected = [
            (value * 0.5 - mean) / std
            for value, mean, std in zip(colour, (1, 2, 3), (1, 2, 4), strict=True)
        ]
        assert graphs.scores(made, RED) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_what_is_left_out_is_read_from_the_graph(tmp_path: Path, layout: Any, dtype: str) -> None:
    changes: dict[str, Any] = {"normalise": ...} if dtype == "uint8" else {}
    made = graphs.classifier(
        tmp_path, graphs.graph(layout=layout, dtype=dtype, width=7, height=5), changes=changes
    )
    found = made.graph.description
    wanted = found.input
    assert (wanted.name, wanted.layout, wanted.dtype) == ("pixels", layout, dtype)
    assert (wanted.width, wanted.height) == (7, 5)
    assert found.output.name == "scores"
    shape = found.input_shape()
    assert (shape.width, shape.height, shape.rule) == (7, 5, "stretch")


def test_a_description_that_is_complete_stays_as_it_is(tmp_path: Path) -> None:
    made = graphs.classifier(tmp_path, graphs.graph())
    full = made.graph.description
    assert completed(full, made.graph.session) == full


@pytest.mark.parametrize("field", ["width", "height"])
def test_a_size_that_the_graph_leaves_open_has_to_be_in_the_description(
    tmp_path: Path, field: str
) -> None:
    body = graphs.graph(width="w", height="h")
    sizes = {"input.width": 6, "input.height": 4}
    assert graphs.classifier(tmp_path, body, changes=sizes).graph.batch == LARGEST_BATCH
    del sizes[f"input.{field}"]
    with pytest.raises(ModelError, match=rf"input\.{field} is left out.*leaves it open"):
        _ = graphs.classifier(tmp_path, body, changes=sizes).graph


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"input.name": "image"}, r"input\.name is 'image'.*\['pixels'\]"),
        ({"input.layout": "NHWC"}, r"input\.layout is NHWC.*\['n', 3, 4, 6\]"),
        ({"input.width": 7}, r"input\.width is 7.*has 6"),
        ({"input.height": 9}, r"input\.height is 9.*has 4"),
        ({"input.dtype": "float16"}, r"input\.dtype is float16.*has float32"),
        ({"output.name": "logits"}, r"output\.name is 'logits'.*\['scores'\]"),
        ({"output.softmax": True}, r"output\.softmax is true.*does not sum up to 1"),
        ({"normalise": ...}, r"field normalise is missing.*float32"),
        ({"sha256": "0" * 64}, r"field sha256"),
        (
            {"resize": {"rule": "shortest_edge", "shortest_edge": 5}},
            r"resize\.shortest_edge is 5.*input\.width of 6",
        ),
    ],
)
def test_what_the_graph_contradicts_is_told_when_it_is_loaded_with_the_field(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ModelError, match=named):
        _ = graphs.classifier(tmp_path, graphs.graph(), changes=changes).graph


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (graphs.graph(dtype="int64"), r"tensor\(int64\); input\.dtype may be"),
        (graphs.two_inputs(), r"input\.name is left out.*\['more', 'pixels'\]"),
        (graphs.no_input(), r"input\.name is left out.*inputs are \[\]"),
        (graphs.graph(outputs=("a", "b")), r"output\.name is left out.*\['a', 'b'\]"),
        (graphs.graph(softmax=True), r"output\.softmax is false.*sums up to 1"),
        (graphs.graph(width=3), r"input\.layout is left out.*does not tell it"),
        (graphs.graph(operator="NoSuchOperator"), r"model\.onnx cannot be loaded: .*NoSuchOp"),
        (graphs.graph(flat_batch=5), r"model\.onnx|cannot be run"),
    ],
    ids=range(8),
)
def test_a_graph_that_cannot_be_used_is_told_when_it_is_loaded(
    tmp_path: Path, body: bytes, named: str
) -> None:
    with pytest.raises(ModelError, match=named):
        _ = graphs.classifier(tmp_path, body).graph


def test_a_dimension_that_could_be_either_is_settled_by_the_description(tmp_path: Path) -> None:
    made = graphs.classifier(tmp_path, graphs.graph(width=3), changes={"input.layout": "NCHW"})
    assert graphs.scores(made, RED, size=(3, 4)) == list(RED)


@pytest.mark.parametrize("open_classes", [True, False])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_labels_of_another_number_than_the_classes_are_told_when_the_graph_is_loaded(
    tmp_path: Path, count: int, *, open_classes: bool
) -> None:
    body = graphs.graph(open_classes=open_classes)
    with pytest.raises(ModelError, match=rf"labels\.txt.*{count}|{count} classes"):
        _ = graphs.classifier(tmp_path, body, labels=["x"] * count).graph


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("count", [1, 3, 9])
def test_a_graph_with_a_fixed_batch_answers_for_any_number_of_images(
    tmp_path: Path, batch: int, count: int
) -> None:
    made = graphs.classifier(tmp_path, graphs.graph(batch=batch, tail=(1, 1)))
    assert (made.graph.batch, made.graph.fixed) == (batch, True)
    colours = [(10 * number, 200, 255 - 10 * number) for number in range(count)]
    answers = made.predict_batch([graphs.ppm(colour) for colour in colours])
    alone = [made.predict(graphs.ppm(colour)) for colour in colours]
    assert answers == alone
    assert len(answers) == count


def test_a_batch_is_split_where_it_is_larger_than_the_graph_is_given(tmp_path: Path) -> None:
    made = graphs.classifier(tmp_path, graphs.graph())
    colours = [(number, 100, 0) for number in range(2 * LARGEST_BATCH + 3)]
    pixels = np.array(colours, np.uint8)[:, None, None, :].repeat(4, 1).repeat(6, 2)
    scores = made.graph.scores(pixels.transpose(0, 3, 1, 2).astype(np.float32))
    assert scores[:, 0] == pytest.approx(range(len(colours)))


@pytest.mark.parametrize("tail", [(), (1,), (1, 1)])
def test_an_open_batch_that_the_graph_does_not_really_take_is_found_out(
    tmp_path: Path, tail: tuple[int, ...]
) -> None:
    """An exporter that wrote the batch of its example into a reshape."""
    made = graphs.classifier(tmp_path, graphs.graph(flat_batch=1, tail=tail))
    assert (made.graph.batch, made.graph.fixed) == (1, False)
    answers = made.predict_batch([graphs.ppm(RED), graphs.ppm(RED[::-1])])
    assert [answer.classes[0] for answer in answers] == ["first", "third"]


@pytest.mark.parametrize("tail", [(1,), (1, 1)])
def test_an_output_with_dimensions_behind_the_classes_is_flattened(
    tmp_path: Path, tail: tuple[int, ...]
) -> None:
    made = graphs.classifier(tmp_path, graphs.graph(tail=tail))
    assert graphs.scores(made, RED) == list(RED)


def test_a_softmax_in_the_graph_gets_no_second_one(tmp_path: Path) -> None:
    made = graphs.classifier(tmp_path, graphs.graph(softmax=True), changes={"output.softmax": True})
    said = made.predict(graphs.ppm((3, 1, 0)))
    weights = np.exp([3, 1, 0])
    assert said.probabilities == pytest.approx(list(weights / weights.sum()), abs=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_temperature_means_the_same_before_a_softmax_and_after_one(
    tmp_path: Path, temperature: float
) -> None:
    said = [
        graphs.classifier(
            tmp_path,
            graphs.graph(softmax=softmax),
            changes={"output.softmax": softmax, "output.temperature": temperature},
        ).predict(graphs.ppm((3, 1, 0)))
        for softmax in (True, False)
    ]
    weights = np.exp(np.array([3, 1, 0]) / temperature)
    for one in said:
        assert one.probabilities == pytest.approx(list(weights / weights.sum()), abs=1e-4)


def test_an_output_is_chosen_by_its_name(tmp_path: Path) -> None:
    made = graphs.classifier(
        tmp_path, graphs.graph(outputs=("a", "b")), changes={"output.name": "b"}
    )
    assert graphs.scores(made, RED) == list(RED)


def test_a_prediction_names_the_file_that_it_came_from(tmp_path: Path) -> None:
    body = graphs.graph()
    said = graphs.classifier(tmp_path, body).predict(graphs.ppm(RED))
    assert (said.model_name, said.model_version) == ("means", "1")
    assert said.model_sha256 == hashlib.sha256(body).hexdigest()


def test_the_schema_file_is_made_from_what_the_loader_validates() -> None:
    assert SCHEMA.read_bytes() == description.schema()


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"input": {"layout": "NHWC", "dtype": "uint8"}}, True),
        ({"resize": {"rule": "letterbox", "fill": [1, 2, 3]}}, True),
        ({"$schema": "model.schema.json"}, True),
        ({"sha256": "a" * 64}, True),
        ({"temprature": 2}, False),
        ({"resize": {"rule": "stretch", "shortest_edge": 5}}, False),
        ({"resize": {"rule": "squeeze"}}, False),
        ({"name": "no spaces"}, False),
        ({"version": "a@b"}, False),
        ({"sha256": "short"}, False),
        ({"normalise": {"scale": 0, "mean": [0, 0, 0], "std": [1, 1, 1]}}, False),
        ({"normalise": {"scale": 1, "mean": [0, 0], "std": [1, 1, 1]}}, False),
        ({"input": {"dtype": "int8"}}, False),
    ],
)
def test_schema_and_loader_agree(change: dict[str, Any], *, valid: bool) -> None:
    value = {**packages.description(), **change}
    if change.get("input", {}).get("dtype") == "uint8":
        del value["normalise"]
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert validator.is_valid(value) is valid
    body = json.dumps(value).encode()
    if valid:
        description.parse(body, "model.json")
    else:
        with pytest.raises(ModelError, match=r"^model\.json is wrong: "):
            description.parse(body, "model.json")


@pytest.mark.parametrize(
    ("resize", "edge"),
    [
        ({"rule": "shortest_edge", "shortest_edge": 256}, 256),
        ({"rule": "shortest_edge", "crop_ratio": 0.875}, 256),
        ({"rule": "shortest_edge", "crop_ratio": 1}, 224),
    ],
)
def test_the_shorter_side_is_told_in_pixels_or_by_the_part_that_is_kept(
    resize: dict[str, Any], edge: int
) -> None:
    value = {**packages.description(), "resize": resize, "input": {"width": 224, "height": 224}}
    parsed = description.parse(json.dumps(value).encode(), "model.json")
    assert parsed.input_shape().shortest_edge == edge


@pytest.mark.parametrize(
    "resize",
    [
        {"rule": "shortest_edge"},
        {"rule": "shortest_edge", "shortest_edge": 256, "crop_ratio": 0.9},
    ],
)
def test_the_shorter_side_is_told_once(resize: dict[str, Any]) -> None:
    value = {**packages.description(), "resize": resize}
    with pytest.raises(ModelError, match=r"resize\.shortest_edge and resize\.crop_ratio"):
        description.parse(json.dumps(value).encode(), "model.json")


def test_a_size_that_is_left_out_is_named_by_what_needs_it() -> None:
    value = {**packages.description(), "input": {}}
    parsed = description.parse(json.dumps(value).encode(), "model.json")
    with pytest.raises(ModelError, match=r"input\.width of model\.json is left out"):
        parsed.input_shape()


def test_a_uint8_model_is_given_the_pixels_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="normalise must be left out"):
        graphs.package(tmp_path, b"", changes={"input.dtype": "uint8"})
