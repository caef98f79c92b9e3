"""Fuzz the decoder: ``python -m tests.fuzz.run [--seconds 600] [--own-seeds]``, in `.venv-fuzz`.

Coverage is that of our code and of Pillow's Python; its C libraries are not instrumented. A finding
is written to ``build/fuzz/findings``, and ends the run.
"""

import argparse
import struct
import sys
import zlib
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["chalicelib", "PIL"]):
    from PIL import Image as Pillow

    from tests.fuzz import target

    # Pillow imports a format's module when it first opens such a file: too late to be seen.
    Pillow.init()
from tests.fuzz.seeds import seeds

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = ROOT / "build" / "fuzz"
SHARED = ROOT.parent / "shared" / "corpus" / "files"
MAX_BYTES = 8_192
_PNG = b"\x89PNG\r\n\x1a\n"


def mutated(data: bytes, max_bytes: int, seed: int) -> bytes:
    """A change of libFuzzer's, with a PNG's checksums made right again: else none gets past them."""
    del seed
    changed: bytes = atheris.Mutate(data, max_bytes)
    return with_checksums(changed) if changed.startswith(_PNG) else changed


def with_checksums(png: bytes) -> bytes:
    """The chunks of a PNG as they are, each with the checksum of its content."""
    body, at = bytearray(png), len(_PNG)
    while at + 12 <= len(body):
        (length,) = struct.unpack_from(">I", body, at)
        end = at + 8 + length
        if end + 4 > len(body):
            break
        struct.pack_into(">I", body, end, zlib.crc32(body[at + 4 : end]))
        at = end + 4
    return bytes(body)


def look(body: bytes) -> None:
    """One file."""
    target.taken(body)


def start_from(folder: Path, *, shared: bool) -> None:
    """Lay out the files that the run begins with."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in seeds().items():
        if len(body) <= MAX_BYTES:
            (folder / f"seed-{name}").write_bytes(body)
    if shared and SHARED.is_dir():
        for path in sorted(SHARED.iterdir()):
            if path.stat().st_size <= MAX_BYTES:
                (folder / f"shared-{path.name}").write_bytes(path.read_bytes())


def main() -> None:
    """The command line; what follows ``--`` goes to libFuzzer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--own-seeds", action="store_true", help="without the shared test data")
    parser.add_argument("libfuzzer", nargs="*", help="options such as -runs=1, or files to run")
    arguments = parser.parse_args()
    corpus = WORK / ("own" if arguments.own_seeds else "all")
    findings = WORK / "findings"
    findings.mkdir(parents=True, exist_ok=True)
    start_from(corpus, shared=not arguments.own_seeds)
    options = [
        *(f"-max_total_time={arguments.seconds}", f"-max_len={MAX_BYTES}", "-timeout=60"),
        *("-rss_limit_mb=3000", "-print_final_stats=1", f"-artifact_prefix={findings}/"),
    ]
    atheris.Setup(
        [sys.argv[0], *options, *(arguments.libfuzzer or [str(corpus)])],
        look,
        custom_mutator=mutated,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
