"""Which permissions AWS asks for, call by call.

From the service authorization reference of each service, and where that says less than AWS does,
from its answers. A call that is not here fails the test that makes it: whoever adds a call looks
up what it takes.
"""

import re
from collections.abc import Callable, Mapping
from email import message_from_bytes
from email.utils import parseaddr
from typing import Any
from urllib.parse import unquote, urlsplit

from local.aws import ACCOUNT, REGION
from tests.privilege.policy import Request

type Parameters = Mapping[str, Any]


def asked(service: str, operation: str, parameters: Parameters) -> list[Request]:
    """What IAM is asked about a call; all of it has to be allowed.

    Args:
        service: As botocore calls it.
        operation: Likewise.
        parameters: Those of the call.
    """
    rule = _RULES.get((service, operation))
    assert rule is not None, f"tests/privilege/permissions.py: what does {operation} ask for?"
    return rule(parameters)


def asked_if_missing(bucket: str) -> Request:
    """What S3 asks about an object that is not there: who may not list is told 403, not 404."""
    return Request(action="s3:ListBucket", resource=f"arn:aws:s3:::{bucket}")


def asked_by_link(method: str, url: str) -> Request:
    """What S3 asks about a signed link, of whoever signed it, when it is used."""
    parts = urlsplit(url)
    action = {"GET": "s3:GetObject", "PUT": "s3:PutObject", "POST": "s3:PutObject"}[method]
    return Request(action=action, resource=f"arn:aws:s3:::{unquote(parts.path).lstrip('/')}")


# --- DynamoDB -----------------------------------------------------------------------------------


def _table(name: str, index: str | None = None) -> str:
    arn = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"
    return arn if index is None else f"{arn}/index/{index}"


def _on_table(operation: str) -> Callable[[Parameters], list[Request]]:
    def rule(parameters: Parameters) -> list[Request]:
        resource = _table(parameters["TableName"], parameters.get("IndexName"))
        return [Request(action=f"dynamodb:{operation}", resource=resource)]

    return rule


def _batch_get(parameters: Parameters) -> list[Request]:
    return [
        Request(action="dynamodb:BatchGetItem", resource=_table(name))
        for name in parameters["RequestItems"]
    ]


def _transact_write(parameters: Parameters) -> list[Request]:
    """Each part asks for what it does."""
    actions = {"ConditionCheck": "ConditionCheckItem"}
    return [
        Request(
            action=f"dynamodb:{actions.get(kind, f'{kind}Item')}",
            resource=_table(part["TableName"]),
        )
        for item in parameters["TransactItems"]
        for kind, part in item.items()
    ]


# --- S3 -----------------------------------------------------------------------------------------


def _object(parameters: Parameters) -> str:
    return f"arn:aws:s3:::{parameters['Bucket']}/{parameters['Key']}"


def _on_object(action: str, versioned: str | None = None) -> Callable[[Parameters], list[Request]]:
    def rule(parameters: Parameters) -> list[Request]:
        # Of a version that is named, the permission for versions is asked, and no other.
        chosen = versioned if versioned and parameters.get("VersionId") else action
        return [Request(action=chosen, resource=_object(parameters))]

    return rule


def copied_from(parameters: Parameters) -> str:
    """Bucket and key of what is copied, as the SDK writes them into the request."""
    return unquote(str(parameters["CopySource"])).lstrip("/").partition("?")[0]


def _copy_object(parameters: Parameters) -> list[Request]:
    """Read the one, write the other."""
    return [
        Request(action="s3:GetObject", resource=f"arn:aws:s3:::{copied_from(parameters)}"),
        Request(action="s3:PutObject", resource=_object(parameters)),
    ]


def _delete_objects(parameters: Parameters) -> list[Request]:
    delete = _on_object("s3:DeleteObject", "s3:DeleteObjectVersion")
    return [
        request
        for entry in parameters["Delete"]["Objects"]
        for request in delete({**entry, "Bucket": parameters["Bucket"]})
    ]


def _on_bucket(action: str) -> Callable[[Parameters], list[Request]]:
    def rule(parameters: Parameters) -> list[Request]:
        return [
            Request(
                action=action,
                resource=f"arn:aws:s3:::{parameters['Bucket']}",
                keys={"s3:prefix": parameters["Prefix"]} if "Prefix" in parameters else {},
            )
        ]

    return rule


