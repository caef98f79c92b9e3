"""Contender: LitServe, as its documentation writes an image classifier."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import litserve
import numpy as np
from fastapi import Request

from benchmarks.inference.plain import MODEL, Floats, PlainModel


class OneByOne(litserve.LitAPI):
    """The default: a request, a run."""

    def setup(self, device: str) -> None:
        """Load the model, once a worker."""
        del device
        self._model = PlainModel(MODEL, reduced=bool(os.environ.get("BENCHMARK_REDUCED")))

    def decode_request(self, request: Request) -> Floats:
        """The tensor of the file in the form."""
        return self._model.tensor_of_file(request["image"].file.read())

    def predict(self, x: Floats) -> dict[str, Any]:
        """The answer to one photo."""
        (answer,) = self._model.classify([x])
        return answer

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """It is JSON data already."""
        return output


class InBatches(OneByOne):
    """The batching mode: what comes together runs together."""

    def batch(self, inputs: Sequence[Floats]) -> Floats:
        """One tensor of all."""
        return np.stack(inputs)

    def predict(self, x: Floats) -> Any:
        """The answers to all."""
        return self._model.answers(self._model.run(x))

    def unbatch(self, output: Any) -> Any:
        """They are a list already."""
        return output


def main(port: int, workers: int, batch: int) -> None:
    """Serve, with a process for each worker."""
    api = OneByOne() if batch == 1 else InBatches(max_batch_size=batch, batch_timeout=0.005)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, generate_client_file=False)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
