"""Install what a lock names, with a line of progress: ``python local/install.py NAME.lock``.

Nothing is installed whose hash is not in the lock, and nothing is built from source: what a build
would fetch has no hash. Runs in a new virtual environment, so it uses nothing but the standard
library.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_PHOTOS = ROOT / "local" / "photos.lock"
_PIP = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input")


def main(locks: list[str]) -> int:
    """Install the locks, the samples, and this checkout in place; the exit code."""
    commands = [locked(ROOT / name) for name in locks]
    commands.append([*locked(_PHOTOS), "--no-deps"])
    # The command line, in place: .venv/bin/darkroom.
    commands.append([*_PIP, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])
    for command in commands:
        code, said = _run(command)
        if code != 0:
            errors = [line for line in said if line.startswith("ERROR")] or said[-3:]
            print(
                "Error: the packages could not be installed:", *errors, sep="\n  ", file=sys.stderr
            )
            return code
    return 0


def locked(lock: Path) -> list[str]:
    """How a lock is installed."""
    return [*_PIP, "--require-hashes", "--only-binary", ":all:", "--requirement", str(lock)]


def _run(command: list[str]) -> tuple[int, list[str]]:
    said: list[str] = []
    seen = 0
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            said.append(line.rstrip())
            if line.startswith("Collecting"):
                seen += 1
                _show(f"Installing: {seen} packages found")
            elif line.startswith("Installing collected"):
                _show(f"Installing: writing {seen} packages")
    if sys.stdout.isatty():
        sys.stdout.write("\r\033[K")
    return process.returncode, said


def _show(text: str) -> None:
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\033[K{text}")
    elif text.startswith("Installing: writing") or text.split()[1].endswith("0"):
        sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
