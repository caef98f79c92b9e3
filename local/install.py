"""Install pinned packages with a line of progress: ``python local/install.py NAME.txt ...``.

Runs in a new virtual environment, so it uses nothing but the standard library.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(requirements: list[str]) -> int:
    """Install every requirements file under the pins of constraints.txt; the exit code."""
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command = [*pip, "--constraint", str(ROOT / "constraints.txt")]
    for name in requirements:
        command += ["--requirement", str(ROOT / name)]
    code, said = _run(command)
    if code == 0:
        # Its photos are wanted, not its code, and so none of what its code needs.
        code, said = _run([*pip, "--no-deps", "scikit-image==0.26.0"])
    if code == 0:
        # The command line, in place: .venv/bin/darkroom.
        code, said = _run([*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])
    if code != 0:
        errors = [line for line in said if line.startswith("ERROR")] or said[-3:]
        print("Error: the packages could not be installed:", *errors, sep="\n  ", file=sys.stderr)
    return code


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
