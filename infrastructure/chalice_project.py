"""The folder that ``chalice deploy`` is run in: the project as it stands, for one stage of one
account.

The stage's names, streams, layers and exact policies differ by account, and so have no place in the
repository. The code is linked, so that a change of it needs nothing but ``chalice deploy``.
"""

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from infrastructure import policies
from infrastructure.alarms import functions_of
from infrastructure.package import fill_in_policies
from infrastructure.resource_stack import Overrides, filled_in, stream_output
from infrastructure.template import ROOT, config

# Where Chalice keeps what it made, of all stages: it outlives the folder.
DEPLOYED = ROOT / ".chalice" / "deployed"
# Chalice would put the libraries into every function. They lie in a layer of the stack.
_REQUIREMENTS = "# In a layer, which `make resources` puts into the stack.\n"
LIBRARIES, OWN_MODEL = "ManagedLayer", "ModelLayer"


def project_folder(stage: str) -> Path:
    """Where a stage's project is."""
    return ROOT / "build" / f"{stage}-chalice"


def deployed_record(stage: str) -> Path:
    """Where Chalice writes down what it made of a stage."""
    return DEPLOYED / f"{stage}.json"


def rest_api_id(stage: str) -> str:
    """The id of the API that Chalice made; empty where it made none."""
    try:
        made = json.loads(deployed_record(stage).read_text())["resources"]
    except FileNotFoundError:
        return ""
    return next((str(r["rest_api_id"]) for r in made if r["resource_type"] == "rest_api"), "")


def write_project(
    stage: str,
    folder: Path,
    *,
    overrides: Overrides,
    outputs: Mapping[str, str],
    account: policies.Account,
    variables: Mapping[str, str],
) -> None:
    """Write the folder; what was there is replaced.

    Args:
        stage: A stage of ``.chalice/config.json``.
        folder: Where to.
        overrides: What the merged template says about what Chalice makes.
        outputs: Of the stage's stack.
        account: Where the stage lives.
        variables: Further variables of all functions.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / ".chalice").mkdir(parents=True)
    (folder / "requirements.txt").write_text(_REQUIREMENTS)
    _link_code(folder)
    DEPLOYED.mkdir(parents=True, exist_ok=True)
    (folder / ".chalice" / "deployed").symlink_to(DEPLOYED)
    fill_in_policies(folder, stage, account)
    shared = {
        **_variables(overrides.shared, outputs),
        **_stream_variables(outputs),
        **variables,
    }
    settings = _stage_config(stage, overrides, outputs, shared)
    written = {**config(), "automatic_layer": False, "stages": {stage: settings}}
    (folder / ".chalice" / "config.json").write_text(json.dumps(written, indent=2) + "\n")


def stream_variable(table: str) -> str:
    """The variable that app.py reads the ARN of a table's stream from, while it is deployed."""
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", table.removesuffix("Table")).upper()
    return f"{words}_STREAM_ARN"


def _stage_config(
    stage: str, overrides: Overrides, outputs: Mapping[str, str], shared: Mapping[str, str]
) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(json.dumps(config()["stages"][stage]))
    # The stack has the groups. Chalice would take another for the API's (aws/chalice#2079).
    del settings["log_retention_in_days"]
    settings["environment_variables"] |= shared
    settings["layers"] = [outputs[f"{LIBRARIES}Arn"]]
    for function in functions_of(config(), stage):
        own = settings["lambda_functions"][function.name]
        if found := _variables(overrides.of.get(function.logical_name, {}), outputs):
            own["environment_variables"] = {**own.get("environment_variables", {}), **found}
    if own_model := outputs.get(f"{OWN_MODEL}Arn"):
        infer = settings["lambda_functions"]["infer"]
        infer["layers"] = [*settings["layers"], own_model]
    return settings


def _variables(said: Mapping[str, Any], outputs: Mapping[str, str]) -> dict[str, str]:
    """The variables that have a value; the others have a default in `Settings`."""
    found = filled_in(said.get("Environment", {}).get("Variables", {}), outputs)
    return {name: str(value) for name, value in found.items() if value}


def _stream_variables(outputs: Mapping[str, str]) -> dict[str, str]:
    ending = stream_output("")
    return {
        stream_variable(name.removesuffix(ending)): arn
        for name, arn in outputs.items()
        if name.endswith(ending)
    }


def _link_code(folder: Path) -> None:
    (folder / "app.py").symlink_to(ROOT / "app.py")
    for source in _folders(ROOT / "chalicelib"):
        inside = source.relative_to(ROOT)
        (folder / inside).mkdir()
        # Chalice ships all that lies in the folders of the code, and imports it just before.
        bytecode = folder / ".bytecode" / inside
        bytecode.mkdir(parents=True)
        (folder / inside / "__pycache__").symlink_to(bytecode)
        for path in sorted(source.iterdir()):
            if path.is_file():
                (folder / inside / path.name).symlink_to(path)


def _folders(top: Path) -> Iterable[Path]:
    yield top
    for path in sorted(top.iterdir()):
        if path.is_dir() and path.name != "__pycache__":
            yield from _folders(path)