# --- The others ---------------------------------------------------------------------------------


def _on_queue(action: str) -> Callable[[Parameters], list[Request]]:
    def rule(parameters: Parameters) -> list[Request]:
        name = parameters.get("QueueName") or parameters["QueueUrl"].rpartition("/")[2]
        resource = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        # A batch asks for what its entries ask for.
        return [Request(action=f"sqs:{action}", resource=resource)]

    return rule


def _on_parameter(action: str) -> Callable[[Parameters], list[Request]]:
    def rule(parameters: Parameters) -> list[Request]:
        # A version is chosen by a suffix, which is no part of the ARN. Encrypted ones are under
        # the key aws/ssm, whose own policy lets in whoever may use SSM.
        name = re.sub(r":\d+$", "", parameters["Name"])
        resource = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{name.lstrip('/')}"
        return [Request(action=f"ssm:{action}", resource=resource)]

    return rule


def _send_email(parameters: Parameters) -> list[Request]:
    """For the sender and for the configuration set. The reference names ``SendEmail``; of raw
    content SES's refusals name ``SendRawEmail``.
    """
    raw = parameters["Content"].get("Raw")
    sender = parameters.get("FromEmailAddress")
    if sender is None and raw is not None:
        sender = str(message_from_bytes(raw["Data"])["From"])
    resources = [f"identity/{parseaddr(sender or '')[1]}"]
    if parameters.get("ConfigurationSetName"):
        resources.append(f"configuration-set/{parameters['ConfigurationSetName']}")
    return [
        Request(action=f"ses:{action}", resource=f"arn:aws:ses:{REGION}:{ACCOUNT}:{resource}")
        for action in ("SendEmail", *(("SendRawEmail",) if raw is not None else ()))
        for resource in resources
    ]


def _put_events(parameters: Parameters) -> list[Request]:
    buses = {entry.get("EventBusName", "default") for entry in parameters["Entries"]}
    return [
        Request(
            action="events:PutEvents",
            resource=f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{bus}",
        )
        for bus in sorted(buses)
    ]


def _publish(parameters: Parameters) -> list[Request]:
    return [Request(action="sns:Publish", resource=parameters["TopicArn"])]


_RULES: Mapping[tuple[str, str], Callable[[Parameters], list[Request]]] = {
    **{
        ("dynamodb", operation): _on_table(operation)
        for operation in ("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "Scan")
    },
    ("dynamodb", "BatchGetItem"): _batch_get,
    ("dynamodb", "TransactWriteItems"): _transact_write,
    ("s3", "GetObject"): _on_object("s3:GetObject", "s3:GetObjectVersion"),
    ("s3", "HeadObject"): _on_object("s3:GetObject", "s3:GetObjectVersion"),
    ("s3", "PutObject"): _on_object("s3:PutObject"),
    ("s3", "CopyObject"): _copy_object,
    ("s3", "DeleteObject"): _on_object("s3:DeleteObject", "s3:DeleteObjectVersion"),
    ("s3", "DeleteObjects"): _delete_objects,
    ("s3", "HeadBucket"): _on_bucket("s3:ListBucket"),
    ("s3", "ListObjectsV2"): _on_bucket("s3:ListBucket"),
    ("s3", "ListObjectVersions"): _on_bucket("s3:ListBucketVersions"),
    **{
        ("sqs", operation): _on_queue(operation.removesuffix("Batch"))
        for operation in (
            *("SendMessage", "SendMessageBatch", "DeleteMessage", "DeleteMessageBatch"),
            *("ChangeMessageVisibility", "ChangeMessageVisibilityBatch"),
            *("GetQueueUrl", "GetQueueAttributes", "ReceiveMessage"),
        )
    },
    ("ssm", "GetParameter"): _on_parameter("GetParameter"),
    ("ssm", "PutParameter"): _on_parameter("PutParameter"),
    ("sesv2", "SendEmail"): _send_email,
    ("events", "PutEvents"): _put_events,
    ("sns", "Publish"): _publish,
    ("sns", "PublishBatch"): _publish,
}
