"""Structured logs and metrics: one JSON line each, nothing else on the output.

Metrics are written in CloudWatch's embedded metric format, so they cost no call.
Every metric is registered in `METRICS`; one that is not raises at once.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

APP = "Darkroom"

METRICS: Mapping[str, tuple[str, str]] = {
    "UploadAccepted": ("Count", "Uploads that were accepted and queued."),
    "ProcessedImages": ("Count", "Images that a stage finished."),
    "ProcessingTime": ("Milliseconds", "Time a stage took for one image."),
    "TotalBytesProcessed": ("Bytes", "Size of the originals that were read."),
    "BytesSaved": ("Bytes", "By how much the smallest copy is smaller than its original."),
    "InferenceTime": ("Milliseconds", "Time of the model for one image."),
    "ImagesRejected": ("Count", "Images refused because of what they are."),
    "ProcessingErrors": ("Count", "Faults of a stage that will be tried again."),
    "ResultsReused": ("Count", "Images that took over what was made of the same bytes before."),
    "ModelInputsRemade": ("Count", "Prepared images that were made anew for another model."),
    "ModelChoiceRejected": ("Count", "Reads of a models parameter that cannot be used."),
    "ShadowAgreement": ("Count", "Images of which active and shadow model say the same."),
    "ShadowDisagreement": ("Count", "Images of which they say something else."),
    "ShadowFailures": ("Count", "Images that the shadow model had no answer for."),
    "EventsPublished": ("Count", "Events about images that the topic took."),
    "DeadLetters": ("Count", "Messages given up and kept in the archive."),
    "QueueDepth": ("Count", "Messages that wait in the queue that the stage names."),
    "OldestMessageAge": ("Seconds", "How long the oldest image waits for the queue's worker."),
    "DeadLettersWaiting": ("Count", "Letters of the queue that bury has not taken in yet."),
    "ImagesRequeued": ("Count", "Images that were stuck and sent on their way again."),
    "ImagesGivenUp": ("Count", "Images that were stuck for good, and failed."),
    "UploadsRecovered": ("Count", "Uploads whose event never came, and that the check took in."),
    "UploadsExpired": ("Count", "Upload links that nobody used."),
    "TrackingUpdateStored": ("Count", "Updates of parcels that were kept."),
    "TrackingUpdateLate": ("Count", "Updates among them that came too late to say how it stands."),
    "StuckParcels": ("Count", "Parcels that were reported for want of updates."),
    "NotificationSent": ("Count", "E-mails that the mail service took."),
    "NotificationSuppressed": ("Count", "E-mails that were not to be sent; their rows say why."),
    "NotificationFailed": ("Count", "E-mails that were given up; their rows say why."),
    "MailBounced": ("Count", "Addresses that cannot be reached, and are suppressed."),
    "MailComplained": ("Count", "Addresses whose owners complained, and are suppressed."),
    "Unsubscribed": ("Count", "Unsubscriptions, of an address for a parcel or for all."),
    "ParameterRejected": ("Count", "Values in SSM that make no sense; the last good one stays."),
    "ParameterUnavailable": ("Count", "Reads of SSM parameters that failed."),
    "QuotaExceeded": ("Count", "Requests refused because their caller's quota was used up."),
    "QuotaUncounted": ("Count", "Requests counted by one process alone: the table was away."),
    "Heartbeat": ("Count", "Runs of the check that came to their end."),
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


def namespace() -> str:
    """Where this stage's metrics stand: those of two stages in one account must not mix."""
    return f"{APP}/{os.environ.get('STAGE', 'local')}"


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
        namespace=namespace(), metric_set={}, dimension_set={}, metadata_set={}
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
