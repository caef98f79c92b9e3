"""How full the queues are, for alarms and for who looks."""

from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.aws.queues import Queue
from chalicelib.pipeline.check import Round


@dataclass(frozen=True, kw_only=True)
class QueueLevels:
    """Measures all queues, and those of their dead letters.

    A dead letter waits for moments: `bury` takes it in. One that stays says that `bury` fails.

    Args:
        queues: By the name that metrics have as their stage.
        dead_letters: The dead-letter queue of each, by the same names.
    """

    queues: Mapping[str, Queue]
    dead_letters: Mapping[str, Queue]

    def __call__(self, this: Round) -> None:
        """Measure each.

        Raises:
            ServiceUnavailable: SQS did not answer.
        """
        for name, queue in self.queues.items():
            depth = queue.level().waiting
            telemetry.count(name, QueueDepth=depth)
            if depth:
                this.count(f"waiting_{name}", depth)
        for name, queue in self.dead_letters.items():
            level = queue.level()
            telemetry.count(name, DeadLettersWaiting=level.waiting + level.in_flight)
            if level.waiting:
                this.count(f"dead_letters_{name}", level.waiting)
