"""The API: ``chalice local``, against the local AWS."""

from pathlib import Path

import msgspec

from infrastructure.model_layer import LAYER_PACKAGE, checked
from infrastructure.package import chalice_command
from local.aws import local_environ
from local.places import HOST, Places
from local.processes import Process
from local.stack import STAGE


def api_process(places: Places, *, model: Path | None = None) -> Process:
    """The API's process. ``model`` is the folder of a model of one's own.

    Raises:
        ModelError: The model cannot be used.
    """
    environ = local_environ(places)
    if model is not None:
        # As the template tells it to the deployed functions.
        description = msgspec.json.encode(checked(model).description).decode()
        environ |= {"MODEL": LAYER_PACKAGE, "MODEL_DESCRIPTION": description}
    return Process(
        name="The API",
        command=[
            *(chalice_command(), "local", "--stage", STAGE),
            *("--host", HOST, "--port", str(places.port), "--no-autoreload"),
        ],
        environ=environ,
        log=places.logs / "api.log",
        record=places.folder / "api.pid",
    )
