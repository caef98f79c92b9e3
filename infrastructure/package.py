"""Make a stage's CloudFormation package: ``python -m infrastructure.package STAGE FOLDER``.

Runs ``chalice package`` with the resources of `template.py` merged in. The folder then holds
``sam.json``, the app's zip and the layer's zip.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from chalicelib.errors import ModelError
from chalicelib.inference.description import ModelDescription
from chalicelib.settings import APP_NAME
from infrastructure import policies
from infrastructure.alarms import functions_of
from infrastructure.model_layer import LAYER_PACKAGE, checked, write_layer
from infrastructure.template import ROOT, config, finish, resources_of

# What a Chalice project consists of; nothing else may reach the package.
SHIPPED = ("app.py", "chalicelib", "vendor", ".chalice/config.json")
LOCK = ROOT / "requirements.lock"
# What Lambda's Amazon Linux 2023 runs (glibc 2.34, x86_64), as wheels name it; the newest first.
_PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(34, 16, -1)),
    "manylinux2014_x86_64",
)
# Parts of libraries that are for their own developers, for type checkers, or for making models.
_NEVER_LOADED = re.compile(
    r"/tests?/|\.pyi$|/numpy/(f2py|_core/include)/|"
    r"/onnxruntime/(transformers|quantization|tools|datasets)/"
)
MODEL_LAYER_ZIP = "model-layer.zip"
# Chalice wants a region, even where nothing of the package depends on it.
_REGION = "us-east-1"


class PackagingFailed(Exception):
    """``chalice package`` failed; the text says what it said."""


def make_package(
    stage: str, folder: Path, *, with_dependencies: bool = True, model: Path | None = None
) -> None:
    """Package a stage.

    Args:
        stage: A stage of ``.chalice/config.json``.
        folder: Where the package goes; what is there is replaced.
        with_dependencies: Whether the layer holds the libraries of
            ``requirements.txt``, or the model alone. The local AWS runs
            functions with the libraries that are installed beside it.
        model: The folder of a model that takes the place of the built-in one.

    Raises:
        PackagingFailed: It did not work.
    """
    try:
        own = None if model is None else checked(model)
    except ModelError as error:
        raise PackagingFailed(str(error)) from None
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="darkroom-package-") as temporary:
        project = Path(temporary)
        copy_project(project)
        fill_in_policies(project, stage, policies.CLOUDFORMATION, policies.substituted)
        pip = libraries(project) if with_dependencies else no_libraries(project)
        resources = project / "resources.json"
        merged = resources_of(stage)
        if own is not None:
            add_model(merged, own.description)
        resources.write_text(json.dumps(merged))
        finished = subprocess.run(
            [
                *(chalice_command(), "package"),
                *("--stage", stage, "--merge-template", str(resources), str(folder.resolve())),
            ],
            cwd=project,
            env={
                **os.environ,
                **pip,
                "DARKROOM_PACKAGING": "cloudformation",
                "AWS_DEFAULT_REGION": os.environ.get("AWS_DEFAULT_REGION", _REGION),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    if finished.returncode != 0 or not (folder / "sam.json").is_file():
        said = (finished.stderr or finished.stdout).strip()
        raise PackagingFailed(f"chalice package failed for stage {stage!r}: {said}")
    template = json.loads((folder / "sam.json").read_text())
    finish(template)
    (folder / "sam.json").write_text(json.dumps(template, indent=2))
    trim_layer(folder / "layer-deployment.zip")
    # Chalice says so and goes on where a library has no build for Lambda.
    if "Could not install dependencies" in finished.stdout + finished.stderr:
        raise PackagingFailed(f"Libraries are missing from the package: {finished.stderr.strip()}")
    if own is not None:
        try:
            write_layer(own, folder / MODEL_LAYER_ZIP)
        except ModelError as error:
            raise PackagingFailed(str(error)) from None


def libraries(project: Path, *, lock: Path = LOCK) -> dict[str, str]:
    """Fetch what ships, each wheel with a hash of the lock.

    Chalice downloads by itself, and looks at no hash where this machine's wheels are not
    Lambda's. So it is left to find what was fetched here, and nothing else.

    Returns:
        The environment for Chalice.

    Raises:
        PackagingFailed: A wheel is missing, or is not the one that was locked.
    """
    requirements = project / "requirements.txt"
    shutil.copyfile(lock, requirements)
    wheels = project / "wheels"
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--require-hashes", "--only-binary", ":all:", "--no-deps", "--dest", str(wheels)),
            *(part for platform in _PLATFORMS for part in ("--platform", platform)),
            *("--requirement", str(requirements)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        raise PackagingFailed(f"The libraries could not be fetched: {finished.stderr.strip()}")
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_PLATFORM": " ".join(_PLATFORMS),
        "PIP_ONLY_BINARY": ":all:",
    }


def no_libraries(project: Path) -> dict[str, str]:
    """Leave the libraries out; the environment for Chalice."""
    (project / "requirements.txt").write_text("")
    return {}


def add_model(template: dict[str, Any], description: ModelDescription) -> None:
    """Put a model's layer into the template, and attach it to the function that runs it.

    The others know the model by its description: `preprocess` has no use for a graph, nor
    the API. Which one is run, the layer's or the built-in one, is the parameter ``Model``.
    """
    template["Parameters"]["Model"]["Default"] = LAYER_PACKAGE
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    variables["MODEL_DESCRIPTION"] = msgspec.json.encode(description).decode()
    template["Resources"]["ModelLayer"] = {
        "Type": "AWS::Serverless::LayerVersion",
        "Properties": {
            "LayerName": {"Fn::Sub": "darkroom-${Stage}-model"},
            "Description": description.reference,
            "ContentUri": f"./{MODEL_LAYER_ZIP}",
        },
    }
    function = template["Resources"]["Infer"]["Properties"]
    # Lists are replaced: the first is what Chalice attaches to every function.
    function["Layers"] = [{"Ref": "ManagedLayer"}, {"Ref": "ModelLayer"}]


def trim_layer(path: Path) -> None:
    """Leave out of a layer what no function ever loads: 3 MB of 51, zipped."""
    trimmed = path.with_suffix(".trimmed")
    with (
        zipfile.ZipFile(path) as full,
        zipfile.ZipFile(trimmed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as kept,
    ):
        for entry in full.infolist():
            if not _NEVER_LOADED.search(entry.filename):
                # Not by name: the entry carries the date and mode that keep the zip reproducible.
                kept.writestr(entry, full.read(entry), zipfile.ZIP_DEFLATED, compresslevel=9)
    trimmed.replace(path)


def chalice_command() -> str:
    """The ``chalice`` of the environment that this runs in."""
    return str(Path(sys.executable).with_name("chalice"))


def copy_project(target: Path) -> None:
    """Copy what a Chalice project consists of, and nothing else."""
    for name in SHIPPED:
        source = ROOT / name
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
            )
        elif source.is_file():
            shutil.copy2(source, target / name)


def fill_in_policies(
    project: Path,
    stage: str,
    account: policies.Account,
    wrap: Callable[[str], Any] = str,
) -> None:
    """Write each function's policy, exact, into a copy of the project."""
    if stage not in config()["stages"]:
        return
    listed = config()["stages"][stage]["lambda_functions"]
    for function in functions_of(config(), stage):
        name = listed[function.name]["iam_policy_file"]
        policy = json.loads((ROOT / ".chalice" / name).read_text())
        exact = policies.filled_in(
            policy,
            stage=stage,
            function=f"{APP_NAME}-{stage}{function.suffix}",
            account=account,
            wrap=wrap,
        )
        (project / ".chalice" / name).write_text(policies.as_text(exact))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, help="the folder of a model of your own")
    arguments = parser.parse_args()
    try:
        make_package(arguments.stage, arguments.folder, model=arguments.model)
    except PackagingFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    sizes = ", ".join(
        f"{path.name} {path.stat().st_size / 1e6:.1f} MB"
        for path in sorted(arguments.folder.iterdir())
    )
    print(f"{arguments.folder}: {sizes}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
