"""Alarms of the deployed stack, from what a function says to the message at the topic.

CloudWatch itself makes metrics of log lines, and counts queues and calls; the local AWS does
neither, so that the tests put down what it would have.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.polling import eventually
from tests.system.conftest import Service

TOPIC = "arn:aws:sns:us-east-1:000000000000:darkroom-local-alarms"


@pytest.fixture
def told(service: Service) -> Iterator[Any]:
    """Waits until the topic says that an alarm went off; what it said."""
    sqs, sns = service.deployed.aws("sqs"), service.deployed.aws("sns")
    url = sqs.create_queue(QueueName="listens-to-alarms")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    allowed = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": TOPIC}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    subscription = sns.subscribe(
        TopicArn=TOPIC,
        Protocol="sqs",
        Endpoint=arn,
    )["SubscriptionArn"]

    def wait(alarm: str) -> dict[str, Any]:
        def heard() -> dict[str, Any] | None:
            for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get(
                "Messages", []
            ):
                said: dict[str, Any] = json.loads(json.loads(message["Body"])["Message"])
                if said["AlarmName"] == alarm and said["NewStateValue"] == "ALARM":
                    return said
            return None

        return eventually(heard, seconds=60, what=f"{alarm} is told of")

    yield wait
    sns.unsubscribe(SubscriptionArn=subscription)
    sqs.delete_queue(QueueUrl=url)


@pytest.mark.parametrize(
    ("alarm", "namespace", "metric", "dimension", "value"),
    [
        (
            "darkroom-local-infer-dead-letters",
            "Darkroom/local",
            "DeadLetters",
            ("stage", "infer"),
            1,
        ),
        (
            "darkroom-local-preprocess-errors",
            "AWS/Lambda",
            "Errors",
            ("FunctionName", "darkroom-local-preprocess"),
            5,
        ),
        (
            "darkroom-local-inference-age",
            "AWS/SQS",
            "ApproximateAgeOfOldestMessage",
            ("QueueName", "darkroom-local-inference"),
            1000,
        ),
    ],
)
def test_a_dead_letter_a_broken_function_and_a_slow_queue_are_told_of(
    service: Service,
    told: Any,
    alarm: str,
    namespace: str,
    metric: str,
    dimension: tuple[str, str],
    value: float,
) -> None:
    name, about = dimension
    service.deployed.aws("cloudwatch").put_metric_data(
        Namespace=namespace,
        MetricData=[
            {
                "MetricName": metric,
                "Dimensions": [{"Name": name, "Value": about}],
                "Value": value,
            }
        ],
    )
    assert told(alarm)["Trigger"]["MetricName"] == metric


def test_alarms_stay_quiet_below_their_thresholds(service: Service) -> None:
    cloudwatch = service.deployed.aws("cloudwatch")
    cloudwatch.put_metric_data(
        Namespace="AWS/Lambda",
        MetricData=[
            {
                "MetricName": "Duration",
                "Dimensions": [{"Name": "FunctionName", "Value": "darkroom-local-infer"}],
                "Value": 10,
            }
        ],
    )
    name = "darkroom-local-infer-duration"

    def judged() -> str | None:
        (alarm,) = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
        state = str(alarm["StateValue"])
        return state if state != "INSUFFICIENT_DATA" else None

    assert eventually(judged, seconds=60, what=f"{name} is judged") == "OK"
