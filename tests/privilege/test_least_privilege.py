"""Nothing that a function does is denied to it, and nothing is granted that it does not need."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

import app as app_module
from chalicelib.settings import APP_NAME, LOCAL_STAGE
from tests.privilege.paths import PATHS, Path
from tests.privilege.policy import STAGE, Grant, Policy, Request, function_names, policy_of
from tests.privilege.trial import Stage, Trial

# Asked for by AWS itself, in the function's name, where no code of ours runs.
BY_AWS = {
    "logs:CreateLogStream": "the runtime writes the log",
    "logs:PutLogEvents": "the runtime writes the log",
    "xray:PutTraceSegments": "the runtime traces",
    "xray:PutTelemetryRecords": "the runtime traces",
    "dynamodb:DescribeStream": "Lambda reads the stream",
    "dynamodb:GetRecords": "Lambda reads the stream",
    "dynamodb:GetShardIterator": "Lambda reads the stream",
    "dynamodb:ListStreams": "Lambda reads the stream",
}
# Likewise, of the queue that feeds the function, and of no other.
BY_THE_POLLER = {
    "sqs:ReceiveMessage": "Lambda reads the queue",
    "sqs:DeleteMessage": "Lambda removes what was worked on",
    "sqs:GetQueueAttributes": "Lambda looks at the queue before it reads it",
}
# Likewise, of single grants.
OTHERS_BY_AWS = {
    ("ingest", "sqs:SendMessage", f"{APP_NAME}-{STAGE}-ingest-dead-letters"): (
        "Lambda sends there the events that failed too often"
    ),
}
FED_BY = {
    source.name: str(source.queue).replace(f"-{LOCAL_STAGE}-", f"-{STAGE}-", 1)
    for source in app_module.app.event_sources
    if hasattr(source, "queue")
}


@dataclass(frozen=True, kw_only=True)
class Walked:
    """What became of a path under the whole policy."""

    asked: tuple[Request, ...]
    denied: tuple[Request, ...]
    fault: Exception | None


def walk(stage: Stage, path: Path, policy: Policy) -> Walked:
    """Walk a path under a policy."""
    stage.guard.asked, stage.guard.denied = [], []
    fault: Exception | None = None
    try:
        path.walk(Trial(stage=stage, function=path.function, policy=policy))
    except Exception as error:  # noqa: BLE001 -- whatever it is, the path broke
        fault = error
    return Walked(asked=tuple(stage.guard.asked), denied=tuple(stage.guard.denied), fault=fault)


@pytest.fixture(scope="session")
def walked(stage: Stage) -> Mapping[Path, Walked]:
    """All paths, each under the policy of its function."""
    return {path: walk(stage, path, policy_of(path.function)) for path in PATHS}


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_path_comes_to_its_end_under_its_functions_policy(
    walked: Mapping[Path, Walked], path: Path
) -> None:
    assert walked[path].denied == ()
    if fault := walked[path].fault:
        raise fault


def ours(function: str) -> list[Grant]:
    """What a function's own code asks for."""
    return [grant for grant in policy_of(function).grants if not asked_by_aws(function, grant)]


def asked_by_aws(function: str, grant: Grant) -> bool:
    """Whether a grant is for what AWS does in the function's name."""
    name = grant.resource.rpartition(":")[2]
    return (
        grant.action in BY_AWS
        or (grant.action in BY_THE_POLLER and name == FED_BY.get(function))
        or (function, grant.action, name) in OTHERS_BY_AWS
    )


@pytest.mark.parametrize(
    ("function", "grant"),
    [
        pytest.param(function, grant, id=f"{function} {grant}")
        for function in function_names()
        for grant in ours(function)
    ],
)
def test_without_a_permission_a_path_breaks(
    stage: Stage, walked: Mapping[Path, Walked], function: str, grant: Grant
) -> None:
    less = policy_of(function).without(grant)
    needing = [
        path
        for path, found in walked.items()
        if path.function == function
        and any(grant.allows(request) and not less.allows(request) for request in found.asked)
    ]
    assert needing, "no path needs it: take it away, or write the path (tests/privilege/paths.py)"
    for path in sorted(needing, key=lambda path: len(walked[path].asked)):
        found = walk(stage, path, less)
        assert all(grant.allows(request) for request in found.denied), found.denied
        # Some ask for what they can do without; one has to break.
        if found.denied and found.fault is not None:
            return
    pytest.fail(f"nobody notices that it is gone: {', '.join(map(str, needing))}")


def test_what_aws_asks_for_itself_is_granted_where_it_does() -> None:
    """A reason that is about nothing is forgotten here."""
    granted = {
        (function, grant.action, grant.resource.rpartition(":")[2])
        for function in function_names()
        for grant in policy_of(function).grants
    }
    assert set(BY_AWS) <= {action for _, action, _ in granted}
    assert set(OTHERS_BY_AWS) <= granted
    for function, queue in FED_BY.items():
        assert {(function, action, queue) for action in BY_THE_POLLER} <= granted
