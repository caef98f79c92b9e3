"""Flags and configuration in SSM, on Powertools' reader with an SSM of our own behind it."""

import json
from typing import Any

import pytest
from aws_lambda_powertools.utilities.parameters import SSMProvider
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib.aws.parameters import JsonParameter
from chalicelib.errors import ServiceUnavailable
from chalicelib.flags import Config, Flags

ON = '{"enhanced_tracking": true}'


class FakeSsm:
    """SSM with one parameter. ``value`` may be an exception."""

    def __init__(self, value: str | Exception) -> None:
        self.value = value
        self.reads = 0

    def get_parameter(self, **request: Any) -> dict[str, Any]:
        self.reads += 1
        assert request["Name"] == "/test/flags"
        if isinstance(self.value, Exception):
            raise self.value
        return {"Parameter": {"Value": self.value}}


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


DOWN = EndpointConnectionError(endpoint_url="https://ssm.test")
DENIED = ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetParameter")
GONE = ClientError({"Error": {"Code": "ParameterNotFound"}}, "GetParameter")


def parameter(
    ssm: Any, *, clock: Clock | None = None, max_age_seconds: int = 300
) -> JsonParameter[Flags]:
    return JsonParameter(
        provider=SSMProvider(boto3_client=ssm),
        name="/test/flags",
        schema=Flags,
        default=Flags(),
        max_age_seconds=max_age_seconds,
        clock=clock or Clock(),
    )


def counted(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The metrics that were written."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    return [
        metric["Name"]
        for line in lines
        for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    ]


def test_a_value_is_read_once_in_five_minutes() -> None:
    """Defect 57: SSM was asked on every request, before anything else."""
    ssm = FakeSsm(ON)
    flags = parameter(ssm)
    for _ in range(10):
        assert flags.value() == Flags(enhanced_tracking=True)
    assert ssm.reads == 1


def test_a_new_value_takes_effect_once_the_old_one_is_of_age() -> None:
    ssm = FakeSsm(ON)
    flags = parameter(ssm, max_age_seconds=0)
    flags.value()
    ssm.value = '{"batch_processing": true}'
    assert flags.value() == Flags(batch_processing=True)


@pytest.mark.parametrize("fault", [DOWN, DENIED, GONE, RuntimeError("anything")])
def test_without_ssm_the_last_good_value_stays(
    fault: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    """Defect 57: a failure of SSM was a total outage, though there was a value."""
    ssm = FakeSsm(ON)
    flags = parameter(ssm, max_age_seconds=0)
    flags.value()
    ssm.value = fault
    assert flags.value() == Flags(enhanced_tracking=True)
    assert counted(capsys) == ["ParameterUnavailable"]


@pytest.mark.parametrize("fault", [DOWN, DENIED, GONE])
def test_without_ssm_at_a_cold_start_the_defaults_hold(fault: Exception) -> None:
    assert parameter(FakeSsm(fault)).value() == Flags()


@pytest.mark.parametrize("fault", [DOWN, DENIED, GONE])
def test_who_would_lose_something_by_the_defaults_waits_until_ssm_has_answered(
    fault: Exception,
) -> None:
    ssm, clock = FakeSsm(fault), Clock()
    flags = parameter(ssm, clock=clock, max_age_seconds=0)
    with pytest.raises(ServiceUnavailable):
        flags.known()
    ssm.value = ON
    clock.seconds += 60
    assert flags.known() == Flags(enhanced_tracking=True)
    ssm.value = fault
    clock.seconds += 60
    assert flags.known() == Flags(enhanced_tracking=True), "the last good value"


def test_ssm_is_left_alone_for_a_while_after_a_failure_and_then_asked_again() -> None:
    ssm, clock = FakeSsm(DOWN), Clock()
    flags = parameter(ssm, clock=clock)
    for _ in range(10):
        flags.value()
    assert ssm.reads == 1
    ssm.value = ON
    clock.seconds += 30
    assert flags.value() == Flags(enhanced_tracking=True)
    assert ssm.reads == 2


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "null", "[]", "true", '"x"', "{", "[" * 100_000),
        '{"enhanced_tracking": "yes"}',
        '{"enhanced_tracking": 1}',
        '{"enhanced_tracking": null}',
        '{"batch_processing": true, "enhanced_tracking": []}',
    ],
)
def test_a_malformed_value_never_takes_effect_and_raises_a_metric(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ssm = FakeSsm(ON)
    flags = parameter(ssm, max_age_seconds=0)
    flags.value()
    ssm.value = text
    for _ in range(3):
        assert flags.value() == Flags(enhanced_tracking=True)
    assert counted(capsys) == ["ParameterRejected"], "once for each bad value, not for each request"
    assert parameter(FakeSsm(text)).value() == Flags()
    ssm.value = "{}"
    assert flags.value() == Flags()


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"max_batch_updates": 1, "stuck_parcel_days": 365}', True),
        ('{"max_batch_updates": 0}', False),
        ('{"max_batch_updates": 101}', False),
        ('{"stuck_parcel_days": -1}', False),
        ('{"stuck_parcel_days": 366}', False),
        ('{"stuck_parcel_days": 1.5}', False),
    ],
)
def test_a_number_that_is_out_of_bounds_is_malformed(text: str, valid: bool) -> None:  # noqa: FBT001 - one of a table's columns
    ssm = FakeSsm(text)
    config = JsonParameter(
        provider=SSMProvider(boto3_client=ssm),  # type: ignore[arg-type] # a fake of the client
        name="/test/flags",
        schema=Config,
        default=Config(),
    )
    assert (config.value() != Config()) is valid


def test_a_field_that_nobody_knows_is_ignored() -> None:
    """A value is written before, or after, the code that knows the field."""
    ssm = FakeSsm('{"enhanced_tracking": true, "of_the_future": 1}')
    assert parameter(ssm).value() == Flags(enhanced_tracking=True)
