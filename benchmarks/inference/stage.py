"""Contender: our infer stage, from an SQS event to result documents, without the AWS calls."""

import sys
from pathlib import Path

from benchmarks.inference.loop import Answers, Work, rounds_of, serve
from benchmarks.inference.stages import Stages
from chalicelib import messages
from infrastructure.trigger_events import sqs_event


def work(originals: Path) -> Work:
    """On messages about the photos of a folder, which were prepared before."""
    stages = Stages()
    uploads = {path.stem: stages.upload(path.read_bytes()) for path in sorted(originals.iterdir())}
    sent = stages.prepare([messages.encode(message) for message in uploads.values()])
    some = rounds_of(sent)

    def event(size: int) -> None:
        stages.infer(sqs_event(*some(size)))

    def answers() -> Answers:
        stages.infer(sqs_event(*sent))
        return {name: stages.answer(message) for name, message in uploads.items()}

    return Work(event=event, answers=answers)


if __name__ == "__main__":
    serve(lambda: work(Path(sys.argv[1])))
