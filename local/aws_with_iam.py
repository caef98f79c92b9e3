"""MiniStack with IAM enforced: ``python -m local.aws_with_iam``, with AUTH=true.

Puts right what MiniStack 1.5.33 judges otherwise than AWS, and writes down every decision about
a role in the file that ``IAM_DECISIONS`` names: role, action, resource, whether it was allowed.
"""

import json
import os
import re
from email.utils import parseaddr
from pathlib import Path
from typing import Any

from ministack.core import iam_actions, iam_evaluator

from local.emulator import events_wait

# On AWS the permission for a batch is that for a single message.
_BATCHES = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}


def correct_actions() -> None:
    """Name actions as AWS does."""
    original = iam_actions.extract_iam_action

    def extract_iam_action(*request: Any) -> str | None:
        action: str | None = original(*request)
        service, method, _, _, body, query = request
        # Of many objects MiniStack asks for the first one as if no version of it were named.
        if service == "s3" and method == "POST" and "delete" in query:
            targets = iam_actions._s3_batch_delete_targets("", body)  # noqa: SLF001
            return "s3:DeleteObjectVersion" if targets and targets[0][1] else action
        return _BATCHES.get(action or "", action)

    iam_actions.extract_iam_action = extract_iam_action


def correct_resources() -> None:
    """An e-mail is sent as its sender's identity; MiniStack judges it without any."""
    original = iam_actions.extract_resource_arn

    def extract_resource_arn(
        service: str, method: str, path: str, headers: Any, body: bytes, *others: Any
    ) -> str:
        arn: str = original(service, method, path, headers, body, *others)
        if service == "ses" and path.rstrip("/").endswith("/outbound-emails"):
            region, account = others[-2:]
            _, address = parseaddr(json.loads(body or b"{}").get("FromEmailAddress", ""))
            return f"arn:aws:ses:{region}:{account}:identity/{address}"
        # A version is chosen by a suffix of the name, which is no part of the parameter's ARN.
        return re.sub(r"(:parameter/[^:]+):\d+$", r"\1", arn) if service == "ssm" else arn

    iam_actions.extract_resource_arn = extract_resource_arn


def record_decisions(path: Path) -> None:
    """Write down what each role asked for."""
    original = iam_evaluator.enforce

    def enforce(access_key: str, action: str, *arguments: Any, **named: Any) -> Any:
        denied = original(access_key, action, *arguments, **named)
        from ministack.services import sts  # noqa: PLC0415 -- only there once it serves

        session = sts._sessions.get(access_key) if hasattr(sts, "_sessions") else None  # noqa: SLF001
        if access_key.startswith("ASIA"):
            line = {
                "role": (session or {}).get("Arn", access_key),
                "action": action,
                "resource": named.get("resource_arn"),
                "allowed": not denied,
            }
            with path.open("a") as record:
                record.write(json.dumps(line) + "\n")
        return denied

    iam_evaluator.enforce = enforce


if __name__ == "__main__":
    events_wait()
    correct_actions()
    correct_resources()
    record_decisions(Path(os.environ["IAM_DECISIONS"]))
    from ministack.app import main

    main()
