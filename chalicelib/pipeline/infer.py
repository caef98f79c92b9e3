"""Run the model on what `preprocess` made, and publish what it says.

Messages are worked on together: what waits for AWS overlaps, and the model
runs once for all that it answers. One bad message never fails the others.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter

from chalicelib import messages, telemetry
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.object_store import ObjectStore
from chalicelib.aws.queues import Queue
from chalicelib.clock import elapsed_ms, now_ms
from chalicelib.errors import ModelError, ModelInputMismatch, ObjectMissing, Superseded
from chalicelib.images import (
    INPUT_UNUSABLE,
    Prediction,
    Status,
    derived_prefixes,
    model_input_key,
)
from chalicelib.inference.classifier import Classifier
from chalicelib.inference.package import ModelPackage
from chalicelib.messages import ImageMessage
from chalicelib.pipeline.models import Models
from chalicelib.pipeline.results import store_results
from chalicelib.pipeline.shadow import Shadow

# A call to AWS takes 5 ms and more. What comes back sooner is done before a thread wakes up.
_WORTH_A_THREAD_SECONDS = 0.001


@dataclass(frozen=True, kw_only=True)
class Begun:
    """An image whose step has begun. ``ppm`` is what the model is to see, None if it is gone."""

    message: ImageMessage
    package: ModelPackage
    started_ms: int
    ppm: bytes | None


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An image that the model has an answer for."""

    begun: Begun
    prediction: Prediction


