"""A terminal without a screen, and a service that can be told to misbehave."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from darkroom_cli.main import app
from darkroom_cli.service import Service
from tests.conftest import Deployed

Answering = Callable[[httpx.Request], httpx.Response]


@dataclass
class FakeService:
    """Answers by the replies in its list, one after the other; the last one stays."""

    replies: list[Answering] = field(default_factory=list)
    asked: list[httpx.Request] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply(request)

    @property
    def service(self) -> Service:
        client = httpx.Client(base_url="http://darkroom", transport=httpx.MockTransport(self))
        return Service(client, storage=client, sleep=self.slept.append)


def saying(status: int, body: Any = None, **headers: str) -> Answering:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx.Response(status, json=body, headers=named)


def breaking(error: type[httpx.TransportError]) -> Answering:
    def reply(request: httpx.Request) -> httpx.Response:
        raise error("broken", request=request)

    return reply


@pytest.fixture
def fake() -> FakeService:
    return FakeService()


@dataclass(frozen=True)
class Terminal:
    """Runs the command line against the deployed stack."""

    deployed: Deployed
    state: Path

    def __call__(self, *words: str) -> Result:
        before = ["--url", self.deployed.places.api_url, "--state", str(self.state)]
        return CliRunner().invoke(
            app, [*before, *words], env={"AWS_PORT": str(self.deployed.places.aws_port)}
        )

    def json(self, *words: str, exit_code: int = 0) -> Any:
        """The document of a command."""
        result = self(*words, "--json")
        assert result.exit_code == exit_code, result.output
        return json.loads(result.stdout)


@pytest.fixture
def terminal(deployed: Deployed, tmp_path: Path) -> Terminal:
    return Terminal(deployed, tmp_path / "state" / "sent.sqlite3")
