"""One contender in a process of its own: a line of JSON for each job, a line for each result.

It says hello with its versions, then answers requests until its input ends:

    {"photo": path, "jobs": ["small", "full"], "effort": {...}, "keep": folder or null}
    {"cpu_ms": user and system, "bytes": {output: size}, "peak_bytes": above what it held before}
"""

import importlib
import json
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from benchmarks.imaging.jobs import Contender, Effort


def main(name: str) -> int:
    """Serve requests until standard input ends."""
    contender = cast("Contender", importlib.import_module(f"benchmarks.imaging.{name}"))
    # Whatever a library prints goes elsewhere than the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    hello = {"versions": contender.versions(), "png_settings": contender.PNG_SETTINGS}
    print(json.dumps(hello), file=answers, flush=True)
    for line in sys.stdin:
        try:
            answer = _done(contender, json.loads(line))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the next job comes
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
    return 0


def _done(contender: Contender, request: dict[str, Any]) -> dict[str, Any]:
    body = Path(request["photo"]).read_bytes()
    made: dict[str, bytes] = {}
    _forget_peak()
    held = _memory("VmRSS")
    started = _cpu_ms()
    if "small" in request["jobs"]:
        made.update(contender.small(body))
    if "full" in request["jobs"]:
        made.update(contender.full(body, Effort(**request["effort"])))
    cpu_ms = _cpu_ms() - started
    if request["keep"]:
        folder = Path(request["keep"])
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in made.items():
            (folder / name).write_bytes(data)
    return {
        "cpu_ms": cpu_ms,
        "bytes": {name: len(data) for name, data in made.items()},
        "peak_bytes": _memory("VmHWM") - held,
    }


def _cpu_ms() -> float:
    """Of all threads of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1000


def _forget_peak() -> None:
    """What imports took for a moment is not the job's; see proc_pid_clear_refs(5)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _memory(name: str) -> int:
    """Resident bytes: now (VmRSS), or at most since the job began (VmHWM)."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        # Elsewhere than on Linux only the most is told, which at the first job is as good.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
