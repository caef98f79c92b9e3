"""Run the model on what `preprocess` made, and publish what it says."""

from dataclasses import dataclass

import msgspec

from chalicelib import telemetry
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.object_store import ObjectStore
from chalicelib.clock import elapsed_ms, now_ms
from chalicelib.errors import ModelInputMismatch, ObjectMissing, Superseded
from chalicelib.images import (
    INPUT_UNUSABLE,
    Status,
    derived_prefixes,
    model_input_key,
    results_key,
)
from chalicelib.inference.classifier import Classifier
from chalicelib.messages import ImageMessage


@dataclass(frozen=True, kw_only=True)
class Infer:
    """The step from ``preprocessed`` to ``completed``."""

    images: ImageTable
    uploads: ObjectStore
    renditions: ObjectStore
    classifier: Classifier
    name: str = "infer"

    def __call__(self, message: ImageMessage) -> None:
        """Do the step for one image.

        Raises:
            Superseded: There is nothing to do any more.
            ModelError: The model cannot be used.
            ServiceUnavailable: AWS did not answer; the message has to come again.
        """
        try:
            self._classify(message)
        except Superseded as superseded:
            if superseded.gone:
                # Deleted meanwhile, perhaps during an earlier try that died before it noticed.
                for prefix in derived_prefixes(message.image_id):
                    self.renditions.delete_prefix(prefix)
            raise

    def _classify(self, message: ImageMessage) -> None:
        started_ms = now_ms()
        self.images.start(message, Status.INFERENCING, now_ms=started_ms)
        try:
            pixels = self.uploads.get(model_input_key(message.image_id, message.generation)).body
            run_from_ms = now_ms()
            prediction = self.classifier.predict(pixels)
        except (ObjectMissing, ModelInputMismatch) as error:
            # Made for another model, or removed since: only preprocessing can make it anew.
            telemetry.logger().info("infer: rejected: %s", error)
            self.images.fail(message, Status.INFERENCE_FAILED, INPUT_UNUSABLE, now_ms=now_ms())
            telemetry.count(self.name, ImagesRejected=1)
            return
        telemetry.count(self.name, InferenceTime=elapsed_ms(run_from_ms))
        # Objects first, then the row: who reads "completed" can read the document.
        key = results_key(message.image_id, message.generation)
        self.renditions.put(
            key,
            msgspec.json.encode(
                {
                    "image_id": message.image_id,
                    "model": {"name": prediction.model_name, "version": prediction.model_version},
                    "classes": prediction.classes,
                    "probabilities": prediction.probabilities,
                    "confidence": prediction.probabilities[0],
                }
            ),
            content_type="application/json",
        )
        took_ms = elapsed_ms(started_ms)
        self.images.finish(
            message,
            Status.COMPLETED,
            now_ms=now_ms(),
            timings_ms={"inferencing": took_ms},
            prediction=prediction,
            results_key=key,
        )
        telemetry.count(self.name, ProcessedImages=1, ProcessingTime=took_ms)
