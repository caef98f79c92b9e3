import re
import sys
from pathlib import Path

import pytest

from chalicelib.errors import ModelError
from chalicelib.inference.package import ModelPackage
from tests.unit.inference import packages

REQUIRED = [
    "name",
    "version",
    "resize",
    "resize.rule",
    "normalise.scale",
    "normalise.mean",
    "normalise.std",
    "output",
    "output.softmax",
]
# What the graph tells, or what has a default.
OPTIONAL = [
    "input",
    "input.name",
    "input.layout",
    "input.width",
    "input.height",
    "input.channels",
    "input.dtype",
    "resize.filter",
    "output.name",
    "output.temperature",
    "sha256",
]
WRONG: list[tuple[str, object]] = [
    ("name", 7),
    ("version", 1.0),
    ("input", []),
    ("input.name", None),
    ("input.layout", "CHW"),
    ("input.width", 0),
    ("input.width", -128),
    ("input.width", 4097),
    ("input.width", 128.5),
    ("input.width", "128"),
    ("input.height", 0),
    ("input.channels", "GRB"),
    ("input.dtype", "int8"),
    ("resize.rule", "squeeze"),
    ("resize.shortest_edge", 0),
    ("resize.filter", "sinc"),
    ("normalise", None),
    ("normalise.scale", "1/255"),
    ("normalise.scale", 0),
    ("normalise.scale", -1),
    ("normalise.mean", [0.5, 0.5]),
    ("normalise.mean", [0.5, 0.5, 0.5, 0.5]),
    ("normalise.mean", 0.5),
    ("normalise.std", [0.2, 0.2]),
    ("normalise.std", [0.2, 0, 0.2]),
    ("normalise.std", [0.2, -0.2, 0.2]),
    ("normalise.std", [0.2, "x", 0.2]),
    ("output.name", ["logits"]),
    ("output.softmax", "no"),
    ("output.temperature", 0),
    ("output.temperature", -1),
    ("output.temperature", "warm"),
    ("sha256", 7),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package to spoil."""
    return packages.copy(tmp_path)


def test_the_committed_package_loads() -> None:
    package = ModelPackage.installed("darkroom_model")
    shape = package.description.input_shape()
    assert (shape.width, shape.height, shape.rule) == (128, 128, "shortest_edge")
    assert shape.shortest_edge >= shape.height
    assert package.description.output.softmax is False
    assert len(package.labels) == 32
    assert len(set(package.labels)) == 32


def test_the_graph_is_the_file_that_the_description_names() -> None:
    graph = ModelPackage.installed("darkroom_model").graph()
    assert graph == (packages.COMMITTED / "model.onnx").read_bytes()


@pytest.mark.parametrize("field", REQUIRED)
def test_a_missing_field_is_named_with_its_file(folder: Path, field: str) -> None:
    packages.describe(folder, {field: ...})
    with pytest.raises(ModelError) as caught:
        ModelPackage.load(folder)
    assert str(folder / "model.json") in str(caught.value)
    assert f"`{field.rpartition('.')[2]}`" in str(caught.value)


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_wrong_field_is_named_with_its_file(folder: Path, field: str, value: object) -> None:
    packages.describe(folder, {field: value})
    with pytest.raises(ModelError) as caught:
        ModelPackage.load(folder)
    assert str(folder / "model.json") in str(caught.value)
    assert f"$.{field}" in str(caught.value)


@pytest.mark.parametrize("field", OPTIONAL)
def test_what_the_graph_tells_or_has_a_default_may_be_missing(folder: Path, field: str) -> None:
    description = ModelPackage.load(packages.describe(folder, {field: ...})).description
    assert description.output.temperature == (1 if field == "output.temperature" else 0.71)
    assert description.input.channels == "RGB"
    assert description.resize.filter == "bilinear"


@pytest.mark.parametrize("field", ["normalise", "resize.shortest_edge"])
def test_what_only_some_descriptions_need_is_named_by_its_whole_path(
    folder: Path, field: str
) -> None:
    packages.describe(folder, {field: ...})
    with pytest.raises(ModelError, match=re.escape(field)):
        ModelPackage.load(folder)


@pytest.mark.parametrize("field", ["colour", "input.colour", "resize.colour", "output.colour"])
def test_a_field_that_there_is_not_is_refused(folder: Path, field: str) -> None:
    packages.describe(folder, {field: "red"})
    with pytest.raises(ModelError, match="unknown field `colour`"):
        ModelPackage.load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00", "name: darkroom"])
def test_a_description_that_is_no_json_object_is_refused(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"model\.json is wrong"):
        ModelPackage.load(folder)


def test_a_description_in_another_encoding_is_refused(folder: Path) -> None:
    (folder / "model.json").write_bytes(b'{"name": "\xff"}')
    with pytest.raises(ModelError, match=r"model\.json is wrong"):
        ModelPackage.load(folder)


@pytest.mark.parametrize("name", ["model.json", "labels.txt"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"has no file {name}"):
        ModelPackage.load(folder)


def test_a_missing_graph_is_named_once_it_is_needed(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    package = ModelPackage.load(folder)
    with pytest.raises(ModelError, match=r"has no file model\.onnx"):
        package.graph()


def test_a_graph_that_was_exchanged_is_noticed(folder: Path) -> None:
    with (folder / "model.onnx").open("ab") as graph:
        graph.write(b"\0")
    package = ModelPackage.load(folder)
    with pytest.raises(ModelError, match=r"field sha256 of .*model\.json"):
        package.graph()


def test_without_a_checksum_any_graph_is_taken(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"anything")
    packages.describe(folder, {"sha256": ...})
    assert ModelPackage.load(folder).graph() == b"anything"


@pytest.mark.parametrize("text", ["", "\n", "cat\n\ndog\n", "cat\n  \n"])
def test_labels_with_an_empty_line_are_refused(folder: Path, text: str) -> None:
    (folder / "labels.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"labels\.txt has an empty line"):
        ModelPackage.load(folder)


def test_labels_in_another_encoding_are_refused(folder: Path) -> None:
    (folder / "labels.txt").write_bytes("café\n".encode("latin-1"))
    with pytest.raises(ModelError, match=r"labels\.txt is not in UTF-8"):
        ModelPackage.load(folder)


@pytest.mark.parametrize("text", ["cat\ncafé ☕\n", "cat\r\ncafé ☕\r\n", "cat\ncafé ☕"])
def test_labels_are_lines_whatever_ends_them(folder: Path, text: str) -> None:
    (folder / "labels.txt").write_bytes(text.encode())
    assert ModelPackage.load(folder).labels == ("cat", "café ☕")


@pytest.mark.parametrize("name", ["no_such_model", "darkroom_model.inner", "", ".", "..x", "/etc"])
def test_a_package_that_is_not_installed_is_named(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        ModelPackage.installed(name)
    assert f"no Python package {name!r}" in str(caught.value)


def test_a_python_package_without_a_model_lacks_its_description() -> None:
    with pytest.raises(ModelError, match=r"has no file model\.json"):
        ModelPackage.installed("json")


def test_an_installed_package_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model_of_a_test"
    folder.mkdir()
    packages.copy(folder)
    (folder / "__init__.py").touch()
    packages.describe(folder, {"name": "mine"})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "model_of_a_test", raising=False)
    assert ModelPackage.installed("model_of_a_test").description.name == "mine"
