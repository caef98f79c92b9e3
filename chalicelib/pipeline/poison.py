"""Images that kill the process: for tests of the local stage, where the container alone builds it.

What an image can do to a process that no limit catches cannot be had from a file: whatever file is
known to do so is refused.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from chalicelib.aws.image_table import ImageTable
from chalicelib.errors import ImageNotFound
from chalicelib.messages import ImageMessage

FIELD = "poison"


def die() -> None:
    """As the kernel ends a process that took too much memory: without a word."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, kw_only=True)
class Poisonable:
    """A stage that dies of the images that ask for it.

    Args:
        stage: What works on all others.
        images: The rows.
        marker: What the metadata field `FIELD` of such an image has to be.
        die: How.
    """

    stage: Callable[[ImageMessage], None]
    images: ImageTable
    marker: str
    die: Callable[[], None] = die

    def __call__(self, message: ImageMessage) -> None:
        """Do the step for one image, or die of it. Raises what the stage raises."""
        # Read as the stage itself reads, which is what its function may do.
        with suppress(ImageNotFound):
            if self.images.get(message.image_id).metadata.get(FIELD) == self.marker:
                self.die()
        self.stage(message)
