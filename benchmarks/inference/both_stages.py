"""Contender: `preprocess` and `infer` one after the other in one process, without HTTP and AWS."""

import json
import sys
from pathlib import Path

from benchmarks.inference.loop import Answers, Work, rounds_of, serve
from benchmarks.inference.stages import Stages


def work(originals: Path) -> Work:
    """On the photos of a folder, JPEG files."""
    stages = Stages()
    photos = {path.stem: path.read_bytes() for path in sorted(originals.iterdir())}
    some = rounds_of(list(photos.values()))

    def event(size: int) -> None:
        stages.classify(some(size))

    def answers() -> Answers:
        documents = stages.classify(list(photos.values()))
        return dict(zip(photos, map(json.loads, documents), strict=True))

    return Work(event=event, answers=answers)


if __name__ == "__main__":
    serve(lambda: work(Path(sys.argv[1])))
