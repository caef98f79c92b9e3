"""The API: ``chalice local``, against the local AWS."""

from infrastructure.package import chalice_command
from local.aws import local_environ
from local.places import HOST, Places
from local.processes import Process
from local.stack import STAGE


def api_process(places: Places) -> Process:
    """The API's process."""
    return Process(
        name="The API",
        command=[
            *(chalice_command(), "local", "--stage", STAGE),
            *("--host", HOST, "--port", str(places.port), "--no-autoreload"),
        ],
        environ=local_environ(places),
        log=places.logs / "api.log",
        record=places.folder / "api.pid",
    )
