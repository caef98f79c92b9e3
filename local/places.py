"""Where a local run keeps its things, and on which ports it speaks."""

import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local.errors import StartFailed

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Places:
    """The ports and folders of one run. ``root`` holds the folders of all runs.

    Everything is kept by the AWS port, so that runs side by side share nothing
    and a run that comes back finds its own.
    """

    port: int
    aws_port: int
    enforces_iam: bool = False
    # For ``chalice deploy``: see local/aws_with_imports.py.
    imports_apis: bool = False
    root: Path = ROOT / ".local"

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return f"http://{HOST}:{self.port}"

    @property
    def aws_url(self) -> str:
        """Where the local AWS answers."""
        return f"http://{HOST}:{self.aws_port}"

    @property
    def folder(self) -> Path:
        """Everything that this run leaves behind."""
        return self.root / str(self.aws_port)

    @property
    def decisions(self) -> Path:
        """What each role asked for, where IAM is enforced."""
        return self.folder / "decisions.jsonl"

    @property
    def logs(self) -> Path:
        """One file a process."""
        return self.folder / "logs"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder and keep other runs, and ``make clean``, out of it.

        Raises:
            StartFailed: Another run holds it.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StartFailed(
                    f"Another run uses the AWS port {self.aws_port}; stop it, "
                    "or choose another port with AWS_PORT."
                ) from None
            yield

    def check_ports(self) -> None:
        """Raise `StartFailed` for a port that is taken."""
        if self.port == self.aws_port:
            raise StartFailed(f"PORT and AWS_PORT are both {self.port}; they have to be two ports.")
        for variable, port in (("PORT", self.port), ("AWS_PORT", self.aws_port)):
            with socket.socket() as probe:
                # As servers bind: a port that was left a moment ago is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                except OSError as error:
                    raise StartFailed(
                        f"Port {port} cannot be used ({error.strerror}); "
                        f"stop what uses it, or choose another with {variable}."
                    ) from None


def read_port(environ_value: str | None, variable: str, default: int) -> int:
    """A port from the environment.

    Raises:
        StartFailed: It is no port.
    """
    text = (environ_value or "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise StartFailed(f"{variable} must be a port from 1 to 65535, not {text!r}.")
    return int(text)
