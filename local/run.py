"""``make run``: the whole service on this machine, until Ctrl-C."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from rich.console import Console

from local.api import api_process
from local.aws import aws_process, wait_until_answering
from local.errors import StartFailed
from local.places import ROOT, Places, read_port
from local.processes import Process
from local.samples import run_samples
from local.stack import bring_up


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Start everything, serve, stop everything; the exit code."""
    console = Console(stderr=False, highlight=False)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _interrupt(stopping))
    try:
        places = Places(
            port=read_port(environ.get("PORT"), "PORT", 8000),
            aws_port=read_port(environ.get("AWS_PORT"), "AWS_PORT", 4566),
        )
        with places.held(), ExitStack() as running:
            places.check_ports()
            processes = _start(places, running, console, samples=environ.get("SAMPLES") != "0")
            console.print(f"Ready: {places.api_url}")
            _serve(processes, stopping)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 0 if stopping.is_set() else 130
    except StartFailed as failure:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]Error:[/red] {failure}")
        return 1
    return 0


def _interrupt(stopping: threading.Event) -> None:
    # Only the first one counts: a second Ctrl-C must not break off the stopping.
    if not stopping.is_set():
        stopping.set()
        raise KeyboardInterrupt


def _start(places: Places, running: ExitStack, console: Console, *, samples: bool) -> list[Process]:
    aws = aws_process(places)
    with _step(console, "Local AWS", f"{places.aws_url}, state in {_shown(places)}"):
        running.callback(aws.stop)
        aws.start()
        wait_until_answering(
            f"{places.aws_url}/_ministack/ready", aws, accept=lambda status: status == 200
        )
    with _step(console, "Stack", "from the template of chalice package"):
        bring_up(places)
    api = api_process(places)
    with _step(console, "API", places.api_url):
        running.callback(api.stop)
        api.start()
        wait_until_answering(f"{places.api_url}/health", api, accept=lambda status: status == 200)
    if samples:
        run_samples(places.api_url, console)
    return [aws, api]


def _serve(processes: list[Process], stopping: threading.Event) -> None:
    while not stopping.wait(0.5):
        for process in processes:
            process.check()


@contextmanager
def _step(console: Console, name: str, detail: str) -> Iterator[None]:
    started = time.monotonic()
    with console.status(f"{name} ..."):
        yield
    console.print(f"{name:<10} {time.monotonic() - started:5.1f} s  {detail}")


def _shown(places: Places) -> str:
    return os.path.relpath(places.folder, ROOT)


if __name__ == "__main__":
    sys.exit(main())
