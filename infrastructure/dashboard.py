"""The dashboard: rows for the API, the functions, the queues, the tables, our own metrics."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from chalicelib.settings import APP_NAME
from infrastructure.alarms import OWN_NAMESPACE, Function

_WIDTH, _HEIGHT = 8, 6
# What is shown of our own metrics: title, metrics, statistic. Each by the step that emits it.
OWN_METRICS = (
    ("Images finished, and taken over", ("ProcessedImages", "ResultsReused"), "Sum"),
    ("Time an image took (p95)", ("ProcessingTime", "InferenceTime"), "p95"),
    ("Bytes", ("TotalBytesProcessed", "BytesSaved"), "Sum"),
    ("Uploads, and images refused", ("UploadAccepted", "ImagesRejected"), "Sum"),
    ("Faults, and what was given up", ("ProcessingErrors", "DeadLetters"), "Sum"),
    ("Models", ("ModelInputsRemade", "ModelChoiceRejected"), "Sum"),
    ("Shadow", ("ShadowAgreement", "ShadowDisagreement", "ShadowFailures"), "Sum"),
    ("Queues, as the check sees them", ("QueueDepth", "DeadLettersWaiting"), "Maximum"),
    ("Age of the oldest image in a queue, seconds", ("OldestMessageAge",), "Maximum"),
    ("Images that stood still", ("ImagesRequeued", "ImagesGivenUp"), "Sum"),
    ("Uploads found late, and never used", ("UploadsRecovered", "UploadsExpired"), "Sum"),
    ("Events about images", ("EventsPublished",), "Sum"),
    ("Parcels", ("TrackingUpdateStored", "TrackingUpdateLate", "StuckParcels"), "Sum"),
    ("E-mails", ("NotificationSent", "NotificationSuppressed", "NotificationFailed"), "Sum"),
    ("E-mails that were not liked", ("MailBounced", "MailComplained", "Unsubscribed"), "Sum"),
    ("Quotas of callers", ("QuotaExceeded", "QuotaUncounted"), "Sum"),
    ("Heartbeat and parameters", ("Heartbeat", "ParameterUnavailable", "ParameterRejected"), "Sum"),
)


def dashboard(
    functions: Iterable[Function], queues: Mapping[str, Any], tables: Mapping[str, Any]
) -> dict[str, Any]:
    """The dashboard's resource.

    Args:
        functions: Those of the stage.
        queues: The properties of the stack's queues.
        tables: The properties of its tables.
    """
    functions = list(functions)
    names = [function.full_name["Fn::Sub"] for function in functions]
    queue_names = [queue["QueueName"]["Fn::Sub"] for queue in queues.values()]
    table_names = [table["TableName"]["Fn::Sub"] for table in tables.values()]
    api = [f"{APP_NAME}-${{Stage}}"]
    rows = [
        [
            _metrics("API: requests", _each("AWS/ApiGateway", ("Count",), "ApiName", api), "Sum"),
            _metrics(
                "API: share of errors",
                _each("AWS/ApiGateway", ("4XXError", "5XXError"), "ApiName", api),
                "Average",
            ),
            _metrics(
                "API: latency (p99)",
                _each("AWS/ApiGateway", ("Latency", "IntegrationLatency"), "ApiName", api),
                "p99",
            ),
        ],
        [
            _metrics(
                f"Functions: {title}", _each("AWS/Lambda", (metric,), "FunctionName", names), s
            )
            for title, metric, s in (
                ("calls", "Invocations", "Sum"),
                ("errors", "Errors", "Sum"),
                ("throttles", "Throttles", "Sum"),
                ("time (p95)", "Duration", "p95"),
                ("at once", "ConcurrentExecutions", "Maximum"),
            )
        ],
        [
            _metrics(f"Queues: {title}", _each("AWS/SQS", (metric,), "QueueName", queue_names), s)
            for title, metric, s in (
                ("waiting", "ApproximateNumberOfMessagesVisible", "Maximum"),
                ("being worked on", "ApproximateNumberOfMessagesNotVisible", "Maximum"),
                ("age of the oldest", "ApproximateAgeOfOldestMessage", "Maximum"),
            )
        ],
        [
            _metrics(
                f"Tables: {title}", _each("AWS/DynamoDB", (metric,), "TableName", table_names), s
            )
            for title, metric, s in (
                ("units read", "ConsumedReadCapacityUnits", "Sum"),
                ("units written", "ConsumedWriteCapacityUnits", "Sum"),
                ("throttled", "ThrottledRequests", "Sum"),
            )
        ],
        [_search(title, metrics, statistic) for title, metrics, statistic in OWN_METRICS],
    ]
    return {
        "Type": "AWS::CloudWatch::Dashboard",
        "Properties": {
            "DashboardName": {"Fn::Sub": f"{APP_NAME}-${{Stage}}"},
            "DashboardBody": {"Fn::Sub": json.dumps({"widgets": _placed(rows)})},
        },
    }


def _each(
    namespace: str, metrics: Iterable[str], dimension: str, values: Iterable[str]
) -> list[list[str]]:
    values = list(values)
    return [[namespace, metric, dimension, value] for metric in metrics for value in values]


def _metrics(title: str, metrics: list[list[str]], statistic: str) -> dict[str, Any]:
    return _widget(title, metrics, statistic)


def _search(title: str, metrics: Iterable[str], statistic: str) -> dict[str, Any]:
    """All steps that emit a metric, whichever they are."""
    found = [
        f"SEARCH('{{{OWN_NAMESPACE},stage}} MetricName=\"{metric}\"', '{statistic}', 300)"
        for metric in metrics
    ]
    return _widget(title, [[{"expression": expression}] for expression in found], statistic)


def _widget(title: str, metrics: list[Any], statistic: str) -> dict[str, Any]:
    return {
        "type": "metric",
        "width": _WIDTH,
        "height": _HEIGHT,
        "properties": {
            "title": title,
            "metrics": metrics,
            "stat": statistic,
            "period": 300,
            "region": "${AWS::Region}",
        },
    }


def _placed(rows: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    placed, top = [], 0
    for row in rows:
        for number, widget in enumerate(row):
            line, column = divmod(number, 24 // _WIDTH)
            placed.append({**widget, "x": column * _WIDTH, "y": top + line * _HEIGHT})
        top += _HEIGHT * -(-len(row) // (24 // _WIDTH))
    return placed
