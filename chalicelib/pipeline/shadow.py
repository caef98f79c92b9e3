"""A second model that answers beside the active one: logged and counted, never shown."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.aws.object_store import ObjectStore
from chalicelib.images import Prediction, model_input_key
from chalicelib.inference.classifier import Classifier
from chalicelib.inference.package import ModelPackage
from chalicelib.messages import ImageMessage
from chalicelib.pipeline.models import Models


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """Compares the shadow model with the answers that were published."""

    uploads: ObjectStore
    models: Models
    classifier_of: Callable[[ModelPackage], Classifier]
    name: str = "shadow"

    def __call__(self, answers: Iterable[tuple[ImageMessage, Prediction]]) -> None:
        """Compare, for the images that fall into the shadow's share. Raises nothing."""
        for message, shown in answers:
            # An image that was asked of one model in particular says nothing about the active.
            if message.model is not None:
                continue
            # Whatever goes wrong here must not reach images that are completed.
            try:
                self._compare(message, shown)
            except Exception as error:  # noqa: BLE001
                telemetry.logger().warning(
                    "shadow: no answer: %s", error, image_id=message.image_id
                )
                telemetry.count(self.name, ShadowFailures=1)

    def _compare(self, message: ImageMessage, shown: Prediction) -> None:
        package = self.models.shadow(message.image_id)
        if package is None:
            return
        recipe = package.description.input_shape().fingerprint
        key = model_input_key(message.image_id, message.generation, recipe)
        said = self.classifier_of(package).predict(self.uploads.get(key).body)
        agreed = said.classes[0].casefold() == shown.classes[0].casefold()
        telemetry.logger().info(
            "shadow: %s",
            "agreed" if agreed else "disagreed",
            image_id=message.image_id,
            active={
                "model": f"{shown.model_name}@{shown.model_version}",
                "prediction": shown.classes[0],
                "confidence": shown.probabilities[0],
            },
            shadow={
                "model": package.description.reference,
                "prediction": said.classes[0],
                "confidence": said.probabilities[0],
            },
        )
        if agreed:
            telemetry.count(self.name, ShadowAgreement=1)
        else:
            telemetry.count(self.name, ShadowDisagreement=1)
