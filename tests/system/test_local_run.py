"""``make run`` as a stranger uses it: start, look, stop, start again."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import free_port
from tests.polling import eventually
from tests.unit.inference import graphs

ROOT = Path(__file__).resolve().parent.parent.parent


class Run:
    """One ``make run``, without make, so that the test's own environment serves."""

    def __init__(
        self, *, samples: bool, port: int, aws_port: int, model: Path | None = None
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = ROOT / ".local" / f"test-{aws_port}.log"
        self.log.parent.mkdir(exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "local.run"],
                cwd=ROOT,
                env={
                    **os.environ,
                    "PORT": str(port),
                    "AWS_PORT": str(aws_port),
                    "SAMPLES": "1" if samples else "0",
                    "MODEL": "" if model is None else str(model),
                    # What a user may have set must not get in the way.
                    "AWS_PROFILE": "no-such-profile",
                    "AWS_REGION": "eu-west-1",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text()

    def until_ready(self) -> "Run":
        """Wait for the line that ends the start."""

        def ready() -> bool:
            assert self.process.poll() is None, self.output
            return f"Ready: {self.url}\n" in self.output

        eventually(ready, seconds=120, what="the run is ready")
        return self

    def stop(self, number: signal.Signals) -> int:
        """Send a signal; the exit code, within the 15 seconds that are promised."""
        self.process.send_signal(number)
        return self.process.wait(15)


@pytest.fixture
def ports() -> Iterator[tuple[int, int]]:
    """Two free ports, and a folder that is forgotten afterwards."""
    port, aws_port = free_port(), free_port()
    yield port, aws_port
    shutil.rmtree(ROOT / ".local" / str(aws_port), ignore_errors=True)
    (ROOT / ".local" / f"test-{aws_port}.log").unlink(missing_ok=True)


def left_by(ports: tuple[int, int]) -> list[str]:
    """What a run has left behind: processes, and ports that still answer."""
    listed = subprocess.run(
        ["ps", "-eo", "pid,command"], capture_output=True, text=True, check=True
    )
    left = [
        line
        for line in listed.stdout.splitlines()
        if f".local/{ports[1]}/" in line or f"--port {ports[0]}" in line
    ]
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                left.append(f"something listens on {port}")
    return left


def normalised(text: str) -> list[str]:
    """The lines of an output without what differs from run to run."""
    lines = []
    for line in text.splitlines():
        if not line.strip():
            continue
        words = line.split()
        # Of a row of the table the photo's name stays: predictions differ between processors.
        lines.append(words[0] if re.search(r"\.(png|jpg) ", line) else re.sub(r"[\d.]+", "#", line))
    return [re.sub(r" +", " ", line).strip() for line in lines]


def test_a_run_serves_stops_cleanly_and_remembers(ports: tuple[int, int]) -> None:
    port, aws_port = ports
    run = Run(samples=True, port=port, aws_port=aws_port).until_ready()
    items = httpx.get(f"{run.url}/images").json()["items"]
    assert len(items) == 5
    assert {item["status"] for item in items} == {"completed"}
    assert run.stop(signal.SIGINT) == 0
    assert left_by(ports) == []

    readme = (ROOT / "README.md").read_text()
    shown = re.search(r"```console\n\$ make run\n(.*?)```", readme, re.DOTALL)
    assert shown is not None
    printed = run.output.replace("Stopped.\n", "")
    assert normalised(shown[1]) == normalised(printed), "the README shows what is printed"

    again = Run(samples=False, port=port, aws_port=aws_port).until_ready()
    after = {image["image_id"] for image in httpx.get(f"{again.url}/images").json()["items"]}
    assert after == {image["image_id"] for image in items}
    assert again.stop(signal.SIGTERM) == 0
    assert left_by(ports) == []


def test_a_run_with_a_model_of_ones_own_answers_with_it(
    ports: tuple[int, int], tmp_path: Path
) -> None:
    graphs.package(tmp_path, graphs.graph(width=30, height=20))
    port, aws_port = ports
    run = Run(samples=True, port=port, aws_port=aws_port, model=tmp_path)
    try:
        run.until_ready()
        items = httpx.get(f"{run.url}/images").json()["items"]
        named = {(item["model"]["name"], item["model"]["version"]) for item in items}
        assert named == {("means", "1")}
        assert {item["top_prediction"] for item in items} <= set(graphs.LABELS)
        address = f"{run.url}/images/{items[0]['image_id']}"
        asked = httpx.post(f"{address}/retry", params={"model": "darkroom-32@1.0.0"})
        assert asked.status_code == 202, "the built-in model is still there"

        def answered() -> bool:
            image = httpx.get(address).json()
            return bool(image["status"] == "completed" and image["model"]["name"] == "darkroom-32")

        eventually(answered, seconds=60, what="the built-in model has answered")
    finally:
        assert run.stop(signal.SIGINT) == 0


def test_a_model_that_cannot_be_used_is_one_clear_sentence(
    ports: tuple[int, int], tmp_path: Path
) -> None:
    graphs.package(tmp_path, graphs.graph(), labels=["one", "two"])
    port, aws_port = ports
    run = Run(samples=False, port=port, aws_port=aws_port, model=tmp_path)
    assert run.process.wait(60) == 1
    (line,) = run.output.splitlines()
    assert line.startswith("Error: ")
    assert "labels.txt has 2 lines, but the graph's output has 3 classes." in line


@pytest.mark.parametrize("taken", ["PORT", "AWS_PORT"])
def test_a_port_in_use_is_one_clear_sentence(ports: tuple[int, int], taken: str) -> None:
    port, aws_port = ports
    with socket.socket() as other:
        other.bind(("127.0.0.1", port if taken == "PORT" else aws_port))
        other.listen()
        run = Run(samples=False, port=port, aws_port=aws_port)
        assert run.process.wait(30) == 1
    (line,) = run.output.splitlines()
    assert line.startswith("Error: Port ")
    assert line.endswith(f"choose another with {taken}.")


def test_what_is_no_port_is_refused() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "local.run"],
        cwd=ROOT,
        env={**os.environ, "PORT": "eighty"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stderr == "Error: PORT must be a port from 1 to 65535, not 'eighty'.\n"


def test_a_killed_run_leaves_nothing_that_the_next_one_trips_over(ports: tuple[int, int]) -> None:
    port, aws_port = ports
    run = Run(samples=False, port=port, aws_port=aws_port).until_ready()
    image_id = httpx.post(f"{run.url}/images").json()["image_id"]
    run.process.kill()
    run.process.wait(5)
    again = Run(samples=False, port=port, aws_port=aws_port).until_ready()
    assert httpx.get(f"{again.url}/images/{image_id}").status_code == 200, "orphans could save"
    assert again.stop(signal.SIGTERM) == 0
    assert left_by(ports) == []
