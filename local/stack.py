"""The stack on the local AWS, made from the template that would be deployed."""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from chalicelib.settings import resource_name
from infrastructure.package import SHIPPED, PackagingFailed, make_package
from local.aws import client
from local.errors import StartFailed
from local.places import ROOT, Places

STAGE = "local"
STACK = "darkroom-local"
ARTIFACTS_BUCKET = "darkroom-local-artifacts"
_STACK_SECONDS = 60
# Two cores are what a laptop can spare, and nobody wants to watch five tries there.
PARAMETERS = {
    "PreprocessConcurrency": 2,
    "InferConcurrency": 2,
    "OptimiseConcurrency": 2,
    "MailConcurrency": 2,
    "MailReceives": 3,
    "MaxReceives": 3,
}
# Nothing leaves the machine: the local SES keeps what it is given.
MAIL_DOMAIN = "darkroom.example"
MAIL_FROM = f"Darkroom <parcels@{MAIL_DOMAIN}>"
_CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]


def bring_up(places: Places, *, model: Path | None = None) -> str:
    """Make the stack, or bring it up to date; what was done, in a word.

    Args:
        places: Of the run.
        model: The folder of a model that takes the place of the built-in one.

    Raises:
        StartFailed: It did not work.
    """
    _verify_sender(places)
    texts = {
        "MailFrom": MAIL_FROM,
        "PublicUrl": places.api_url,
        "HistoryUrl": f"{places.api_url}/status?tracking_id=",
    }
    wanted = project_fingerprint(model) + json.dumps(texts)
    recorded = places.folder / "deployed"
    cloudformation = client(places, "cloudformation")
    existing = _status(cloudformation)
    if existing is not None and recorded.is_file() and recorded.read_text() == wanted:
        return "unchanged"
    recorded.unlink(missing_ok=True)
    template_url = _upload(places, model)
    arguments: dict[str, Any] = {
        "StackName": STACK,
        "TemplateURL": template_url,
        "Capabilities": _CAPABILITIES,
        "Parameters": [
            {"ParameterKey": name, "ParameterValue": value} for name, value in texts.items()
        ],
    }
    if existing is None:
        cloudformation.create_stack(**arguments)
    else:
        cloudformation.update_stack(**arguments)
    _wait(cloudformation)
    _connect_dead_letters(places)
    recorded.write_text(wanted)
    return "created" if existing is None else "updated"


def _verify_sender(places: Places) -> None:
    """What takes a proof of the domain's ownership on AWS."""
    ses = client(places, "sesv2")
    with suppress(ses.exceptions.AlreadyExistsException):
        ses.create_email_identity(EmailIdentity=MAIL_DOMAIN)


def _connect_dead_letters(places: Places) -> None:
    """MiniStack leaves out the DeadLetterQueue of a function; of ours, `ingest` alone has one."""
    sqs = client(places, "sqs")
    url = sqs.get_queue_url(QueueName=resource_name(STAGE, "ingest-dead-letters"))["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    client(places, "lambda").update_function_configuration(
        FunctionName=resource_name(STAGE, "ingest"),
        DeadLetterConfig={"TargetArn": found["Attributes"]["QueueArn"]},
    )


def project_fingerprint(model: Path | None = None) -> str:
    """A hash of everything that the stack is made from."""
    digest = hashlib.sha256(json.dumps(PARAMETERS, sort_keys=True).encode())
    files = [
        *sorted((ROOT / "infrastructure").glob("*.*")),
        *sorted((ROOT / ".chalice").glob("*.json")),
    ]
    for name in SHIPPED:
        place = ROOT / name
        files += sorted(place.rglob("*")) if place.is_dir() else [place]
    if model is not None:
        files += sorted(model.iterdir())
    for path in files:
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(os.path.relpath(path, ROOT).encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def with_numbers(template: dict[str, Any], values: Mapping[str, int]) -> dict[str, Any]:
    """The template with its Number parameters filled in.

    CloudFormation makes numbers of them where a number is due. MiniStack
    leaves them texts, and its poller then compares texts with numbers.
    In a function's environment they are texts on either.
    """
    numbers = {
        name: int(values.get(name, parameter["Default"]))
        for name, parameter in template["Parameters"].items()
        if parameter["Type"] == "Number"
    }

    def filled(node: Any, *, as_text: bool = False) -> Any:
        if isinstance(node, dict):
            if set(node) == {"Ref"} and node["Ref"] in numbers:
                return str(numbers[node["Ref"]]) if as_text else numbers[node["Ref"]]
            return {
                key: filled(value, as_text=as_text or key == "Variables")
                for key, value in node.items()
            }
        if isinstance(node, list):
            return [filled(value, as_text=as_text) for value in node]
        return node

    parameters = {k: v for k, v in template["Parameters"].items() if k not in numbers}
    result: dict[str, Any] = filled({**template, "Parameters": parameters})
    return result


def _upload(places: Places, model: Path | None) -> str:
    """What ``aws cloudformation package`` does: the zips into a bucket, their places into the
    template; the template's address.
    """
    package = places.folder / "package"
    try:
        make_package(STAGE, package, with_dependencies=False, model=model)
    except PackagingFailed as failure:
        raise StartFailed(str(failure)) from None
    s3 = client(places, "s3")
    s3.create_bucket(Bucket=ARTIFACTS_BUCKET)
    template = with_numbers(json.loads((package / "sam.json").read_text()), PARAMETERS)
    if places.enforces_iam:
        allow_plain_http(template)
    for resource in template["Resources"].values():
        for name in ("CodeUri", "ContentUri"):
            path = resource.get("Properties", {}).get(name)
            if isinstance(path, str):
                resource["Properties"][name] = _upload_zip(s3, package / path)
    key = "template.json"
    s3.put_object(Bucket=ARTIFACTS_BUCKET, Key=key, Body=json.dumps(template).encode())
    return f"{places.aws_url}/{ARTIFACTS_BUCKET}/{key}"


def allow_plain_http(template: dict[str, Any]) -> None:
    """The local AWS has no TLS, and would refuse all that is asked of what insists on it."""
    for resource in template["Resources"].values():
        if resource.get("Type") in {"AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy"}:
            document = resource["Properties"]["PolicyDocument"]
            document["Statement"] = [
                entry for entry in document["Statement"] if entry.get("Sid") != "TlsOnly"
            ]


def _upload_zip(s3: Any, path: Path) -> str:
    body = path.read_bytes()
    # A new name for new content, so that an update of the stack sees the change.
    key = f"{hashlib.sha256(body).hexdigest()[:16]}-{path.name}"
    s3.put_object(Bucket=ARTIFACTS_BUCKET, Key=key, Body=body)
    return f"s3://{ARTIFACTS_BUCKET}/{key}"


def _status(cloudformation: Any) -> str | None:
    try:
        stacks = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    except cloudformation.exceptions.ClientError:
        return None
    status = stacks[0]["StackStatus"] if stacks else None
    if status is not None and status.startswith("DELETE"):
        return None
    return status


def _wait(cloudformation: Any) -> None:
    deadline = time.monotonic() + _STACK_SECONDS
    while time.monotonic() < deadline:
        status = _status(cloudformation) or ""
        if status in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            return
        if status and not status.endswith("IN_PROGRESS"):
            events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
            reasons = [
                f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}"
                for event in events
                if event["ResourceStatus"].endswith("FAILED")
            ]
            raise StartFailed(
                f"The stack ended as {status}: {'; '.join(reasons)[:500] or 'no reason given'}."
            )
        time.sleep(0.1)
    raise StartFailed(f"The stack was not ready within {_STACK_SECONDS} s.")
