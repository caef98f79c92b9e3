"""Model packages for tests, made from the one that is committed."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COMMITTED = Path(__file__).resolve().parents[3] / "vendor" / "darkroom_model"
FILES = ("model.json", "labels.txt", "model.onnx")


def copy(folder: Path) -> Path:
    """A copy of the committed package that a test may spoil."""
    for name in FILES:
        shutil.copy(COMMITTED / name, folder / name)
    return folder


def description() -> dict[str, Any]:
    """What the committed ``model.json`` says."""
    value: dict[str, Any] = json.loads((COMMITTED / "model.json").read_text(encoding="utf-8"))
    return value


def describe(folder: Path, changes: Mapping[str, Any]) -> Path:
    """Change fields of ``model.json``, each named by its path: ``input.width``."""
    value = description()
    for path, new in changes.items():
        *parents, name = path.split(".")
        place = value
        for parent in parents:
            place = place[parent]
        if new is ...:
            del place[name]
        else:
            place[name] = new
    (folder / "model.json").write_text(json.dumps(value), encoding="utf-8")
    return folder
