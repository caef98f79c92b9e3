"""The functions' policies, for one stage of one account.

`.chalice/policy-*.json` leaves open, as `*`, what differs by stage and account, as in
``darkroom-*-images``. Nothing of it is deployed as it stands there: here every such place is filled
in, so that a function of one stage reaches nothing of another.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.settings import APP_NAME


@dataclass(frozen=True, kw_only=True)
class Account:
    """Where a stage lives, as the format that is made says it."""

    partition: str
    region: str
    account_id: str


CLOUDFORMATION = Account(
    partition="${AWS::Partition}", region="${AWS::Region}", account_id="${AWS::AccountId}"
)
TERRAFORM = Account(
    partition="${data.aws_partition.chalice.partition}",
    region="${data.aws_region.chalice.name}",
    account_id="${data.aws_caller_identity.chalice.account_id}",
)


def filled_in(
    policy: Mapping[str, Any],
    *,
    stage: str,
    function: str,
    account: Account,
    wrap: Callable[[str], Any] = str,
) -> dict[str, Any]:
    """A policy without anything left open.

    Args:
        policy: What stands in the file.
        stage: The stage.
        function: The function's name in the account, for the group of its log.
        account: What to put for partition, region and account.
        wrap: What makes of a text with such places in it what the format needs.
    """

    def exact(resource: str) -> Any:
        text = exact_arn(resource, stage=stage, function=function, account=account)
        return text if text == "*" else wrap(text)

    statements = []
    for statement in policy["Statement"]:
        resources = statement["Resource"]
        statements.append(
            {
                **statement,
                "Resource": exact(resources)
                if isinstance(resources, str)
                else [exact(resource) for resource in resources],
            }
        )
    return {**policy, "Statement": statements}


def exact_arn(arn: str, *, stage: str, function: str, account: Account) -> str:
    """An ARN of a policy file with everything filled in that is open there."""
    arn = re.sub(r"^arn:\*:", f"arn:{account.partition}:", arn)
    arn = arn.replace(":*:*:", f":{account.region}:{account.account_id}:", 1)
    # The streams of a group come after another colon.
    arn = arn.replace(f"log-group:/aws/lambda/{APP_NAME}-*", f"log-group:/aws/lambda/{function}:*")
    arn = re.sub(
        rf":::{APP_NAME}-\*-(uploads|renditions)-\*",
        rf":::{APP_NAME}-{stage}-\1-{account.account_id}",
        arn,
    )
    arn = arn.replace(f"{APP_NAME}-*-", f"{APP_NAME}-{stage}-")
    return arn.replace(f"parameter/{APP_NAME}/*/", f"parameter/{APP_NAME}/{stage}/")


def substituted(text: str) -> Any:
    """A text of a template, with CloudFormation's own places in it."""
    return {"Fn::Sub": text} if "${" in text else text


def as_text(policy: Mapping[str, Any]) -> str:
    """As it stands in a file."""
    return json.dumps(policy, indent=2) + "\n"
