"""What the options of a session cost: ``python -m benchmarks.session_options MODEL_FOLDER``.

Loads one model under each set of options and runs it at several batch sizes, interleaved, so that a
noisy machine disturbs all alike. Milliseconds an image: the least of all rounds, and in brackets
the median of the processor's time.

The choice that came of it stands in `chalicelib/inference/graph.py`.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.table import Table

from chalicelib.inference.graph import load, tensor_of
from chalicelib.inference.package import ModelPackage

_LEVEL = ort.GraphOptimizationLevel
BATCHES = (1, 2, 4, 8, 16)


def session(
    body: bytes,
    *,
    threads: int = 1,
    level: ort.GraphOptimizationLevel = _LEVEL.ORT_ENABLE_ALL,
    arena: bool = True,
    pattern: bool = True,
    saved_to: str = "",
) -> ort.InferenceSession:
    """A session under these options; with ``saved_to`` the optimised graph is kept."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = level
    options.enable_cpu_mem_arena = arena
    options.enable_mem_pattern = pattern
    options.log_severity_level = 3
    if saved_to:
        options.optimized_model_filepath = saved_to
    return ort.InferenceSession(body, options, providers=["CPUExecutionProvider"])


def candidates(body: bytes) -> Mapping[str, Callable[[], ort.InferenceSession]]:
    """What is compared. Saved offline is what does not depend on the processor alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "extended.onnx"
        session(body, level=_LEVEL.ORT_ENABLE_EXTENDED, saved_to=str(path))
        extended = path.read_bytes()
    return {
        "chosen: all optimisations": partial(session, body),
        "extended optimisations": partial(session, body, level=_LEVEL.ORT_ENABLE_EXTENDED),
        "basic optimisations": partial(session, body, level=_LEVEL.ORT_ENABLE_BASIC),
        "saved extended, all at load": partial(session, extended),
        "saved extended, none at load": partial(session, extended, level=_LEVEL.ORT_DISABLE_ALL),
        "without the arena": partial(session, body, arena=False),
        "without memory patterns": partial(session, body, pattern=False),
        "two threads": partial(session, body, threads=2),
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("vendor/darkroom_model"))
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    package = ModelPackage.load(arguments.folder)
    graph = load(package, threads=1)
    shape = graph.description.input_shape()
    made = candidates(package.graph())
    created = {name: min(_seconds(make) for _ in range(7)) for name, make in made.items()}
    sessions = {name: make() for name, make in made.items()}
    sizes = [size for size in BATCHES if not graph.fixed or size == graph.batch]
    pixels = np.random.default_rng(0).integers(
        0, 256, (max(sizes), shape.height, shape.width, 3), np.uint8
    )
    images = tensor_of(pixels, graph)
    columns = [f"batch {size}" for size in sizes]
    table = Table("options", "load, ms", *columns, box=None, pad_edge=False)
    spent: dict[str, dict[int, list[tuple[float, float]]]] = {name: {} for name in sessions}
    for size in sizes:
        feed = {graph.description.input.name: images[:size]}
        for _ in range(max(arguments.rounds // size, 12)):
            for name, one in sessions.items():
                wall, processor = time.perf_counter(), time.process_time()
                one.run(None, feed)
                taken = time.perf_counter() - wall, time.process_time() - processor
                spent[name].setdefault(size, []).append(taken)
    for name in sessions:
        cells = [
            f"{min(wall for wall, _ in spent[name][size]) * 1000 / size:.2f}"
            f" ({statistics.median(cpu for _, cpu in spent[name][size]) * 1000 / size:.2f} cpu)"
            for size in sizes
        ]
        table.add_row(name, f"{created[name] * 1000:.1f}", *cells)
    console = Console(width=130, highlight=False)
    console.print(f"{package.description.reference}, onnxruntime {ort.__version__}")
    console.print(table)
    return 0


def _seconds(make: Callable[[], ort.InferenceSession]) -> float:
    started = time.perf_counter()
    make()
    return time.perf_counter() - started


if __name__ == "__main__":
    raise SystemExit(main())
