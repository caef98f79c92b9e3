"""``make run``: the whole service on this machine, until Ctrl-C."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from chalicelib.errors import ModelError
from local.api import api_process
from local.aws import aws_process, prepare_folder, wait_until_answering
from local.errors import StartFailed
from local.mails import mails_url
from local.places import ROOT, Places, read_port
from local.processes import Process
from local.samples import run_samples
from local.stack import bring_up


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Start everything, serve, stop everything; the exit code."""
    console = Console(highlight=False)
    if not console.is_terminal:
        # A table in a file or a pipe need not be folded.
        console.width = 160
    # A profile of the user's own, which may not even exist, has no business here.
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_PORT"]:
        del os.environ[name]
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _interrupt(stopping))
    try:
        places = Places(
            port=read_port(environ.get("PORT"), "PORT", 8000),
            aws_port=read_port(environ.get("AWS_PORT"), "AWS_PORT", 4566),
        )
        model = _model_folder(environ.get("MODEL"))
        with places.held(), ExitStack() as running:
            aws, api = aws_process(places), api_process(places, model=model)
            for process in (aws, api):
                process.stop_orphan()
                running.callback(process.stop)
            places.check_ports()
            samples = environ.get("SAMPLES") != "0"
            _start(places, aws, api, console, samples=samples, model=model)
            console.print(f"Mails: {mails_url(places)} (make mails: as pages)")
            console.print(f"Ready: {places.api_url}")
            _serve((aws, api), stopping)
    except KeyboardInterrupt:
        console.print("Stopped.")
    except (StartFailed, ModelError) as failure:
        return _failed(str(failure))
    except (ClientError, BotoCoreError, httpx.HTTPError) as error:
        return _failed(f"{type(error).__name__}: {error} (see {_shown(places)}/logs).")
    return 0


def _failed(text: str) -> int:
    Console(stderr=True, highlight=False, soft_wrap=True).print("Error:", text, markup=False)
    return 1


def _interrupt(stopping: threading.Event) -> None:
    # Only the first one counts: a second Ctrl-C must not break off the stopping.
    if not stopping.is_set():
        stopping.set()
        raise KeyboardInterrupt


def _model_folder(text: str | None) -> Path | None:
    """The folder that MODEL names, from where the user stands."""
    if not text:
        return None
    folder = Path(text).expanduser().resolve()
    if not folder.is_dir():
        raise StartFailed(f"MODEL must be the folder of a model package, and {text!r} is none.")
    return folder


def _start(
    places: Places,
    aws: Process,
    api: Process,
    console: Console,
    *,
    samples: bool,
    model: Path | None,
) -> None:
    if prepare_folder(places):
        console.print("The last run was killed before it could save its images; starting empty.")
    with _step(console, "Local AWS", f"{places.aws_url}, state in {_shown(places)}"):
        aws.start()
        wait_until_answering(
            f"{places.aws_url}/_ministack/ready", aws, accept=lambda status: status == 200
        )
    with _step(console, "Stack", "from the template of chalice package"):
        bring_up(places, model=model)
    with _step(console, "API", places.api_url):
        api.start()
        wait_until_answering(f"{places.api_url}/health", api, accept=lambda status: status == 200)
    if samples:
        run_samples(places.api_url, console)


def _serve(processes: tuple[Process, ...], stopping: threading.Event) -> None:
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
