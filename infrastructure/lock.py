"""Write down every package with its hashes: ``python -m infrastructure.lock UV [--upgrade]``.

A requirements file names what we ask for; the lock beside it all that is installed for it, in the
one version that was tested, with the hashes of its wheels for every platform and Python 3.12 to
3.14. What is installed is installed from locks alone.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What the others agree with, where they hold the same packages.
_LEADING = "requirements-dev.lock"
_INDEX = "https://pypi.org/simple"


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A lock.

    Attributes:
        source: The requirements file, from the project's root.
        agrees: Whether its versions are those of `make test`, too.
        whole: Whether what the packages need is locked with them.
    """

    source: str
    agrees: bool = True
    whole: bool = True

    @property
    def target(self) -> str:
        """The lock, from the project's root."""
        return str(Path(self.source).with_suffix(".lock"))


# The leading one first. Left out is what nothing is built or tested with: what benchmarks compare
# us with, and training, whose PyTorch comes from wherever there is a build for CPUs.
LOCKS: Sequence[Lock] = (
    Lock(source="requirements-dev.txt"),
    Lock(source="requirements.txt"),
    Lock(source="local/requirements.txt"),
    Lock(source="local/photos.txt", agrees=False, whole=False),
    Lock(source="tests/fuzz/requirements.txt"),
    Lock(source="infrastructure/requirements.txt", agrees=False),
    Lock(source="infrastructure/supply.txt", agrees=False),
    Lock(source="infrastructure/aws.txt", agrees=False),
    Lock(source="benchmarks/cold_start/runtime.txt"),
)


def command(uv: Path, lock: Lock, *, upgrade: bool) -> list[str]:
    """How a lock is written: as it is, where it still fits, unless it is to be upgraded."""
    return [
        *(str(uv), "pip", "compile", lock.source, "--output-file", lock.target),
        *("--quiet", "--no-config", "--default-index", _INDEX, "--generate-hashes"),
        *("--universal", "--python-version", "3.12", "--only-binary", ":all:"),
        *("--no-annotate", "--custom-compile-command", "make lock"),
        *(() if lock.whole else ("--no-deps",)),
        *(("--constraint", _LEADING) if lock.agrees and lock.target != _LEADING else ()),
        *(("--upgrade",) if upgrade else ()),
    ]


def main() -> int:
    """The command line; exit code 1 where a lock could not be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("uv", type=Path)
    parser.add_argument("--upgrade", action="store_true", help="to the newest that fit")
    arguments = parser.parse_args()
    # Wheels that lie on this machine have hashes that nobody else's have.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    for lock in LOCKS:
        finished = subprocess.run(
            command(arguments.uv, lock, upgrade=arguments.upgrade),
            cwd=ROOT,
            env=environ,
            check=False,
        )
        if finished.returncode != 0:
            print(f"Error: {lock.target} could not be written.", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
