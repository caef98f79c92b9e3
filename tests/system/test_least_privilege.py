"""Under IAM (`make least-privilege`): the other tests pass with the functions' own roles, and here
is what they asked for. Runs last.
"""

import fnmatch
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from infrastructure.alarms import functions_of
from infrastructure.template import ROOT, config
from tests.system.conftest import Service, photo

pytestmark = pytest.mark.skipif(
    os.environ.get("ENFORCE_IAM") != "1", reason="make least-privilege runs it"
)

# What the local AWS does itself, without asking for the role's permission, though AWS does.
BY_THE_SERVICE = {
    "logs:CreateLogStream": "the runtime writes the log",
    "logs:PutLogEvents": "the runtime writes the log",
    "xray:PutTraceSegments": "the runtime traces, and MiniStack has no X-Ray",
    "xray:PutTelemetryRecords": "the runtime traces, and MiniStack has no X-Ray",
    "sqs:ReceiveMessage": "the poller reads the queue",
    "sqs:GetQueueAttributes": "the poller reads the queue",
    "dynamodb:GetRecords": "the poller reads the stream",
    "dynamodb:GetShardIterator": "the poller reads the stream",
    "dynamodb:DescribeStream": "the poller reads the stream",
    "dynamodb:ListStreams": "the poller reads the stream",
}
# What no test of the system reaches yet under its role: most of what the API does, because the tests
# ask `chalice local`, which has the owner's rights; what takes a crash, a deletion while a step is
# busy, or a second model. The list may become shorter, and never longer.
NOT_REACHED = json.loads((ROOT / "tests" / "system" / "grants-not-reached.json").read_text())


def decisions(service: Service) -> list[dict[str, Any]]:
    """What each role asked for so far."""
    lines = service.deployed.places.decisions.read_text().splitlines()
    return [json.loads(line) for line in lines]


def function_of(decision: dict[str, Any]) -> str:
    """The function whose role asked: its session is called by its name."""
    return str(decision["role"]).rpartition("/")[2].removeprefix("darkroom-local").lstrip("-")


def grants() -> Iterator[tuple[str, str, str]]:
    """Function, action and resource of everything that is allowed."""
    listed = config()["stages"]["local"]["lambda_functions"]
    for function in functions_of(config(), "local"):
        text = (ROOT / ".chalice" / listed[function.name]["iam_policy_file"]).read_text()
        for statement in json.loads(text)["Statement"]:
            resources = statement["Resource"]
            for resource in resources if isinstance(resources, list) else [resources]:
                for action in statement["Action"]:
                    yield function.suffix.lstrip("-"), action, resource


def test_every_permission_is_used(service: Service) -> None:
    """Taking one away breaks what used it: nothing else allows the same."""
    asked = [
        (function_of(d), d["action"], d["resource"]) for d in decisions(service) if d["allowed"]
    ]
    unused = [
        f"{function or 'api'} {action} {resource}"
        for function, action, resource in grants()
        if action not in BY_THE_SERVICE
        and not any(
            who == function and what == action and fnmatch.fnmatchcase(str(where), resource)
            for who, what, where in asked
        )
    ]
    assert sorted(set(unused) - set(NOT_REACHED)) == []


def test_nothing_that_works_is_denied(service: Service) -> None:
    denied = {
        (function_of(d), d["action"], d["resource"]) for d in decisions(service) if not d["allowed"]
    }
    # Tests give functions settings of their own: a queue that is not there, another parameter.
    theirs = re.compile(r"no-such-queue$|/config-[0-9a-f]+$")
    # And here permissions were taken away.
    taken = re.compile(r"/(results|processed|uploads)/")
    left = {e for e in denied if not theirs.search(str(e[2])) and not taken.search(str(e[2]))}
    assert left == set()


@contextmanager
def without(service: Service, role_part: str, sid: str) -> Iterator[None]:
    """A role without one of its statements, until the block ends."""
    iam = service.deployed.aws("iam")
    (role,) = (
        r["RoleName"] for r in iam.list_roles()["Roles"] if f"-{role_part}-" in r["RoleName"]
    )
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    left = [entry for entry in document["Statement"] if entry["Sid"] != sid]
    assert len(left) == len(document["Statement"]) - 1
    iam.put_role_policy(
        RoleName=role,
        PolicyName=name,
        PolicyDocument=json.dumps({**document, "Statement": left}),
    )
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))


@pytest.mark.parametrize(
    ("role", "sid", "status"),
    [
        ("InferRole", "Results", "inference_failed"),
        ("InferRole", "ModelInputs", "inference_failed"),
        ("PreprocessRole", "Originals", "preprocessing_failed"),
    ],
)
def test_without_a_permission_its_path_breaks(
    service: Service, role: str, sid: str, status: str
) -> None:
    before = len(decisions(service))
    with without(service, role, sid):
        answer = service.api.post(
            "/images", content=photo(), headers={"Content-Type": "image/jpeg"}
        )
        image = service.finished(answer.json()["image_id"])
        assert image["status"] == status
        service.until_quiet()
    denied = [d for d in decisions(service)[before:] if not d["allowed"]]
    assert denied
    assert all(re.match(r"s3:", d["action"]) for d in denied)
