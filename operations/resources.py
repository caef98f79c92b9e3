"""Make what ``chalice deploy`` needs: ``python -m operations.resources STAGE [NAME=VALUE ...]``.

A stack of everything that Chalice does not make (`infrastructure/resource_stack.py`), and the
folder that ``chalice deploy`` is run in (`infrastructure/chalice_project.py`). Both are brought up
to date if they are there.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import msgspec
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from chalicelib.errors import ModelError
from chalicelib.inference.description import ModelDescription
from chalicelib.settings import APP_NAME, LOCAL_STAGE
from infrastructure import chalice_project, policies
from infrastructure.alarms import functions_of
from infrastructure.model_layer import checked
from infrastructure.package import LOCK, MODEL_LAYER_ZIP, PackagingFailed, add_model, make_package
from infrastructure.resource_stack import (
    REST_API_ID,
    ResourceStack,
    add_layers,
    resource_stack,
    spell_out_names,
)
from infrastructure.template import ROOT, config, resources_of

_CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]
# Of a whole stage with a CDN, whose distribution alone takes up to a quarter of an hour.
_STACK_SECONDS = 3600
_NO_CHANGES = ("didn't contain changes", "No updates are to be performed", "no changes")
_STAYS_BROKEN = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "REVIEW_IN_PROGRESS")


class ResourcesFailed(Exception):
    """The resources could not be made; the text says why."""


def _client(service: str) -> Any:
    make: Callable[..., Any] = boto3.client
    return make(service)


@dataclass(frozen=True, kw_only=True)
class Aws:
    """The account: a client by its service's name."""

    client: Callable[[str], Any] = _client

    def account(self) -> policies.Account:
        """Where this is.

        Raises:
            ResourcesFailed: Nobody says so.
        """
        try:
            sts = self.client("sts")
            arn = sts.get_caller_identity()["Arn"].split(":")
        except (BotoCoreError, ClientError) as error:
            raise ResourcesFailed(f"AWS does not say which account this is: {error}.") from None
        return policies.Account(partition=arn[1], region=sts.meta.region_name, account_id=arn[4])


def stack_of(stage: str) -> str:
    """The name of the stack of what Chalice does not make."""
    return f"{APP_NAME}-{stage}-resources"


def packages_bucket(stage: str, account_id: str) -> str:
    """The bucket that holds the layers and the stack's template."""
    return f"{APP_NAME}-{stage}-packages-{account_id}"


def make_resources(
    stage: str,
    aws: Aws,
    *,
    parameters: Mapping[str, str],
    model: Path | None = None,
    with_dependencies: bool = True,
) -> str:
    """Make a stage's resources, or bring them up to date; what was done, in a word.

    Args:
        stage: A stage of ``.chalice/config.json``.
        aws: The account.
        parameters: Of the stack; those that are not given keep their values.
        model: The folder of a model that takes the place of the built-in one.
        with_dependencies: Whether the layer holds the libraries, or the model alone.

    Raises:
        ResourcesFailed: It did not work.
    """
    if stage not in config()["stages"] or stage == LOCAL_STAGE:
        stages = ", ".join(sorted(set(config()["stages"]) - {LOCAL_STAGE}))
        raise ResourcesFailed(f"There is no stage {stage!r} to deploy; there are {stages}.")
    account = aws.account()
    cloudformation = aws.client("cloudformation")
    if status_of(cloudformation, f"{APP_NAME}-{stage}") is not None:
        raise ResourcesFailed(
            f"The stage {stage} is deployed with CloudFormation, as the stack {APP_NAME}-{stage}. "
            f"Choose another stage, or take that one down first."
        )
    layers, variables, merged = _layers(stage, model, with_dependencies=with_dependencies)
    stack = resource_stack(merged, functions_of(config(), stage))
    bucket = packages_bucket(stage, account.account_id)
    s3 = aws.client("s3")
    _make_bucket(s3, bucket, account.region)
    contents = {name: (bucket, _upload(s3, bucket, path)) for name, path in layers.items()}
    add_layers(stack.template, contents)
    spell_out_names(stack.template, {"Stage": stage, "AWS::AccountId": account.account_id})
    done = _deploy(cloudformation, s3, stage, stack, bucket=bucket, parameters=parameters)
    chalice_project.write_project(
        stage,
        chalice_project.project_folder(stage),
        overrides=stack.overrides,
        outputs=outputs_of(cloudformation, stage),
        account=account,
        variables=variables,
    )
    return done


