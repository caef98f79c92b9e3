"""What `make resources` and `make settle` make of their input, before they ask AWS."""

from typing import Any

import pytest

from operations.resources import Aws, ResourcesFailed, make_resources, read_parameters
from operations.settle import NotDeployed, access_log_changes, settling_of, throttling_changes


class NoStacks:
    """A CloudFormation without any stack."""

    def describe_stacks(self, **_: Any) -> Any:
        """As boto3 says that there is none."""
        return {"Stacks": [{"StackStatus": "DELETE_COMPLETE"}]}


def no_stacks(_: str) -> Any:
    """A client of an account that has nothing."""
    return NoStacks()


def test_parameters_are_read_as_they_are_written() -> None:
    assert read_parameters(["Cdn=on", "MailFrom=Shop <a=b@example.com>", "ApiDomain="]) == {
        "Cdn": "on",
        "MailFrom": "Shop <a=b@example.com>",
        "ApiDomain": "",
    }


@pytest.mark.parametrize("text", ["Cdn", "=on", "Cdn on", "a b=c"])
def test_a_parameter_that_is_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(ResourcesFailed, match="written NAME=VALUE, not"):
        read_parameters([text])


@pytest.mark.parametrize("stage", ["local", "nowhere"])
def test_a_stage_that_is_not_deployed_has_no_resources(stage: str) -> None:
    with pytest.raises(ResourcesFailed, match=f"no stage '{stage}' to deploy; there are dev, prod"):
        make_resources(stage, Aws(client=no_stacks), parameters={})


@pytest.mark.parametrize("stage", ["dev", "nowhere"])
def test_nothing_is_settled_without_resources(stage: str) -> None:
    with pytest.raises(NotDeployed, match=f"run make resources STAGE={stage}"):
        settling_of(stage, Aws(client=no_stacks))


SAID: dict[str, Any] = {
    "MethodSettings": [
        {"MetricsEnabled": True, "ThrottlingRateLimit": "100", "ThrottlingBurstLimit": "200"}
    ],
    "AccessLogSetting": {"DestinationArn": "arn:group:*", "Format": "{}"},
}


def test_only_limits_that_are_otherwise_are_changed() -> None:
    now = {"metricsEnabled": True, "throttlingRateLimit": 100.0, "throttlingBurstLimit": 5000}
    assert list(throttling_changes(SAID, {"methodSettings": {"*/*": now}})) == [
        {"op": "replace", "path": "/*/*/throttling/burstLimit", "value": "200"}
    ]


def test_a_large_limit_is_written_in_full() -> None:
    said = {"MethodSettings": [{**SAID["MethodSettings"][0], "ThrottlingRateLimit": "1234567"}]}
    values = {change["path"]: change["value"] for change in throttling_changes(said, {})}
    assert values["/*/*/throttling/rateLimit"] == "1234567"


def test_the_access_log_is_set_without_the_end_of_the_groups_arn() -> None:
    assert list(access_log_changes(SAID, {})) == [
        {"op": "replace", "path": "/accessLogSettings/destinationArn", "value": "arn:group"},
        {"op": "replace", "path": "/accessLogSettings/format", "value": "{}"},
    ]
    now = {"accessLogSettings": {"destinationArn": "arn:group", "format": "{}"}}
    assert list(access_log_changes(SAID, now)) == []


def test_an_access_log_that_is_no_longer_wanted_is_removed() -> None:
    now = {"accessLogSettings": {"destinationArn": "arn:group", "format": "{}"}}
    assert list(access_log_changes({}, now)) == [{"op": "remove", "path": "/accessLogSettings"}]
    assert list(access_log_changes({}, {})) == []
