"""What the zips hold, and that the check before a deployment finds what is wrong with them."""

import shutil
import zipfile
from pathlib import Path

import pytest

from infrastructure.artefact import problems_of, required, start_problems
from infrastructure.package import trim_layer


def names_in(path: Path) -> set[str]:
    """The files of a zip."""
    with zipfile.ZipFile(path) as zip_:
        return set(zip_.namelist())


def test_the_apps_zip_holds_the_app_and_nothing_else(package: Path) -> None:
    names = names_in(package / "deployment.zip")
    assert {name.partition("/")[0] for name in names} == {"app.py", "chalice", "chalicelib"}


def test_the_layer_holds_the_default_model(package: Path) -> None:
    names = {Path(name).name for name in names_in(package / "layer-deployment.zip")}
    assert {"model.onnx", "model.json", "labels.txt"} <= names


def test_every_missing_library_is_named(package: Path) -> None:
    problems = problems_of(package)
    for name, version in required().items():
        assert f"The layer lacks {name} {version}: it has no build for Lambda." in problems


@pytest.fixture
def complete(package: Path, tmp_path: Path) -> Path:
    """A package that looks complete."""
    folder = tmp_path / "complete"
    shutil.copytree(package, folder)
    with zipfile.ZipFile(folder / "layer-deployment.zip", "a") as layer:
        for name, version in required().items():
            layer.writestr(f"python/{name}-{version}.dist-info/METADATA", "")
    return folder


def test_a_complete_package_has_no_problem(complete: Path) -> None:
    assert problems_of(complete) == []


def test_a_library_for_another_machine_is_found(complete: Path) -> None:
    with zipfile.ZipFile(complete / "layer-deployment.zip", "a") as layer:
        layer.writestr("python/numpy/core.cpython-313-aarch64-linux-gnu.so", "")
    assert len(problems_of(complete)) == 1


def test_a_test_in_the_apps_zip_is_found(complete: Path) -> None:
    with zipfile.ZipFile(complete / "deployment.zip", "a") as app:
        app.writestr("tests/test_x.py", "")
    assert problems_of(complete) == ["tests/test_x.py must not ship."]


def test_a_layer_over_the_limit_is_found(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infrastructure.artefact.MAX_ZIPPED_BYTES", 10)
    monkeypatch.setattr("infrastructure.artefact.MAX_UNZIPPED_BYTES", 10)
    assert [problem.split(" have ")[0].split(" has ")[0] for problem in problems_of(complete)] == [
        "The layer",
        "Layers and app",
    ]


def test_a_package_without_its_libraries_does_not_start_and_says_why(package: Path) -> None:
    (problem,) = start_problems(package)
    assert problem.startswith("The package does not start: ModuleNotFoundError: No module named")


def test_what_no_function_loads_is_trimmed_and_the_rest_is_kept_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "layer.zip"
    prefix = "python/lib/python3.13/site-packages"
    kept = [f"{prefix}/numpy/core.so", f"{prefix}/numpy/testing/__init__.py", "x/tests.py"]
    unused = [
        f"{prefix}/numpy/_core/tests/test_x.py",
        f"{prefix}/numpy/x.pyi",
        f"{prefix}/onnxruntime/transformers/x.py",
    ]
    with zipfile.ZipFile(path, "w") as layer:
        for name in kept + unused:
            layer.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), name)
    trim_layer(path)
    once = path.read_bytes()
    assert names_in(path) == set(kept)
    with zipfile.ZipFile(path) as layer:
        assert layer.read(kept[0]).decode() == kept[0]
        assert layer.getinfo(kept[0]).date_time == (1980, 1, 1, 0, 0, 0)
    trim_layer(path)
    assert path.read_bytes() == once
