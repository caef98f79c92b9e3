"""Under IAM (`make least-privilege`): the other tests pass with the functions' own roles, the API's
too, and here is what was denied. Runs last. That nothing is granted in vain tests/privilege holds.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from infrastructure.alarms import Function, functions_of
from infrastructure.template import config
from local.api import as_function
from local.aws import REGION
from local.stack import STACK
from tests.system.conftest import RENDITIONS_BUCKET, UPLOADS_BUCKET, Service, photo

pytestmark = pytest.mark.skipif(
    os.environ.get("ENFORCE_IAM") != "1", reason="make least-privilege runs it"
)


def decisions(service: Service) -> list[dict[str, Any]]:
    """What each role asked for so far."""
    lines = service.deployed.places.decisions.read_text().splitlines()
    return [json.loads(line) for line in lines]


def function_of(decision: dict[str, Any]) -> str:
    """The function whose role asked: its session is called by its name."""
    return str(decision["role"]).rpartition("/")[2].removeprefix("darkroom-local").lstrip("-")


def test_nothing_that_works_is_denied(service: Service) -> None:
    denied = {
        (function_of(d), d["action"], d["resource"]) for d in decisions(service) if not d["allowed"]
    }
    # Tests give functions settings of their own: a queue or a bucket that is not there.
    theirs = re.compile(r"no-such-queue$|no-such-bucket(/|$)|-nowhere(/|$)")
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


FUNCTIONS = functions_of(config(), "local")


def deny(service: Service, name: str) -> dict[str, str]:
    """What AWS answers to a function that reaches for what is not its own, by what it tried."""
    session = as_function(service.deployed.places, name)

    def aws(kind: str) -> Any:
        make: Callable[..., Any] = boto3.client
        return make(
            kind,
            region_name=REGION,
            endpoint_url=service.deployed.places.aws_url,
            aws_access_key_id=session["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=session["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=session["AWS_SESSION_TOKEN"],
        )

    queue = service.deployed.aws("sqs").get_queue_url(QueueName="darkroom-local-preprocessing")
    tries: dict[str, Callable[[], Any]] = {
        "scan": lambda: aws("dynamodb").scan(TableName="darkroom-local-images"),
        "another stage": lambda: aws("dynamodb").get_item(
            TableName="darkroom-prod-images", Key={"image_id": {"S": "x"}}
        ),
        "drop": lambda: aws("dynamodb").delete_table(TableName="darkroom-local-images"),
        "policy": lambda: aws("s3").get_bucket_policy(Bucket=UPLOADS_BUCKET),
        "bucket": lambda: aws("s3").delete_bucket(Bucket=RENDITIONS_BUCKET),
        "another prefix": lambda: aws("s3").put_object(
            Bucket=UPLOADS_BUCKET, Key="models/x/1/model.onnx", Body=b""
        ),
        "purge": lambda: aws("sqs").purge_queue(QueueUrl=queue["QueueUrl"]),
        "flags": lambda: aws("ssm").put_parameter(
            Name="/darkroom/local/flags", Value="{}", Overwrite=True
        ),
        "rights": lambda: aws("iam").list_roles(),
        "others": lambda: aws("lambda").invoke(FunctionName=STACK, Payload=b"{}"),
    }
    answers: dict[str, str] = {}
    for what, attempt in tries.items():
        try:
            attempt()
        except ClientError as error:
            answers[what] = error.response["Error"]["Code"]
        else:
            answers[what] = "allowed"
    return answers


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_what_is_not_a_functions_own_is_denied(service: Service, function: Function) -> None:
    answers = deny(service, f"{STACK}{function.suffix}")
    assert {code.removesuffix("Exception") for code in answers.values()} == {"AccessDenied"}, (
        answers
    )