@dataclass(frozen=True, kw_only=True)
class Infer:
    """The step from ``preprocessed`` to ``completed``.

    Args:
        lanes: How many images' calls to AWS overlap. A call waits for milliseconds, and the
            function is paid by the time that it takes.
    """

    images: ImageTable
    uploads: ObjectStore
    renditions: ObjectStore
    preprocessing_queue: Queue
    models: Models
    classifier_of: Callable[[ModelPackage], Classifier]
    shadow: Shadow
    lanes: int = 8
    name: str = "infer"

    def __call__(self, message: ImageMessage) -> None:
        """Do the step for one image.

        Raises:
            Superseded: There is nothing to do any more.
            ModelError: The model cannot be used.
            ServiceUnavailable: AWS did not answer; the message has to come again.
        """
        (error,) = self.together([message])
        if error is not None:
            raise error

    def together(self, batch: Sequence[ImageMessage]) -> list[Exception | None]:
        """Do the step for several images; what became of each, in their order.

        Raises:
            ModelError: The active model cannot be read.
            ServiceUnavailable: Which model is active cannot be told.
        """
        active = self.models.active()

        def begin(message: ImageMessage) -> Begun:
            return self._begin(message, active)

        begun = self._overlapping(begin, batch)
        outcomes: list[Exception | None] = [
            entry if isinstance(entry, Exception) else None for entry in begun
        ]
        answers = self._answers(
            {place: entry for place, entry in enumerate(begun) if isinstance(entry, Begun)}
        )
        settled = self._overlapping(self._settle, list(answers.values()))
        for place, entry in zip(answers, settled, strict=True):
            outcomes[place] = entry if isinstance(entry, Exception) else None
        took_ms = [entry for entry in settled if isinstance(entry, int)]
        if took_ms:
            telemetry.count(
                self.name,
                # A sum is all that is asked of it, and powertools takes 4 µs for each value.
                ProcessedImages=len(took_ms),
                ProcessingTime=took_ms,
            )
        self.shadow(
            (answer.begun.message, answer.prediction)
            for place, answer in answers.items()
            if isinstance(answer, Answered) and outcomes[place] is None
        )
        return outcomes

    def _begin(self, message: ImageMessage, active: ModelPackage) -> Begun:
        started_ms = now_ms()
        with self._cleaning(message):
            self.images.start(message, Status.INFERENCING, now_ms=started_ms)
        package = active if message.model is None else self.models.find(message.model)
        recipe = package.description.input_shape().fingerprint
        key = model_input_key(message.image_id, message.generation, recipe)
        try:
            ppm: bytes | None = self.uploads.get(key).body
        except ObjectMissing:
            ppm = None
        return Begun(message=message, package=package, started_ms=started_ms, ppm=ppm)

    def _answers(self, begun: dict[int, Begun]) -> dict[int, Answered | Begun | Exception]:
        """What each image's model says; an image without a usable input stays as it is."""
        answers: dict[int, Answered | Begun | Exception] = dict(begun)
        references = {entry.package.description.reference for entry in begun.values()}
        for reference in sorted(references):
            places = [p for p in begun if begun[p].package.description.reference == reference]
            try:
                answers |= self._run({place: begun[place] for place in places})
            except ModelError as error:
                answers |= dict.fromkeys(places, error)
        return answers

    def _run(self, begun: dict[int, Begun]) -> dict[int, Answered]:
        """The answers of one model.

        Raises:
            ModelError: It cannot be used.
        """
        classifier = self.classifier_of(next(iter(begun.values())).package)
        usable: dict[int, bytes] = {}
        for place, entry in begun.items():
            if entry.ppm is None:
                continue
            try:
                classifier.check(entry.ppm)
            except ModelInputMismatch as error:
                telemetry.logger().info(
                    "infer: rejected: %s", error, image_id=entry.message.image_id
                )
                continue
            usable[place] = entry.ppm
        if not usable:
            return {}
        run_from_ms = now_ms()
        predictions = classifier.predict_batch(list(usable.values()))
        telemetry.count(self.name, InferenceTime=elapsed_ms(run_from_ms) / len(usable))
        return {
            place: Answered(begun=begun[place], prediction=prediction)
            for place, prediction in zip(usable, predictions, strict=True)
        }

    def _settle(self, answer: Answered | Begun | Exception) -> int | None:
        """Publish an answer; the milliseconds that the image took, None where it has none."""
        match answer:
            case Exception():
                raise answer
            case Begun():
                with self._cleaning(answer.message):
                    self._have_remade(answer)
                return None
            case Answered():
                with self._cleaning(answer.begun.message):
                    return self._publish(answer.begun, answer.prediction)

    def _have_remade(self, begun: Begun) -> None:
        """Send an image back for what this model wants to see: the model was changed since it
        was prepared, or what was prepared is gone. Once; the status stays where it is.
        """
        message = begun.message
        if message.remade:
            self.images.fail(message, Status.INFERENCE_FAILED, INPUT_UNUSABLE, now_ms=now_ms())
            telemetry.count(self.name, ImagesRejected=1)
            return
        # It names the model: the other step may still believe in another one.
        reference = begun.package.description.reference
        again = replace(message, model=reference, remade=True, queued_at_ms=now_ms())
        self.preprocessing_queue.send(messages.encode(again))
        telemetry.count(self.name, ModelInputsRemade=1)

    def _publish(self, begun: Begun, prediction: Prediction) -> int:
        """Objects first, then the row: who reads "completed" can read the document."""
        message = begun.message
        reference = begun.package.description.reference
        key = store_results(self.renditions, message, prediction, reference)
        took_ms = elapsed_ms(begun.started_ms)
        self.images.finish(
            message,
            Status.COMPLETED,
            now_ms=now_ms(),
            timings_ms={"inferencing": took_ms},
            prediction=prediction,
            results_key=key,
        )
        return took_ms

    @contextmanager
    def _cleaning(self, message: ImageMessage) -> Iterator[None]:
        """Remove what was made of an image that is found deleted, perhaps by an earlier try that
        died before it noticed.
        """
        try:
            yield
        except Superseded as superseded:
            if superseded.gone:
                for prefix in derived_prefixes(message.image_id):
                    self.renditions.delete_prefix(prefix)
            raise

    def _overlapping[T, R](
        self, step: Callable[[T], R], entries: Sequence[T]
    ) -> list[R | Exception]:
        """A step for each entry, several at a time: what it returns or raises."""
        outcomes: dict[int, R | Exception] = {}
        waiting = deque(enumerate(entries))
        name = step.__name__
        started = perf_counter()

        def work() -> None:
            while True:
                try:
                    place, entry = waiting.popleft()
                except IndexError:
                    return
                try:
                    outcomes[place] = step(entry)
                # The batch loop's part of this stage: one image's fault is its own.
                except Exception as error:  # noqa: BLE001
                    outcomes[place] = error

        lanes = min(self.lanes, len(entries))
        if self._seconds.get(name, _WORTH_A_THREAD_SECONDS) < _WORTH_A_THREAD_SECONDS:
            lanes = 1
        # This thread works too, and a task is a thread's, not an entry's: handing 8 entries over
        # one by one cost 0.06 ms each, a twentieth of a prediction.
        helpers = [self._pool.submit(work) for _ in range(lanes - 1)]
        work()
        for helper in helpers:
            # One that has not begun finds nothing left to do.
            if not helper.cancel():
                helper.result()
        if entries:
            self._seconds[name] = (perf_counter() - started) * lanes / len(entries)
        return [outcomes[place] for place in range(len(entries))]

    @cached_property
    def _seconds(self) -> dict[str, float]:
        """How long an entry of each step took last time."""
        return {}

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        """Kept, for making threads costs as much as it saves. boto3's clients may be shared by
        threads; of a table resource only the client behind it is used.
        """
        return ThreadPoolExecutor(max_workers=max(self.lanes - 1, 1), thread_name_prefix=self.name)
