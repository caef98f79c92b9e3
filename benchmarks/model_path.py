"""What one image costs on its way to a prediction: ``make bench``.

CPU time (user and system) of this process, one thread, medians of interleaved rounds, so that a
noisy machine disturbs both sides alike. The naive side does what most pipelines of this kind do:
decode the file whole, scale it with LANCZOS. Both sides make a model input of the same size.

Prints the table that docs/benchmarks.md keeps. Photos: ``--photos FOLDER``, or else a sample photo
enlarged to 2 and 12 megapixels.
"""

import argparse
import io
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image as Pillow
from PIL import ImageOps
from rich.console import Console
from rich.progress import track
from rich.table import Table

from chalicelib.imaging.decode import Decoder
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.render import model_input, to_ppm
from chalicelib.inference.classifier import Classifier
from chalicelib.inference.package import ModelPackage
from local.samples import sample_photos

_PACKAGE = ModelPackage.installed("darkroom_model")
_SHAPE = _PACKAGE.description.input_shape()
_LIMITS = Limits(max_bytes=2**30, max_pixels=64_000_000, max_side=30_000)


def ours(body: bytes) -> bytes:
    """What `preprocess` does between fetching a file and putting the model input."""
    decoder = Decoder(_LIMITS)
    header = decoder.header(body)
    size = header.scaled(_SHAPE.picture_scale(header.width, header.height))
    return to_ppm(model_input(decoder.picture(body, size=size), _SHAPE))


def naive(body: bytes) -> bytes:
    """The same result by the straight way."""
    picture = ImageOps.exif_transpose(Pillow.open(io.BytesIO(body))).convert("RGB")
    fitted = ImageOps.fit(picture, (_SHAPE.width, _SHAPE.height), Pillow.Resampling.LANCZOS)
    return to_ppm(fitted)


def measured(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median CPU milliseconds of each side, interleaved."""
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for work in sides.values():
        work()
    for _ in range(rounds):
        for name, work in sides.items():
            started = time.process_time()
            work()
            spent[name].append((time.process_time() - started) * 1000)
    return {name: statistics.median(values) for name, values in spent.items()}


def made_photos() -> dict[str, bytes]:
    """A real photo enlarged to the sizes that cameras make."""
    photo = Pillow.open(sample_photos()[0]).convert("RGB")
    made: dict[str, bytes] = {}
    for label, size in {"2 MP": (1600, 1200), "12 MP": (4000, 3000)}.items():
        enlarged = photo.resize(size, Pillow.Resampling.BICUBIC)
        for kind in ("JPEG", "PNG"):
            buffer = io.BytesIO()
            enlarged.save(buffer, kind, **({"quality": 90} if kind == "JPEG" else {}))
            made[f"{label} {kind}"] = buffer.getvalue()
    return made


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="a folder of photos instead of made ones")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    photos = (
        {path.name: path.read_bytes() for path in sorted(arguments.photos.iterdir())}
        if arguments.photos
        else made_photos()
    )
    table = Table("photo", "naive, ms", "preprocess, ms", "ratio", box=None, pad_edge=False)
    for name, body in track(photos.items(), description="Measuring", transient=True):
        cost = measured(
            {"naive": partial(naive, body), "ours": partial(ours, body)},
            arguments.rounds,
        )
        ratio = cost["naive"] / cost["ours"]
        table.add_row(name, f"{cost['naive']:.1f}", f"{cost['ours']:.1f}", f"{ratio:.1f}x")
    console = Console(width=110, highlight=False)
    console.print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}, "
        f"Pillow {version('pillow')}, onnxruntime {version('onnxruntime')}; CPU time, one thread"
    )
    console.print(table)
    console.print(inference_line(ours(next(iter(photos.values()))), arguments.rounds * 10))
    return 0


def inference_line(ppm: bytes, rounds: int) -> str:
    """A prediction against the bare run of the session that it contains."""
    classifier = Classifier(package=_PACKAGE, threads=1)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(_PACKAGE.graph(), options, providers=["CPUExecutionProvider"])
    tensor = np.zeros((1, 3, _SHAPE.height, _SHAPE.width), np.float32)
    cost = measured(
        {
            "ours": lambda: classifier.predict(ppm),
            "bare": lambda: session.run(None, {session.get_inputs()[0].name: tensor}),
        },
        rounds,
    )
    return (
        f"prediction {cost['ours']:.2f} ms, of which session.run {cost['bare']:.2f} ms "
        f"({cost['ours'] / cost['bare']:.2f}x)"
    )


if __name__ == "__main__":
    sys.exit(main())
