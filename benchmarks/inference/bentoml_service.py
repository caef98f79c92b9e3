"""Contender: BentoML, as its documentation writes an image classifier."""

import os
from typing import Any

import bentoml
from PIL.Image import Image

from benchmarks.inference.plain import MODEL, PlainModel

_WORKERS = int(os.environ.get("BENCHMARK_WORKERS", "1"))
_BATCH = int(os.environ.get("BENCHMARK_BATCH", "1"))


def _model() -> PlainModel:
    return PlainModel(MODEL, reduced=bool(os.environ.get("BENCHMARK_REDUCED")))


@bentoml.service(workers=_WORKERS)
class OneByOne:
    """The default: a request, a run."""

    def __init__(self) -> None:
        self._model = _model()

    @bentoml.api
    def predict(self, image: Image) -> dict[str, Any]:
        """The answer to one photo."""
        (answer,) = self._model.classify([self._model.tensor(image)])
        return answer


@bentoml.service(workers=_WORKERS)
class InBatches:
    """The batching mode: what comes together runs together."""

    def __init__(self) -> None:
        self._model = _model()

    @bentoml.api(batchable=True, max_batch_size=_BATCH)
    def predict(self, image: list[Image]) -> list[dict[str, Any]]:
        """The answers to all."""
        return self._model.classify([self._model.tensor(one) for one in image])
