"""Structured logs and metrics: one JSON line each, nothing else on the output.

Metrics are written in CloudWatch's embedded metric format, so they cost no call.
Every metric is registered in `METRICS`; one that is not raises at once.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

NAMESPACE = "Darkroom"

METRICS: Mapping[str, tuple[str, str]] = {
    "UploadAccepted": ("Count", "Uploads that were accepted and queued."),
    "ProcessedImages": ("Count", "Images that a stage finished."),
    "ProcessingTime": ("Milliseconds", "Time a stage took for one image."),
    "TotalBytesProcessed": ("Bytes", "Size of the originals that were read."),
    "InferenceTime": ("Milliseconds", "Time of the model for one image."),
    "ImagesRejected": ("Count", "Images refused because of what they are."),
    "ProcessingErrors": ("Count", "Faults of a stage that will be tried again."),
    "ModelInputsRemade": ("Count", "Prepared images that were made anew for another model."),
    "ModelChoiceRejected": ("Count", "Reads of a models parameter that cannot be used."),
    "ShadowAgreement": ("Count", "Images of which active and shadow model say the same."),
    "ShadowDisagreement": ("Count", "Images of which they say something else."),
    "ShadowFailures": ("Count", "Images that the shadow model had no answer for."),
    "DeadLetters": ("Count", "Messages given up and kept in the archive."),
}


@cache
def logger() -> "Logger":
    """The one logger. Extra keyword arguments of a call become fields of the line."""
    from aws_lambda_powertools import Logger

    return Logger(
        service="darkroom",
        utc=True,
        log_record_order=["level", "message"],
        # The traceback as text is enough; as a tree it would stand there twice.
        serialize_stacktrace=False,
    )


def count(stage: str, **values: float | Sequence[float]) -> None:
    """Write metrics, each with the stage as dimension, in one line.

    Several values of one metric are as many observations: a line takes as long as a tenth of
    a prediction.

    Raises:
        KeyError: A metric is not in `METRICS`.
    """
    from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import (
        AmazonCloudWatchEMFProvider,
    )

    metrics = AmazonCloudWatchEMFProvider(
        namespace=NAMESPACE, metric_set={}, dimension_set={}, metadata_set={}
    )
    metrics.add_dimension(name="stage", value=stage)
    for name, given in values.items():
        unit, _ = METRICS[name]
        for value in given if isinstance(given, Sequence) else (given,):
            metrics.add_metric(name=name, unit=unit, value=value)
    metrics.flush_metrics()


def quiet_libraries() -> None:
    """Keep the SDK's chatter out of the logs, whatever our own level is."""
    for name in ("boto3", "botocore", "urllib3", "PIL"):
        logging.getLogger(name).setLevel(logging.WARNING)
