"""Take a stage down: ``python -m operations.destroy STAGE``.

What holds data is kept by the stack itself (`DeletionPolicy: Retain`); this deletes the rest, and
says what stays.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from typing import Any

import boto3
import yaml
from botocore.exceptions import WaiterError

from chalicelib.settings import APP_NAME


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


def main() -> int:
    """The command line; exit code 1 where the stack is not gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage")
    stack = f"{APP_NAME}-{parser.parse_args().stage}"
    cloudformation = boto3.client("cloudformation")
    try:
        stays = list(destroy(cloudformation, stack))
    except cloudformation.exceptions.ClientError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except WaiterError as error:
        print(f"Error: {stack} could not be deleted: {error}", file=sys.stderr)
        return 1
    print(f"{stack} is gone. What holds data stays, to be deleted by hand if it is not wanted:")
    for line in stays:
        print(f"  {line}")
    print(
        f"  SSM parameter /{APP_NAME}/{stack.partition('-')[2]}/signing-secret, made at first use"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
