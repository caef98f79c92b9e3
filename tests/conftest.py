"""What all tests share: hypothesis's profiles, the local AWS, the deployed stack."""

import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings

from chalicelib import telemetry
from local.api import api_process
from local.aws import aws_process, client, prepare_folder, wait_until_answering
from local.places import Places
from local.stack import bring_up
from tests.evidence import Evidence

settings.register_profile("local", max_examples=25, deadline=None)
settings.register_profile(
    "ci", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "local"))

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
NO_SHARED = "the folder ../shared with the test data is not here"


def pytest_configure(config: pytest.Config) -> None:
    """What is named as proof has to run: but for what cannot, where this is."""
    pages = [ROOT / "docs" / name for name in ("reliability.md", "security.md")]
    excused = [] if SHARED.is_dir() else [NO_SHARED]
    if sys.platform != "linux":
        excused.append("Linux counts memory in KB")
    config.pluginmanager.register(Evidence(pages, excused=excused), "evidence")


@pytest.fixture(scope="session", autouse=True)
def one_logger() -> None:
    """The process's logger, made before a test captures the output: it would keep writing there,
    after the test has closed it.
    """
    telemetry.logger()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The test data that is not part of the project."""
    if not SHARED.is_dir():
        pytest.skip(NO_SHARED)
    return SHARED


_GIVEN: set[int] = set()


def free_port() -> int:
    """A port that is free at this moment, and that nobody was given before."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        # The system gives a port that was left a moment ago as readily as any other.
        if port not in _GIVEN:
            _GIVEN.add(port)
            return port


@pytest.fixture(scope="session")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """A running local AWS with nothing in it."""
    places = Places(
        port=free_port(),
        aws_port=free_port(),
        root=tmp_path_factory.mktemp("local-aws"),
        # `make least-privilege`: the same tests, with the functions under their own roles.
        enforces_iam=os.environ.get("ENFORCE_IAM") == "1",
    )
    process = aws_process(places)
    with places.held():
        prepare_folder(places)
        process.start()
        try:
            wait_until_answering(
                f"{places.aws_url}/_ministack/ready", process, accept=lambda status: status == 200
            )
            yield places
        finally:
            process.stop()


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """The whole service, deployed on the local AWS, with its API."""

    places: Places
    api: httpx.Client

    def aws(self, service: str) -> Any:
        """A boto3 client of the local AWS."""
        return client(self.places, service)


@pytest.fixture(scope="session")
def deployed(local_aws: Places) -> Iterator[Deployed]:
    """The stack from the packaged template, and the API in front of it."""
    bring_up(local_aws)
    process = api_process(local_aws)
    process.start()
    try:
        wait_until_answering(
            f"{local_aws.api_url}/health", process, accept=lambda status: status == 200
        )
        with httpx.Client(base_url=local_aws.api_url, timeout=30) as api:
            yield Deployed(places=local_aws, api=api)
    finally:
        process.stop()
