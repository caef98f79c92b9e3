"""Who runs: ours without HTTP, ours behind HTTP, and the servers that one might use instead."""

import json
import math
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.inference.load import Address, Slice, ask, send
from benchmarks.inference.processes import Processes

_START_SECONDS = 120


class StartFailed(Exception):
    """A contender did not come up; the text names its log."""


class Contender(ABC):
    """Started once, then paused but for its own rounds."""

    name: str

    @abstractmethod
    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            StartFailed: It does not.
        """

    @abstractmethod
    def answers(self) -> dict[str, Any]:
        """What it says of each photo."""

    @abstractmethod
    def run(self, load: int, seconds: float) -> Slice:
        """Work for so long, with so many photos at a time."""

    @abstractmethod
    def memory_mb(self, load: int, seconds: float) -> float:
        """The most that its processes hold under a load; watching costs it time."""

    @abstractmethod
    def end(self) -> None:
        """End all its processes."""


class Local(Contender):
    """A module that works on its own photos as `loop.serve` tells it; no HTTP.

    Args:
        name: In tables.
        module: What runs.
        arguments: Of the module.
        logs: A folder.
        workers: Processes that share a load; each gets its part of it as one event.
    """

    def __init__(
        self, name: str, module: str, arguments: list[str], *, logs: Path, workers: int = 1
    ) -> None:
        self.name = name
        self._command = ["-m", module, *arguments]
        self._logs = logs
        self._workers = workers
        self._processes: list[Processes] = []

    def start(self) -> None:
        """Start all workers; the first answer comes when a worker has warmed up."""
        for number in range(self._workers):
            log = self._logs / f"{_file_name(self.name)}-{number}.log"
            self._processes.append(Processes(self._command, environ={}, log=log, piped=True))
        for process in self._processes:
            self._ask(process, {"do": "answer"})
            process.pause()

    def answers(self) -> dict[str, Any]:
        """Of the first worker."""
        first = self._processes[0]
        first.go_on()
        found: dict[str, Any] = self._ask(first, {"do": "answer"})
        first.pause()
        return found

    def run(self, load: int, seconds: float) -> Slice:
        """The load, split evenly over as many workers as it needs."""
        busy = self._processes[: min(load, self._workers)]
        order = {"do": "run", "with": {"size": math.ceil(load / len(busy)), "seconds": seconds}}
        for process in busy:
            process.go_on()
            self._tell(process, order)
        slices = [Slice(**self._hear(process)) for process in busy]
        for process in busy:
            process.pause()
        return Slice(
            wall_seconds=max(one.wall_seconds for one in slices),
            cpu_seconds=sum(one.cpu_seconds for one in slices),
            latencies_ms=[latency for one in slices for latency in one.latencies_ms],
        )

    def memory_mb(self, load: int, seconds: float) -> float:
        """The sum of the peaks of the workers that the load needs."""
        with ExitStack() as watches:
            found = [
                watches.enter_context(process.watched())
                for process in self._processes[: min(load, self._workers)]
            ]
            self.run(load, seconds)
        return sum(max(values, default=0.0) for values in found)

    def end(self) -> None:
        """End all workers."""
        for process in self._processes:
            process.end()
        self._processes.clear()

    def _ask(self, process: Processes, order: Mapping[str, Any]) -> Any:
        self._tell(process, order)
        return self._hear(process)

    def _tell(self, process: Processes, order: Mapping[str, Any]) -> None:
        orders, _ = process.pipes
        orders.write(json.dumps(order) + "\n")
        orders.flush()

    def _hear(self, process: Processes) -> Any:
        _, replies = process.pipes
        line = replies.readline()
        if not line:
            raise StartFailed(f"{self.name} ended; its log is {process.log}.")
        return json.loads(line)


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How a server is started.

    Attributes:
        name: In tables.
        command: For this Python; ``{port}`` is filled in.
        environ: Added to the environment.
        path: Where it takes photos.
        form: Whether as a form.
        listed: Whether it answers a photo with a list of one answer.
    """

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    path: str
    form: bool = True
    listed: bool = False


class Server(Contender):
    """A server of HTTP, asked by clients in this process."""

    def __init__(self, serving: Serving, photos: Mapping[str, bytes], *, logs: Path) -> None:
        self.name = serving.name
        self._serving = serving
        self._photos = photos
        self._logs = logs
        self._address = Address(port=_free_port(), path=serving.path, form=serving.form)
        self._processes: Processes | None = None

    def start(self) -> None:
        """Start it and ask until it answers."""
        command = [part.format(port=self._address.port) for part in self._serving.command]
        log = self._logs / f"{_file_name(self.name)}.log"
        self._processes = Processes(command, environ=self._serving.environ, log=log, piped=False)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                ask(self._address, self._photos)
            except (OSError, ValueError) as error:
                if time.monotonic() > deadline or not self._processes.alive:
                    raise StartFailed(f"{self.name}: {error}; its log is {log}.") from error
                time.sleep(0.2)
            else:
                break
        self._processes.pause()

    def answers(self) -> dict[str, Any]:
        """Asked one after the other."""
        self._started.go_on()
        found = ask(self._address, self._photos)
        self._started.pause()
        return {name: one[0] if self._serving.listed else one for name, one in found.items()}

    def run(self, load: int, seconds: float) -> Slice:
        """So many clients, each with a connection of its own."""
        self._started.go_on()
        before = self._started.cpu_seconds()
        found = send(self._address, self._photos, concurrency=load, seconds=seconds)
        spent = self._started.cpu_seconds() - before
        self._started.pause()
        return replace(found, cpu_seconds=spent)

    def memory_mb(self, load: int, seconds: float) -> float:
        """All processes together."""
        with self._started.watched() as found:
            self.run(load, seconds)
        return max(found, default=0.0)

    def end(self) -> None:
        """End all its processes."""
        if self._processes is not None:
            self._processes.end()
            self._processes = None

    @property
    def _started(self) -> Processes:
        if self._processes is None:
            raise StartFailed(f"{self.name} was not started.")
        return self._processes


def servers(*, workers: int, batch: int, reduced: bool) -> list[Serving]:
    """All servers: ours first, then the peers, each in its default and in its batching mode."""
    common = {"BENCHMARK_REDUCED": "1" if reduced else ""}
    bento = {
        **common,
        "BENCHMARK_WORKERS": str(workers),
        "BENCHMARK_BATCH": str(batch),
        "BENTOML_DO_NOT_TRACK": "1",
    }
    module = "benchmarks.inference."
    listening = ("--host", "127.0.0.1", "--port", "{port}")
    return [
        Serving(
            name="ours, HTTP",
            command=("-m", f"{module}front", "{port}", str(workers)),
            environ=common,
            path="/",
            form=False,
        ),
        Serving(
            name="LitServe",
            command=("-m", f"{module}litserve_server", "{port}", str(workers), "1"),
            environ=common,
            path="/predict",
        ),
        Serving(
            name="LitServe, batching",
            command=("-m", f"{module}litserve_server", "{port}", str(workers), str(batch)),
            environ=common,
            path="/predict",
        ),
        Serving(
            name="BentoML",
            command=(
                *("-m", "bentoml", "serve", f"{module}bentoml_service:OneByOne"),
                *listening,
            ),
            environ=bento,
            path="/predict",
        ),
        Serving(
            name="BentoML, batching",
            command=(
                *("-m", "bentoml", "serve", f"{module}bentoml_service:InBatches"),
                *listening,
            ),
            environ=bento,
            path="/predict",
            listed=True,
        ),
    ]


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
