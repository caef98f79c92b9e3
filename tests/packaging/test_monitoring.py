"""Alarms and dashboard: one for everything that there is, about metrics that somebody emits."""

import ast
import importlib
import json
import re
from typing import Any

import pytest

from chalicelib import telemetry
from infrastructure.alarms import LETTER_STEPS, OWN_NAMESPACE
from infrastructure.template import ROOT
from tests.packaging.test_template import FUNCTIONS, of_type


def alarms(resources: dict[str, Any]) -> dict[str, Any]:
    """The alarms of the stack."""
    return of_type(resources, "AWS::CloudWatch::Alarm")


def about(alarm: dict[str, Any]) -> dict[str, str]:
    """An alarm's dimensions."""
    return {
        entry["Name"]: entry["Value"]["Fn::Sub"]
        if isinstance(entry["Value"], dict)
        else entry["Value"]
        for entry in alarm["Dimensions"]
    }


def watched(resources: dict[str, Any], metric: str, dimension: str) -> set[str]:
    """What there is an alarm about a metric for."""
    return {
        about(alarm)[dimension]
        for alarm in alarms(resources).values()
        if alarm["MetricName"] == metric
    }


def test_every_alarm_reaches_the_topic_and_says_when_it_is_over(resources: dict[str, Any]) -> None:
    assert len(alarms(resources)) > 50
    for name, alarm in alarms(resources).items():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmsTopic"}], name
        assert alarm["AlarmDescription"], name
    names = [alarm["AlarmName"]["Fn::Sub"] for alarm in alarms(resources).values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("metric", ["Errors", "Throttles", "Duration"])
def test_every_function_is_watched(resources: dict[str, Any], metric: str) -> None:
    functions = of_type(resources, "AWS::Serverless::Function")
    assert set(functions) == set(FUNCTIONS)
    names = {function["FunctionName"]["Fn::Sub"] for function in functions.values()}
    assert watched(resources, metric, "FunctionName") == names


def test_a_function_near_its_timeout_is_seen(resources: dict[str, Any]) -> None:
    for name, (_, timeout) in FUNCTIONS.items():
        assert alarms(resources)[f"{name}DurationAlarm"]["Threshold"] == timeout * 800


def test_every_queue_is_watched_the_one_for_dead_letters_too(resources: dict[str, Any]) -> None:
    queues = of_type(resources, "AWS::SQS::Queue").values()
    names = {queue["QueueName"]["Fn::Sub"] for queue in queues}
    assert watched(resources, "ApproximateAgeOfOldestMessage", "QueueName") == names


def test_every_stream_is_watched_long_before_it_forgets(resources: dict[str, Any]) -> None:
    """A stream has no queue whose age could be looked at, and no dead letters of its own."""
    fed = {
        name
        for name, function in of_type(resources, "AWS::Serverless::Function").items()
        for event in function.get("Events", {}).values()
        if event["Type"] == "DynamoDB"
    }
    assert fed == {"Announce", "Notify"}
    watched = {
        name.removesuffix("AgeAlarm"): alarm
        for name, alarm in alarms(resources).items()
        if alarm["MetricName"] == "IteratorAge"
    }
    assert set(watched) == fed
    for name, alarm in watched.items():
        (dimension,) = alarm["Dimensions"]
        assert dimension["Value"] == {"Fn::Sub": f"darkroom-${{Stage}}-{name.lower()}"}
        # Milliseconds, unlike the age of a queue.
        assert alarm["Threshold"] == 15 * 60 * 1000
        assert alarm["Statistic"] == "Maximum"


def test_the_first_dead_letter_of_every_step_goes_off(resources: dict[str, Any]) -> None:
    """Defect 23: the first message was silent. And bury empties their queues (ADR 1)."""
    assert watched(resources, "DeadLetters", "stage") == set(LETTER_STEPS) == steps_that_bury()
    for step in LETTER_STEPS:
        alarm = alarms(resources)[f"{step.capitalize()}DeadLettersAlarm"]
        assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (
            1,
            "GreaterThanOrEqualToThreshold",
        )
        assert alarm["EvaluationPeriods"] == 1


def steps_that_bury() -> set[str]:
    """The steps that the code counts dead letters for."""
    steps = set()
    for node in ast.walk(ast.parse((ROOT / "app.py").read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "container.bury":
            steps |= {
                ast.literal_eval(keyword.value)
                for keyword in node.keywords
                if keyword.arg == "step"
            }
    for path in (ROOT / "chalicelib" / "pipeline").glob("*.py"):
        if "count(STEP, DeadLetters=1)" in path.read_text():
            steps.add(importlib.import_module(f"chalicelib.pipeline.{path.stem}").STEP)
    return steps


def test_silence_of_the_check_is_an_alarm(resources: dict[str, Any]) -> None:
    alarm = alarms(resources)["HeartbeatAlarm"]
    assert alarm["TreatMissingData"] == "breaching"
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    assert alarm["Period"] >= 2 * 300, "it runs every 5 minutes"


def test_a_quota_that_each_process_counts_by_itself_is_an_alarm(
    resources: dict[str, Any],
) -> None:
    alarm = resources["QuotaUncountedAlarm"]["Properties"]
    assert (alarm["MetricName"], alarm["Threshold"]) == ("QuotaUncounted", 1)
    # As `chalicelib.api.quota` counts it.
    assert about(alarm) == {"stage": "quota"}


def test_the_api_is_watched_under_its_own_name(resources: dict[str, Any]) -> None:
    name = resources["RestAPI"]["Properties"]["Name"]["Fn::Sub"]
    for metric in ("4XXError", "5XXError", "Latency"):
        assert watched(resources, metric, "ApiName") == {name}


def test_only_alarms_of_this_account_may_publish(resources: dict[str, Any]) -> None:
    (statement,) = resources["AlarmsTopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert statement["Condition"]["StringEquals"] == {
        "AWS:SourceAccount": {"Ref": "AWS::AccountId"}
    }


def test_our_own_metrics_are_shown_as_the_code_emits_them(
    resources: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGE", "prod")
    telemetry.count("check", Heartbeat=1)
    (emitted,) = json.loads(capsys.readouterr().out)["_aws"]["CloudWatchMetrics"]
    assert emitted["Namespace"] == OWN_NAMESPACE.replace("${Stage}", "prod")
    ((dimension,),) = emitted["Dimensions"]
    body = resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    searched = re.findall(
        r"SEARCH\('\{([^,]+),(\w+)\} MetricName=\\\\\"(\w+)\\\\\"'", body.replace('\\"', '\\\\"')
    )
    assert {(space, by) for space, by, _ in searched} == {(OWN_NAMESPACE, dimension)}
    assert {metric for _, _, metric in searched} == set(telemetry.METRICS)


def test_every_alarm_about_our_own_metrics_is_about_one_that_is_registered(
    resources: dict[str, Any],
) -> None:
    own = [a for a in alarms(resources).values() if a["Namespace"] == {"Fn::Sub": OWN_NAMESPACE}]
    assert len(own) == len(LETTER_STEPS) + 2
    for alarm in own:
        assert alarm["MetricName"] in telemetry.METRICS
        assert set(about(alarm)) == {"stage"}


def test_the_dashboard_shows_every_function_queue_and_table_and_nothing_overlaps(
    resources: dict[str, Any],
) -> None:
    text = resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    body = json.loads(text)
    for kind, key in (
        ("AWS::Serverless::Function", "FunctionName"),
        ("AWS::SQS::Queue", "QueueName"),
        ("AWS::DynamoDB::Table", "TableName"),
    ):
        for resource in of_type(resources, kind).values():
            assert f'"{resource[key]["Fn::Sub"]}"' in text
    places = [(widget["x"], widget["y"]) for widget in body["widgets"]]
    assert len(set(places)) == len(places)
    assert all(widget["x"] + widget["width"] <= 24 for widget in body["widgets"])
