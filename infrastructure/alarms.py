"""The alarms: some for every function and every queue, so that a new one is never without.

A message that is tried again is no alarm: faults that pass are what queues are for. An alarm is
what does not pass by itself, or what a user notices.
"""

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.settings import APP_NAME

# The steps whose letters end in the archive: the dimension of the metric `DeadLetters`.
LETTER_STEPS = (
    "ingest",
    "preprocess",
    "infer",
    "optimise",
    "announce",
    "notify",
    "mail",
    "feedback",
)
# A fault is tried five times before it is a dead letter; so many in 5 minutes are no coincidence.
_ERRORS = 5
# Nobody tries again what these did not do.
_UNREPEATED = re.compile(r"check$|bury_")
# The share of its timeout that a function may take before someone looks.
_DURATION_SHARE = 0.8
# Long enough for a queue to be scaled up to, short enough for nobody to wait in vain for long.
_OLDEST_MESSAGE_SECONDS = 900
_API_LATENCY_MS = 5000
_API_4XX_SHARE = 0.25
_API_5XX_SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function, as `.chalice/config.json` has it. ``timeout`` is in seconds."""

    name: str
    timeout: int

    @property
    def logical_name(self) -> str:
        """What Chalice calls it in a template."""
        if self.name == "api_handler":
            return "APIHandler"
        return "".join(part.capitalize() for part in self.name.split("_"))

    @property
    def suffix(self) -> str:
        """The end of its name in the account, as `chalice deploy` would choose it."""
        return "" if self.name == "api_handler" else f"-{self.name}"

    @property
    def full_name(self) -> dict[str, str]:
        """Its name in the account."""
        return {"Fn::Sub": f"{APP_NAME}-${{Stage}}{self.suffix}"}


def functions_of(config: Mapping[str, Any], stage: str) -> list[Function]:
    """The functions of a stage."""
    listed = config["stages"][stage]["lambda_functions"]
    return [Function(name=name, timeout=entry["lambda_timeout"]) for name, entry in listed.items()]


def alarms(
    functions: Iterable[Function], queues: Mapping[str, Any], streamed: Container[str]
) -> dict[str, Any]:
    """All alarms, by their logical names.

    Args:
        functions: Those of the stage.
        queues: The properties of the stack's queues, by their logical names.
        streamed: The logical names of the functions that read a stream.
    """
    found = _of_dead_letters() | _of_the_api() | _of_the_check()
    for function in functions:
        found |= _of_function(function)
        if function.logical_name in streamed:
            found |= _of_stream(function)
    for name, queue in queues.items():
        found |= _of_queue(name, queue)
    return found


def _of_function(function: Function) -> dict[str, Any]:
    about = {"FunctionName": function.full_name}
    suffix = function.suffix or "-api"
    prefix = function.logical_name
    errors = 1 if _UNREPEATED.match(function.name) else _ERRORS
    return {
        f"{prefix}ErrorsAlarm": _alarm(
            f"{suffix[1:]}-errors",
            f"{function.name} raised {errors} times or more within 5 minutes",
            ("AWS/Lambda", "Errors", about),
            threshold=errors,
        ),
        f"{prefix}ThrottlesAlarm": _alarm(
            f"{suffix[1:]}-throttles",
            f"{function.name} was not started for want of concurrency",
            ("AWS/Lambda", "Throttles", about),
            threshold=1,
        ),
        f"{prefix}DurationAlarm": _alarm(
            f"{suffix[1:]}-duration",
            f"{function.name} took more than 80 % of the {function.timeout} s that it has",
            ("AWS/Lambda", "Duration", about),
            statistic="Maximum",
            threshold=int(function.timeout * 1000 * _DURATION_SHARE),
        ),
    }


def _of_stream(function: Function) -> dict[str, Any]:
    """A stream forgets its records after a day, and is held up by one batch that always fails."""
    return {
        f"{function.logical_name}AgeAlarm": _alarm(
            f"{function.suffix[1:]}-age",
            f"A record waits for {function.name} for {_OLDEST_MESSAGE_SECONDS // 60} minutes",
            ("AWS/Lambda", "IteratorAge", {"FunctionName": function.full_name}),
            statistic="Maximum",
            threshold=_OLDEST_MESSAGE_SECONDS * 1000,
        )
    }


def _of_queue(name: str, queue: Mapping[str, Any]) -> dict[str, Any]:
    full_name = queue["QueueName"]["Fn::Sub"]
    suffix = full_name.removeprefix(f"{APP_NAME}-${{Stage}}-")
    return {
        f"{name}AgeAlarm": _alarm(
            f"{suffix}-age",
            f"A message waits in {suffix} for {_OLDEST_MESSAGE_SECONDS // 60} minutes",
            ("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": {"Fn::Sub": full_name}}),
            statistic="Maximum",
            threshold=_OLDEST_MESSAGE_SECONDS,
        )
    }


def _of_dead_letters() -> dict[str, Any]:
    """Their queues are emptied at once (docs/adr/0001), so their depth says nothing."""
    return {
        f"{step.capitalize()}DeadLettersAlarm": _alarm(
            f"{step}-dead-letters",
            f"{step} gave something up; it lies in dead-letters/{step}/ of the uploads bucket",
            (OWN_NAMESPACE, "DeadLetters", {"stage": step}),
            threshold=1,
            period=60,
        )
        for step in LETTER_STEPS
    }


def _of_the_api() -> dict[str, Any]:
    about = {"ApiName": {"Fn::Sub": f"{APP_NAME}-${{Stage}}"}}
    return {
        "Api4xxAlarm": _alarm(
            "api-4xx",
            "More than a quarter of the requests of a quarter of an hour were refused",
            ("AWS/ApiGateway", "4XXError", about),
            statistic="Average",
            threshold=_API_4XX_SHARE,
            periods=3,
        ),
        "Api5xxAlarm": _alarm(
            "api-5xx",
            "One request in twenty failed",
            ("AWS/ApiGateway", "5XXError", about),
            statistic="Average",
            threshold=_API_5XX_SHARE,
        ),
        "ApiLatencyAlarm": _alarm(
            "api-latency",
            "One request in a hundred took 5 s or longer, for a quarter of an hour",
            ("AWS/ApiGateway", "Latency", about),
            statistic="p99",
            threshold=_API_LATENCY_MS,
            periods=3,
        ),
        "QuotaUncountedAlarm": _alarm(
            "quota-uncounted",
            "Quotas of callers were counted by each process alone: their table did not answer",
            (OWN_NAMESPACE, "QuotaUncounted", {"stage": "quota"}),
            threshold=1,
        ),
    }


def _of_the_check() -> dict[str, Any]:
    return {
        "HeartbeatAlarm": _alarm(
            "heartbeat",
            "The check that runs every 5 minutes came to its end not once in 15",
            (OWN_NAMESPACE, "Heartbeat", {"stage": "check"}),
            threshold=1,
            period=900,
            comparison="LessThanThreshold",
            missing="breaching",
        )
    }


# `telemetry.namespace` makes the same of the variable STAGE.
OWN_NAMESPACE = "Darkroom/${Stage}"


def _alarm(
    suffix: str,
    description: str,
    metric: tuple[str, str, Mapping[str, Any]],
    *,
    threshold: float,
    statistic: str = "Sum",
    period: int = 300,
    periods: int = 1,
    comparison: str = "GreaterThanOrEqualToThreshold",
    missing: str = "notBreaching",
) -> dict[str, Any]:
    namespace, name, about = metric
    # A percentile is not one of the names that `Statistic` takes.
    key = "ExtendedStatistic" if statistic.startswith("p") else "Statistic"
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": {"Fn::Sub": f"{APP_NAME}-${{Stage}}-{suffix}"},
            "AlarmDescription": description,
            "Namespace": {"Fn::Sub": namespace} if "${" in namespace else namespace,
            "MetricName": name,
            "Dimensions": [{"Name": key, "Value": value} for key, value in about.items()],
            key: statistic,
            "Period": period,
            "EvaluationPeriods": periods,
            "Threshold": threshold,
            "ComparisonOperator": comparison,
            "TreatMissingData": missing,
            "AlarmActions": [{"Ref": "AlarmsTopic"}],
            "OKActions": [{"Ref": "AlarmsTopic"}],
        },
    }
