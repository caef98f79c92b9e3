"""The committed package agrees with itself; no torch needed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).resolve().parents[3] / "vendor" / "darkroom_model"
MOST_BYTES = 4_000_000


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """What ``model.json`` says."""
    content: dict[str, Any] = json.loads((PACKAGE / "model.json").read_text(encoding="utf-8"))
    return content


def test_the_checksum_is_that_of_the_file(described: dict[str, Any]) -> None:
    content = (PACKAGE / "model.onnx").read_bytes()

    assert described["sha256"] == hashlib.sha256(content).hexdigest()
    assert len(content) <= MOST_BYTES


def test_the_model_has_one_output_for_each_label(described: dict[str, Any]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the model's runtime is not installed")
    labels = (PACKAGE / "labels.txt").read_text(encoding="utf-8").splitlines()

    session = onnxruntime.InferenceSession(
        str(PACKAGE / "model.onnx"), providers=["CPUExecutionProvider"]
    )

    (image,) = session.get_inputs()
    (logits,) = session.get_outputs()
    assert labels == sorted(set(labels))
    assert logits.name == described["output"]["name"]
    assert logits.shape[1] == len(labels)
    assert image.name == described["input"]["name"]
    assert image.shape[1:] == [3, described["input"]["height"], described["input"]["width"]]


def test_the_card_names_every_source_and_label() -> None:
    card = (PACKAGE / "MODEL_CARD.md").read_text(encoding="utf-8")
    labels = (PACKAGE / "labels.txt").read_text(encoding="utf-8").splitlines()

    for name in ("clothing-dataset", "trashnet", "tf_flowers", "caltech101"):
        assert name in card
    assert [label for label in labels if f"| {label} |" not in card] == []
