"""The picture of the architecture is what the code imports."""

import re
import shutil
from pathlib import Path

import pytest

from operations.architecture import PICTURE, picture, read, reduced

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the code."""
    shutil.copy(ROOT / "app.py", tmp_path)
    shutil.copytree(ROOT / "chalicelib", tmp_path / "chalicelib")
    return tmp_path


def test_the_picture_is_up_to_date() -> None:
    """`make architecture` draws it anew."""
    assert PICTURE.read_text() == picture(read())


def test_the_architecture_shows_the_picture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert f"images/{PICTURE.name}" in text


def test_every_part_of_the_code_is_a_box_and_every_library_is_named() -> None:
    parts = {path.stem for path in (ROOT / "chalicelib").iterdir() if path.suffix == ".py"}
    parts |= {path.parent.name for path in (ROOT / "chalicelib").glob("*/__init__.py")}
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", PICTURE.read_text())
    assert parts - {"__init__"} | {"app.py"} <= set(texts)
    for library in ("chalice", "boto3", "Pillow", "onnxruntime", "Jinja"):
        assert any(library in text for text in texts), library


def test_a_new_import_is_a_new_arrow(tree: Path) -> None:
    module = tree / "chalicelib" / "parcels.py"
    module.write_text("from chalicelib import telemetry\n" + module.read_text())
    assert "telemetry" in read(tree).imports["parcels"] - read(ROOT).imports["parcels"]
    assert picture(read(tree)) != PICTURE.read_text()


def test_an_import_for_the_type_checker_alone_is_none(tree: Path) -> None:
    module = tree / "chalicelib" / "parcels.py"
    lines = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import boto3\n"
    module.write_text(lines + module.read_text())
    assert read(tree) == read(ROOT)


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    graph = {"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset[str]()}
    assert reduced(graph) == {"a": ["b"], "b": ["c"], "c": []}
