"""The result document of an image, as it lies in the bucket."""

import msgspec

from chalicelib.aws.object_store import ObjectStore
from chalicelib.images import Prediction, results_key
from chalicelib.messages import ImageMessage


def store_results(
    store: ObjectStore, message: ImageMessage, prediction: Prediction, reference: str
) -> str:
    """Put what a model said of an image where it is read; its key.

    Args:
        store: Where results lie.
        message: Whose work this is.
        prediction: What the model said.
        reference: The model's, ``NAME@VERSION``.

    Raises:
        ServiceUnavailable: S3 does not answer as it should.
    """
    key = results_key(message.image_id, message.generation, reference)
    document = {
        "image_id": message.image_id,
        "model": {
            "name": prediction.model_name,
            "version": prediction.model_version,
            "sha256": prediction.model_sha256,
        },
        "classes": prediction.classes,
        "probabilities": prediction.probabilities,
        "confidence": prediction.probabilities[0],
    }
    store.put(key, msgspec.json.encode(document), content_type="application/json")
    return key