def status_of(cloudformation: Any, stack: str) -> str | None:
    """The status of a stack; None where there is none."""
    try:
        found = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    status = str(found[0]["StackStatus"])
    return None if status == "DELETE_COMPLETE" else status


def outputs_of(cloudformation: Any, stage: str) -> dict[str, str]:
    """What a stage's stack says, and the id of its API if Chalice made one."""
    (found,) = cloudformation.describe_stacks(StackName=stack_of(stage))["Stacks"]
    said = {entry["OutputKey"]: entry["OutputValue"] for entry in found.get("Outputs", [])}
    return {**said, REST_API_ID: chalice_project.rest_api_id(stage)}


def _layers(
    stage: str, model: Path | None, *, with_dependencies: bool
) -> tuple[dict[str, Path], dict[str, str], dict[str, Any]]:
    """The zips of the layers, the variables that go with them, and the merged template."""
    merged = resources_of(stage)
    folder = ROOT / "build" / f"{stage}-layers"
    wanted = _fingerprint(model, with_dependencies=with_dependencies)
    made = folder / "made-from"
    try:
        own = None if model is None else checked(model)
        if not made.is_file() or made.read_text() != wanted:
            make_package(stage, folder, with_dependencies=with_dependencies, model=model)
            made.write_text(wanted)
    except (PackagingFailed, ModelError) as error:
        raise ResourcesFailed(str(error)) from None
    layers = {chalice_project.LIBRARIES: folder / "layer-deployment.zip"}
    if own is None:
        return layers, {}, merged
    add_model(merged, own.description)
    layers[chalice_project.OWN_MODEL] = folder / MODEL_LAYER_ZIP
    return layers, {"MODEL_DESCRIPTION": _as_text(own.description)}, merged


def _as_text(description: ModelDescription) -> str:
    return msgspec.json.encode(description).decode()


def _fingerprint(model: Path | None, *, with_dependencies: bool) -> str:
    """A hash of what the layers are made from."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {with_dependencies}".encode())
    folders = [ROOT / "vendor", *([] if model is None else [model])]
    files = [LOCK, ROOT / "infrastructure" / "package.py"]
    files += sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    for path in files:
        if "__pycache__" not in path.parts:
            digest.update(f"{path.name} {path.stat().st_size} ".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _make_bucket(s3: Any, bucket: str, region: str) -> None:
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"404", "NoSuchBucket"}:
            raise ResourcesFailed(f"The bucket {bucket} cannot be used: {error}.") from None
    else:
        return
    place = (
        {}
        if region == "us-east-1"
        else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    )
    s3.create_bucket(Bucket=bucket, **place)
    s3.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )


def _upload(s3: Any, bucket: str, path: Path) -> str:
    """Put a file under a name that is its content's; the name."""
    body = path.read_bytes()
    key = f"{hashlib.sha256(body).hexdigest()[:16]}-{path.name}"
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError:
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    return key


