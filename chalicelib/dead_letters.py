"""The letters that `bury` archived: what they say, and the way back of each (docs/adr/0001)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from chalicelib import messages
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.object_store import ObjectStore
from chalicelib.aws.queues import Queue
from chalicelib.errors import (
    ImageNotFound,
    MessageRejected,
    NotRetryable,
    ObjectMissing,
)
from chalicelib.images import ConversionStatus, Failure, Image
from chalicelib.messages import LETTERS_PREFIX, ImageMessage, dead_letter_key
from chalicelib.retry import Retry

# Where letters come from, by the names that people use: those of the queues, and of the streams.
# Each with its step, which is its folder in the archive, its alarm and its metric.
STEPS: Mapping[str, str] = {
    "ingest": "ingest",
    "preprocessing": "preprocess",
    "inference": "infer",
    "conversion": "optimise",
    "notification": "mail",
    "mail-feedback": "feedback",
    "image-stream": "announce",
    "parcel-stream": "notify",
}
_QUEUES = {step: queue for queue, step in STEPS.items()}
# What a handler raises of an event that it cannot take in.
_UNREADABLE = (
    ExceptionGroup,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
)
_OF_IMAGES = frozenset({"preprocess", "infer", "optimise"})


class Outcome(StrEnum):
    """What became of a letter that was to be sent back."""

    SENT = "sent back"
    SETTLED = "nothing left to do, removed"
    UNDER_WAY = "still on its way, kept"
    UNREADABLE = "nobody can read it, kept"
    FAILED = "failed again, kept"


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A dead letter in the archive.

    Attributes:
        key: Where it lies.
        step: What could not be done with it.
        message_id: The id that its source gave it.
        body: As it was: text of a queue, a record of a stream.
        buried_at_ms: Milliseconds since the Unix epoch.
        image_id: Which image it is about.
        tracking_id: Which parcel.
        reason: Of its last try.
    """

    key: str
    step: str
    message_id: str
    body: Any
    buried_at_ms: int
    image_id: str | None = None
    tracking_id: str | None = None
    reason: Failure | None = None

    @property
    def queue(self) -> str:
        """Where it comes from, one of `STEPS`' names; its step, if nobody knows that step."""
        return _QUEUES.get(self.step, self.step)

    @property
    def about(self) -> str | None:
        """The image or the parcel, if it says so."""
        return self.image_id or self.tracking_id


@dataclass(frozen=True, kw_only=True)
class DeadLetters:
    """Lists letters and sends them back, each once.

    A letter is removed from the archive after it was sent. Whoever is stopped in between sends it
    twice, which nobody notices: an image is taken up by a new attempt, and only from the attempt
    that the letter is of; an e-mail is claimed by one of its messages.

    Args:
        archive: The bucket.
        images: The rows.
        retries: Takes up what failed.
        queues: By the steps whose messages go back as they are.
        handlers: By the steps that have no queue: what takes an event in, and again without harm.
    """

    archive: ObjectStore
    images: ImageTable
    retries: Retry
    queues: Mapping[str, Queue]
    handlers: Mapping[str, Callable[[Any], None]]

    def all_of(self, step: str | None = None, *, after: str | None = None) -> Iterator[Letter]:
        """The letters of a step, or of all, in the order of their keys.

        Args:
            step: One of `STEPS`' values; None for all.
            after: Only those behind this key.

        Raises:
            ServiceUnavailable: S3 does not answer as it should.
        """
        prefix = LETTERS_PREFIX if step is None else f"{LETTERS_PREFIX}{step}/"
        for key in self.archive.keys(prefix, after=after):
            letter = self._read(key)
            # Else sent back by somebody else since it was listed.
            if letter is not None:
                yield letter

    def find(self, step: str, message_id: str) -> Letter | None:
        """One letter, None where there is none (any more).

        Raises:
            ServiceUnavailable: S3 does not answer as it should.
        """
        return self._read(dead_letter_key(step, message_id))

    def _read(self, key: str) -> Letter | None:
        try:
            body = self.archive.get(key).body
        except ObjectMissing:
            return None
        # Where it lies says more than what it says of itself.
        step, _, name = key.removeprefix(LETTERS_PREFIX).partition("/")
        try:
            said = msgspec.json.decode(body)
            return msgspec.convert({**said, "key": key, "step": step}, Letter)
        except (msgspec.MsgspecError, TypeError):
            message_id = name.removesuffix(".json")
            return Letter(key=key, step=step, message_id=message_id, body=None, buried_at_ms=0)

    def send_back(self, letter: Letter) -> Outcome:
        """Have one letter worked on again.

        Raises:
            ServiceUnavailable: AWS does not answer as it should; it may be asked again.
        """
        try:
            outcome = self._sent(letter)
        except MessageRejected:
            return Outcome.UNREADABLE
        if outcome in {Outcome.SENT, Outcome.SETTLED}:
            self.archive.delete(letter.key)
        return outcome

    def _sent(self, letter: Letter) -> Outcome:
        if letter.step in self.handlers:
            return self._handled(letter)
        if letter.step not in self.queues or not isinstance(letter.body, str):
            raise MessageRejected("The letter could not be read.")
        if letter.step not in _OF_IMAGES:
            messages.decode_notification(letter.body)
            self.queues[letter.step].send(letter.body)
            return Outcome.SENT
        message = messages.decode(letter.body)
        if message.renditions:
            # A back-fill belongs to no attempt, and makes what is missing.
            self.queues[letter.step].send(letter.body)
            return Outcome.SENT
        return self._taken_up(message, letter.step)

    def _handled(self, letter: Letter) -> Outcome:
        # Whatever is in a letter that was given up, it must not stop the others.
        try:
            self.handlers[letter.step](letter.body)
        except _UNREADABLE:
            return Outcome.FAILED
        return Outcome.SENT

    def _taken_up(self, message: ImageMessage, step: str) -> Outcome:
        try:
            image = self.images.get(message.image_id)
            if (image.generation, image.attempt) != (message.generation, message.attempt):
                # Taken up since, by a retry or by this letter: what failed later has its own.
                return Outcome.SETTLED
            if not is_failed(image, step):
                return Outcome.UNDER_WAY if is_open(image, step) else Outcome.SETTLED
            self.retries(image, model=image.model if image.status.failed else None)
        except NotRetryable:
            return Outcome.UNDER_WAY
        except ImageNotFound:
            return Outcome.SETTLED
        return Outcome.SENT


def is_failed(image: Image, step: str) -> bool:
    """Whether what a step does for an image has failed."""
    if step == "optimise":
        return image.conversion_status is ConversionStatus.FAILED
    return image.status.failed


def is_open(image: Image, step: str) -> bool:
    """Whether what a step does for an image has neither failed nor come to its end."""
    if step == "optimise":
        return image.conversion_status is ConversionStatus.PENDING
    return not image.status.final
