"""The local AWS: MiniStack, on the loopback interface, its state in a folder of the project."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

import boto3
import httpx
from botocore.config import Config

from local.errors import StartFailed
from local.places import HOST, Places
from local.processes import Process

ACCOUNT = "000000000000"
REGION = "us-east-1"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
}
_READY_SECONDS = 30


def aws_process(places: Places) -> Process:
    """The emulator's process."""
    folder = places.folder
    return Process(
        name="The local AWS",
        command=[
            *(sys.executable, "-m"),
            _module(places),
        ],
        environ={
            **local_environ(places),
            **(
                {"AUTH": "true", "IAM_DECISIONS": str(places.decisions)}
                if places.enforces_iam
                else {}
            ),
            "BIND_HOST": HOST,
            "MINISTACK_HOST": HOST,
            "GATEWAY_PORT": str(places.aws_port),
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "PERSIST_STATE": "1",
            "STATE_DIR": str(folder / "state"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(folder / "s3"),
            "TMPDIR": str(folder / "tmp"),
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            # It would look after its own containers there; it needs none here.
            "DOCKER_HOST": "unix:///nonexistent",
        },
        log=places.logs / "aws.log",
        record=places.folder / "aws.pid",
    )


def _module(places: Places) -> str:
    if places.imports_apis:
        return "local.aws_with_imports"
    return "local.aws_with_iam" if places.enforces_iam else "local.emulator"


def prepare_folder(places: Places) -> bool:
    """Make the folder fit for a start; whether images of an earlier run had to be forgotten.

    MiniStack writes objects at once and everything else when it stops. Killed
    before its first clean stop, it leaves objects that nothing knows of.
    """
    folder = places.folder
    # It leaves a copy of each function's code behind for every process that ran it.
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)
    if (folder / "state" / "cloudformation.json").is_file() or not (folder / "s3").is_dir():
        return False
    shutil.rmtree(folder / "s3")
    (folder / "deployed").unlink(missing_ok=True)
    return True


def local_environ(places: Places) -> dict[str, str]:
    """The environment of every child: the local AWS, and no way to a real account."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "MINISTACK_", "LAMBDA_", "LOCALSTACK_", "PYTHON", "MODEL"))
    }
    return {
        **kept,
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": places.aws_url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "PYTHONUNBUFFERED": "1",
    }


def client(places: Places, service: str) -> Any:
    """A boto3 client of the local AWS."""
    make: Callable[..., Any] = boto3.client
    return make(
        service,
        endpoint_url=places.aws_url,
        region_name=REGION,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"max_attempts": 2}, connect_timeout=3, read_timeout=60),
    )


def wait_until_answering(url: str, process: Process, *, accept: Callable[[int], bool]) -> None:
    """Wait until a server answers.

    Raises:
        StartFailed: Its process ended, or it did not answer in time.
    """
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        process.check()
        try:
            if accept(httpx.get(url, timeout=5).status_code):
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise StartFailed(
        f"{process.name} did not answer at {url} within {_READY_SECONDS} s; see {process.log}."
    )