def _deploy(
    cloudformation: Any,
    s3: Any,
    stage: str,
    stack: ResourceStack,
    *,
    bucket: str,
    parameters: Mapping[str, str],
) -> str:
    """Make the stack, or change it.

    By a change set, because that takes back what an earlier stack of the name left behind: buckets
    and tables are kept when a stack is deleted.
    """
    name = stack_of(stage)
    if unknown := set(parameters) - set(stack.template["Parameters"]):
        known = ", ".join(sorted(set(stack.template["Parameters"]) - {"Stage"}))
        raise ResourcesFailed(
            f"There is no parameter {', '.join(sorted(unknown))} here; there are {known}."
        )
    body = json.dumps(stack.template).encode()
    key = f"{hashlib.sha256(body).hexdigest()[:16]}-resources.json"
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    status = status_of(cloudformation, name)
    if status in _STAYS_BROKEN:
        # A stack that never came to be can only be deleted.
        cloudformation.delete_stack(StackName=name)
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=name)
        status = None
    before = _parameters_of(cloudformation, name) if status is not None else set()
    change: dict[str, Any] = {
        "StackName": name,
        "ChangeSetName": f"resources-{int(time.time() * 1000)}",
        "TemplateURL": f"{s3.meta.endpoint_url}/{bucket}/{key}",
        "Capabilities": _CAPABILITIES,
        "Parameters": [
            *(
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in parameters.items()
            ),
            *(
                {"ParameterKey": name, "UsePreviousValue": True}
                for name in sorted(
                    (before & set(stack.template["Parameters"])) - set(parameters) - {"Stage"}
                )
            ),
        ],
    }
    if status is None:
        change |= {"ChangeSetType": "CREATE", "ImportExistingResources": True}
    else:
        change |= {"ChangeSetType": "UPDATE"}
    cloudformation.create_change_set(**change)
    if not _is_ready(cloudformation, name, change["ChangeSetName"]):
        return "unchanged"
    cloudformation.execute_change_set(StackName=name, ChangeSetName=change["ChangeSetName"])
    _wait(cloudformation, name)
    return "created" if status is None else "updated"


def _parameters_of(cloudformation: Any, stack: str) -> set[str]:
    (found,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    return {entry["ParameterKey"] for entry in found.get("Parameters", [])}


def _is_ready(cloudformation: Any, stack: str, change: str) -> bool:
    """Wait for a change set; whether there is something to change."""
    deadline = time.monotonic() + _STACK_SECONDS
    while time.monotonic() < deadline:
        found = cloudformation.describe_change_set(StackName=stack, ChangeSetName=change)
        if found["Status"] == "CREATE_COMPLETE":
            return True
        if found["Status"] == "FAILED":
            reason = found.get("StatusReason", "no reason given")
            cloudformation.delete_change_set(StackName=stack, ChangeSetName=change)
            if any(text in reason for text in _NO_CHANGES):
                return False
            raise ResourcesFailed(f"The change of {stack} was refused: {reason}")
        time.sleep(_pause(deadline))
    raise ResourcesFailed(f"The change of {stack} was not ready within {_STACK_SECONDS} s.")


def _wait(cloudformation: Any, stack: str) -> None:
    deadline = time.monotonic() + _STACK_SECONDS
    while time.monotonic() < deadline:
        status = status_of(cloudformation, stack) or ""
        if status in {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}:
            return
        if status and not status.endswith("IN_PROGRESS"):
            raise ResourcesFailed(f"{stack} ended as {status}: {_reasons(cloudformation, stack)}")
        time.sleep(_pause(deadline))
    raise ResourcesFailed(f"{stack} was not ready within {_STACK_SECONDS} s.")


def _pause(deadline: float) -> float:
    """Short at first: the local AWS takes a second, and AWS itself minutes."""
    passed = _STACK_SECONDS - (deadline - time.monotonic())
    return min(max(passed / 10, 0.2), 5)


def _reasons(cloudformation: Any, stack: str) -> str:
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    reasons = [
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}"
        for event in events
        if event["ResourceStatus"].endswith("FAILED")
    ]
    return "; ".join(reasons)[:1000] or "no reason given"


def read_parameters(texts: Iterable[str]) -> dict[str, str]:
    """Parameters from the command line, as NAME=VALUE.

    Raises:
        ResourcesFailed: One is written otherwise.
    """
    found = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name.isalnum():
            raise ResourcesFailed(f"A parameter is written NAME=VALUE, not {text!r}.")
        found[name] = value
    return found


def main() -> int:
    """The command line; exit code 1 where it did not work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage")
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--model", type=Path, help="the folder of a model of your own")
    arguments = parser.parse_args()
    stage = arguments.stage
    try:
        done = make_resources(
            stage, Aws(), parameters=read_parameters(arguments.parameters), model=arguments.model
        )
    except (ResourcesFailed, BotoCoreError, ClientError, WaiterError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    folder = chalice_project.project_folder(stage).relative_to(ROOT)
    print(f"{stack_of(stage)}: {done}. Next:")
    print(f"  .venv/bin/chalice --project-dir {folder} deploy --stage {stage}")
    print(f"  make settle STAGE={stage}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
