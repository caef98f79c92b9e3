"""The package of a stage, made once: without the libraries, whose layer takes a minute."""

import json
from pathlib import Path
from typing import Any

import pytest

from infrastructure.package import make_package


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that would be deployed, for the stage prod."""
    folder = tmp_path_factory.mktemp("package") / "prod"
    make_package("prod", folder, with_dependencies=False)
    return folder


@pytest.fixture(scope="session")
def template(package: Path) -> dict[str, Any]:
    """Its template."""
    result: dict[str, Any] = json.loads((package / "sam.json").read_text())
    return result


@pytest.fixture(scope="session")
def resources(template: dict[str, Any]) -> dict[str, Any]:
    """The template's resources."""
    result: dict[str, Any] = template["Resources"]
    return result
