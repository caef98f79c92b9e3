"""Contender: the session alone, on tensors that are ready. Nothing can be quicker than this."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from benchmarks.inference.loop import Answers, Work, rounds_of, serve
from benchmarks.inference.plain import MODEL, Floats, PlainModel, session_of


def work(prepared: Path) -> Work:
    """On the model inputs of a folder, PPM files."""
    plain = PlainModel(MODEL)
    tensors = {
        path.stem: plain.normalised(np.asarray(Pillow.open(path)))
        for path in sorted(prepared.iterdir())
    }
    session = session_of(MODEL / "model.onnx")
    name, output = session.get_inputs()[0].name, session.get_outputs()[0].name
    some = rounds_of(list(tensors.values()))
    batches: dict[int, Floats] = {}

    def event(size: int) -> None:
        if size not in batches:
            batches.clear()
            batches[size] = np.stack(some(size))
        session.run([output], {name: batches[size]})

    def answers() -> Answers:
        return dict(zip(tensors, plain.classify(list(tensors.values())), strict=True))

    return Work(event=event, answers=answers)


if __name__ == "__main__":
    serve(lambda: work(Path(sys.argv[1])))
