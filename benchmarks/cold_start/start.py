"""One start of one function in a new process, from nothing to its first answer."""

import json
import os
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cold_start.events import event_of
from benchmarks.cold_start.imports import shares
from infrastructure.runtime_api import RuntimeApi

_DEADLINE_SECONDS = 60
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class StartFailed(Exception):
    """A function did not come up or did not answer; the text says what it said."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function of the package.

    Attributes:
        name: As in the template.
        handler: ``app.infer``.
        memory_mb: What the template gives it.
        environ: Its variables; what CloudFormation fills in is a placeholder.
    """

    name: str
    handler: str
    memory_mb: int
    environ: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Start:
    """What one start took, in ms.

    Attributes:
        init: From the start of the process until it asked for an event.
        init_cpu: CPU time of that.
        first: From then until its answer.
        first_cpu: CPU time of that.
        imports: Of each group of libraries, over both; empty where it was not asked for.
        init_imports: Of that, what came before the first event.
    """

    init: float
    init_cpu: float
    first: float
    first_cpu: float
    imports: Mapping[str, float]
    init_imports: Mapping[str, float]


class Package:
    """A package's zips, unpacked as Lambda does; nothing in it is compiled, as in the zips.

    Args:
        folder: What ``infrastructure.package`` made.
        unpacked: Where its files go.
        python: Of an environment with Lambda's own libraries alone.
        aws_url: Where AWS answers.
    """

    def __init__(self, folder: Path, unpacked: Path, *, python: Path, aws_url: str) -> None:
        self._task, self._layer = unpacked / "task", unpacked / "opt"
        for name, target in {"deployment": self._task, "layer-deployment": self._layer}.items():
            with zipfile.ZipFile(folder / f"{name}.zip") as packed:
                packed.extractall(target)
        self._python = python
        self._aws_url = aws_url
        template = json.loads((folder / "sam.json").read_text())
        shared = template.get("Globals", {}).get("Function", {})
        parameters = {
            name: str(parameter["Default"])
            for name, parameter in template.get("Parameters", {}).items()
            if "Default" in parameter
        }
        self.functions = [
            function_of(name, [shared, resource["Properties"]], parameters)
            for name, resource in template["Resources"].items()
            if resource["Type"] == "AWS::Serverless::Function"
        ]

    def compile(self) -> None:
        """Compile all modules, as a package that ships bytecode would have them."""
        subprocess.run(
            [self._python, "-m", "compileall", "-q", "-j", "0", self._task, self._layer],
            check=False,
        )

    def start(self, function: Function, *, profiled: bool = False) -> Start:
        """Start a function, give it its first event, end it.

        Raises:
            StartFailed: It did not answer, or not well.
        """
        _, event = event_of(function.handler)
        with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as log:
            marks: list[tuple[float, int]] = []

            def ready() -> None:
                marks.append((cpu_ms(process.pid), os.fstat(said.fileno()).st_size))

            api = RuntimeApi(event, on_ready=ready)
            environ = self._environ(function, api.port, profiled=profiled)
            started = time.perf_counter()
            process = subprocess.Popen(
                [self._python, "-m", "awslambdaric", function.handler],
                cwd=self._task,
                env=environ,
                stdout=log,
                stderr=said,
            )
            try:
                answered = api.over.wait(_DEADLINE_SECONDS)
                spent_ms = cpu_ms(process.pid)
            finally:
                process.kill()
                process.wait()
                api.close()
            said.seek(0)
            log.seek(0)
            errors, logged = said.read(), log.read()
        _check(function, api, answered=answered, said=logged + ("" if profiled else errors))
        (init_cpu, init_said), *_ = marks
        lines = errors.splitlines() if profiled else []
        init_lines = errors[:init_said].splitlines() if profiled else []
        return Start(
            init=(api.ready_at - started) * 1000,
            init_cpu=init_cpu,
            first=(api.answered_at - api.ready_at) * 1000,
            first_cpu=spent_ms - init_cpu,
            imports=shares(lines),
            init_imports=shares(init_lines),
        )

    def _environ(self, function: Function, port: int, *, profiled: bool) -> dict[str, str]:
        packages = [str(path) for path in self._layer.glob("python/lib/*/site-packages")]
        return {
            **function.environ,
            "PATH": os.environ["PATH"],
            # In Lambda's order: the function's code, then the layer.
            "PYTHONPATH": os.pathsep.join([str(self._task), *packages]),
            # What a function compiles is lost with it: Lambda's file system is read-only.
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "LAMBDA_TASK_ROOT": str(self._task),
            "_HANDLER": function.handler,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": self._aws_url,
            # Not the machine's own configuration.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            **({"PYTHONPROFILEIMPORTTIME": "1"} if profiled else {}),
        }


def function_of(
    name: str, properties: Sequence[Mapping[str, Any]], parameters: Mapping[str, str]
) -> Function:
    """A function of a template.

    Args:
        name: Of the resource.
        properties: What all functions share, then its own.
        parameters: The defaults of the template's parameters.
    """
    variables: dict[str, Any] = {}
    for part in properties:
        variables |= part.get("Environment", {}).get("Variables", {})
    return Function(
        name=name,
        handler=properties[-1]["Handler"],
        memory_mb=properties[-1].get("MemorySize", 128),
        environ={key: _value(key, value, parameters) for key, value in variables.items()},
    )


def _value(key: str, value: Any, parameters: Mapping[str, str]) -> str:
    """A variable's value; a placeholder for what only CloudFormation can fill in."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and value.get("Ref") in parameters:
        return parameters[value["Ref"]]
    return key.lower().replace("_", "-")


def cpu_ms(pid: int) -> float:
    """User and system time of a process so far, in steps of 10 ms."""
    # The name, in brackets, may hold spaces; after it, the 12th and 13th field are the times.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / _TICKS_A_SECOND


def _check(function: Function, api: RuntimeApi, *, answered: bool, said: str) -> None:
    failure = api.failure
    if not answered:
        failure = f"no answer in {_DEADLINE_SECONDS} s"
    if isinstance(api.answer, dict) and api.answer.get("statusCode", 200) != 200:
        failure = str(api.answer)
    if failure is not None:
        raise StartFailed(f"{function.name}: {failure[:300]}\n{said[-3000:]}")
