"""Take a stage down: ``python -m operations.destroy STAGE``.

What holds data is kept by the stack itself (`DeletionPolicy: Retain`); this deletes the rest, and
says what stays. It finds out itself whether the stage was deployed with CloudFormation, as one
stack, or with ``chalice deploy``, beside a stack of everything else.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import yaml
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from chalicelib.settings import APP_NAME
from infrastructure.alarms import functions_of
from infrastructure.chalice_project import deployed_record, project_folder
from infrastructure.package import chalice_command
from infrastructure.template import ROOT, config
from operations.resources import Aws, ResourcesFailed, packages_bucket, stack_of, status_of


class DestroyFailed(Exception):
    """The stage is not gone; the text says why."""


def kept_by(template: Any) -> list[str]:
    """The logical names of what a template's stack leaves behind."""
    if isinstance(template, str):
        template = (
            json.loads(template)
            if template.lstrip().startswith("{")
            else yaml.load(template, _Loader)  # noqa: S506 -- a safe loader that skips tags
        )
    return [
        name
        for name, resource in template["Resources"].items()
        if resource.get("DeletionPolicy") == "Retain"
    ]


class _Loader(yaml.SafeLoader):
    """Reads a template without caring for its intrinsic functions."""


_Loader.add_multi_constructor("!", lambda _loader, _tag, _node: None)


def destroy(cloudformation: Any, stack: str) -> Iterable[str]:
    """Delete a stack; the names of what stays.

    Raises:
        WaiterError: It could not be deleted, or not within an hour.
    """
    template = cloudformation.get_template(StackName=stack, TemplateStage="Original")
    kept = set(kept_by(template["TemplateBody"]))
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack)
    resources = [entry for page in pages for entry in page["StackResourceSummaries"]]
    cloudformation.delete_stack(StackName=stack)
    # By its id a stack that is gone can still be asked about; by its name it cannot.
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack)
    return [
        f"{entry['ResourceType'].removeprefix('AWS::')} {entry['PhysicalResourceId']}"
        for entry in resources
        if entry["LogicalResourceId"] in kept
    ]


def destroy_stage(stage: str, aws: Aws) -> Iterable[str]:
    """Delete a stage, whichever way it was deployed; the names of what stays.

    Raises:
        DestroyFailed: There is no such stage, or Chalice could not delete its part.
        WaiterError: A stack could not be deleted, or not within an hour.
    """
    cloudformation = aws.client("cloudformation")
    whole, beside = f"{APP_NAME}-{stage}", stack_of(stage)
    if status_of(cloudformation, whole) is not None:
        return destroy(cloudformation, whole)
    if status_of(cloudformation, beside) is None:
        raise DestroyFailed(f"There is neither a stack {whole} nor a stack {beside}.")
    _delete_with_chalice(stage)
    for line in _leftovers(stage, aws):
        print(f"Left by a deployment that did not come to its end: {line}")
    stays = destroy(cloudformation, beside)
    _delete_packages(aws.client("s3"), packages_bucket(stage, aws.account().account_id))
    deployed_record(stage).unlink(missing_ok=True)
    for folder in (project_folder(stage), ROOT / "build" / f"{stage}-layers"):
        shutil.rmtree(folder, ignore_errors=True)
    return stays


def _delete_with_chalice(stage: str) -> None:
    if not deployed_record(stage).is_file():
        return
    finished = subprocess.run(
        [chalice_command(), "delete", "--stage", stage],
        cwd=ROOT,
        # Chalice imports the app, which asks for no stage's buckets then.
        env={**os.environ, "DARKROOM_PACKAGING": "cloudformation"},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        said = (finished.stderr or finished.stdout).strip()
        raise DestroyFailed(f"chalice delete failed for stage {stage!r}: {said}")


def _leftovers(stage: str, aws: Aws) -> Iterator[str]:
    """Delete what Chalice made and has not written down: it does so at the end of a deployment.

    Its names follow from the stage's.
    """
    client, iam = aws.client("lambda"), aws.client("iam")
    for function in functions_of(config(), stage):
        name = f"{APP_NAME}-{stage}{function.suffix}"
        pages = client.get_paginator("list_event_source_mappings").paginate(FunctionName=name)
        with suppress(client.exceptions.ResourceNotFoundException):
            for mapping in [m for page in pages for m in page["EventSourceMappings"]]:
                client.delete_event_source_mapping(UUID=mapping["UUID"])
                yield f"a trigger of {name}"
            client.delete_function(FunctionName=name)
            yield f"the function {name}"
        role = f"{APP_NAME}-{stage}-{function.name}"
        with suppress(iam.exceptions.NoSuchEntityException):
            for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]:
                iam.delete_role_policy(RoleName=role, PolicyName=policy)
            iam.delete_role(RoleName=role)
            yield f"the role {role}"
    gateway = aws.client("apigateway")
    pages = gateway.get_paginator("get_rest_apis").paginate()
    for api in [api for page in pages for api in page["items"]]:
        if api["name"] == f"{APP_NAME}-{stage}":
            gateway.delete_rest_api(restApiId=api["id"])
            yield f"the API {api['id']}"
    yield from _leftover_rules(stage, aws.client("events"))
    yield from _leftover_calls(stage, aws)


def _leftover_calls(stage: str, aws: Aws) -> Iterator[str]:
    """The bucket stays, and would go on calling a function that is gone."""
    s3, bucket = aws.client("s3"), f"{APP_NAME}-{stage}-uploads-{aws.account().account_id}"
    try:
        found = s3.get_bucket_notification_configuration(Bucket=bucket)
    except ClientError:
        return
    if found.get("LambdaFunctionConfigurations"):
        s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
        yield f"the calls of the bucket {bucket}"


def _leftover_rules(stage: str, events: Any) -> Iterator[str]:
    for rule in events.list_rules(NamePrefix=f"{APP_NAME}-{stage}-")["Rules"]:
        name = rule["Name"]
        if not name.endswith("-event"):
            continue
        targets = events.list_targets_by_rule(Rule=name)["Targets"]
        if targets:
            events.remove_targets(Rule=name, Ids=[target["Id"] for target in targets])
        events.delete_rule(Name=name)
        yield f"the rule {name}"


def _delete_packages(s3: Any, bucket: str) -> None:
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError:
        return
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", []):
            s3.delete_object(Bucket=bucket, Key=entry["Key"])
    s3.delete_bucket(Bucket=bucket)


def main() -> int:
    """The command line; exit code 1 where the stage is not gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage")
    stage = parser.parse_args().stage
    try:
        stays = list(destroy_stage(stage, Aws()))
    except WaiterError as error:
        print(f"Error: {APP_NAME}-{stage} could not be deleted: {error}", file=sys.stderr)
        return 1
    except (DestroyFailed, ResourcesFailed, BotoCoreError, ClientError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(
        f"{APP_NAME}-{stage} is gone. What holds data stays, to be deleted by hand if it is not "
        "wanted:"
    )
    for line in stays:
        print(f"  {line}")
    print(f"  SSM parameter /{APP_NAME}/{stage}/signing-secret, made at first use")
    print(f"  SSM parameter /{APP_NAME}/{stage}/models, if make model-use made it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
