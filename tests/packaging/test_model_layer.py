"""A model of one's own: its layer, and the template that attaches it."""

import json
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.errors import ModelError
from chalicelib.inference.description import ModelDescription
from infrastructure.model_layer import LAYER_PACKAGE, checked, write_layer
from infrastructure.package import MODEL_LAYER_ZIP, PackagingFailed, make_package
from tests.unit.inference import graphs


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model whose description leaves out what it can."""
    folder = tmp_path_factory.mktemp("own")
    graphs.package(folder, graphs.graph(layout="NHWC"))
    (folder / "notes.txt").write_text("not for the layer")
    return folder


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory, own: Path) -> Path:
    """A stage's package with that model."""
    folder = tmp_path_factory.mktemp("package") / "dev"
    make_package("dev", folder, with_dependencies=False, model=own)
    return folder


def test_the_same_model_always_gives_the_same_layer(own: Path, tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        write_layer(checked(own), tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_the_layer_is_an_importable_package_with_a_complete_description(
    own: Path, tmp_path: Path
) -> None:
    write_layer(checked(own), tmp_path / "layer.zip")
    with zipfile.ZipFile(tmp_path / "layer.zip") as layer:
        assert layer.namelist() == [
            f"python/{LAYER_PACKAGE}/{name}"
            for name in ("__init__.py", "labels.txt", "model.json", "model.onnx")
        ]
        described = json.loads(layer.read(f"python/{LAYER_PACKAGE}/model.json"))
    assert described["input"] == {
        "channels": "RGB",
        "name": "pixels",
        "layout": "NHWC",
        "width": 6,
        "height": 4,
        "dtype": "float32",
    }
    assert len(described["sha256"]) == 64


@pytest.mark.parametrize(
    ("limit", "said"),
    [("MAX_ZIPPED_BYTES", "bytes zipped"), ("MAX_UNZIPPED_BYTES", "beside the libraries")],
)
def test_a_model_over_a_limit_is_refused_and_leaves_no_zip(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, said: str
) -> None:
    monkeypatch.setattr(f"infrastructure.model_layer.{limit}", 10)
    with pytest.raises(ModelError, match=said):
        write_layer(checked(own), tmp_path / "layer.zip")
    assert list(tmp_path.iterdir()) == []


def test_the_template_attaches_it_to_the_function_that_runs_models_alone(packaged: Path) -> None:
    template = json.loads((packaged / "sam.json").read_text())
    resources = template["Resources"]
    assert resources["ModelLayer"]["Properties"]["ContentUri"] == f"./{MODEL_LAYER_ZIP}"
    assert (packaged / MODEL_LAYER_ZIP).is_file()
    for name, resource in resources.items():
        if resource["Type"] == "AWS::Serverless::Function":
            layers = [layer["Ref"] for layer in resource["Properties"]["Layers"]]
            assert layers == ["ManagedLayer"] + (["ModelLayer"] if name == "Infer" else [])


def test_the_other_functions_are_told_what_it_wants_to_see(packaged: Path) -> None:
    template = json.loads((packaged / "sam.json").read_text())
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    told = msgspec.json.decode(variables["MODEL_DESCRIPTION"], type=ModelDescription)
    assert (told.reference, told.input_shape().width) == ("means@1", 6)
    # Lambda takes 4 KB of variables.
    assert len(variables["MODEL_DESCRIPTION"]) < 1000


def test_a_parameter_chooses_between_the_layer_and_the_built_in_model(
    packaged: Path, template: dict[str, Any]
) -> None:
    own_template = json.loads((packaged / "sam.json").read_text())
    for made, default in ((template, "darkroom_model"), (own_template, LAYER_PACKAGE)):
        assert made["Parameters"]["Model"]["Default"] == default
        variables = made["Globals"]["Function"]["Environment"]["Variables"]
        assert variables["MODEL"] == {"Ref": "Model"}
    assert "ModelLayer" not in template["Resources"]


def test_a_model_that_cannot_be_used_is_not_packaged(tmp_path: Path) -> None:
    graphs.package(tmp_path, graphs.graph(), labels=["one"])
    with pytest.raises(PackagingFailed, match=r"labels\.txt has 1 lines"):
        make_package("dev", tmp_path / "out", with_dependencies=False, model=tmp_path)
