"""What is outside of a policy is denied."""

import re

import pytest

from chalicelib.settings import APP_NAME
from local.aws import ACCOUNT, REGION
from tests.privilege.policy import STAGE, Grant, Policy, Request, function_names, policy_of

UPLOADS = f"arn:aws:s3:::{APP_NAME}-{STAGE}-uploads-{ACCOUNT}"
RENDITIONS = f"arn:aws:s3:::{APP_NAME}-{STAGE}-renditions-{ACCOUNT}"


def table(name: str) -> str:
    return f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{APP_NAME}-{STAGE}-{name}"


def queue(name: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{APP_NAME}-{STAGE}-{name}"


def parameter(name: str) -> str:
    return f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{APP_NAME}/{STAGE}/{name}"


# What a function that was taken over would do first.
FOR_NOBODY = [
    *(("dynamodb:Scan", table(name)) for name in ("images", "tracking", "suppressions")),
    *(("dynamodb:DeleteTable", table(name)) for name in ("images", "tracking")),
    *(("dynamodb:DeleteItem", table(name)) for name in ("images", "tracking", "notifications")),
    *(("s3:DeleteBucket", bucket) for bucket in (UPLOADS, RENDITIONS)),
    *(("s3:PutBucketPolicy", bucket) for bucket in (UPLOADS, RENDITIONS)),
    *(("s3:PutLifecycleConfiguration", bucket) for bucket in (UPLOADS, RENDITIONS)),
    ("s3:DeleteObjectVersion", f"{UPLOADS}/dead-letters/mail/1.json"),
    ("s3:PutObject", f"{UPLOADS}/models/means/1/model.onnx"),
    ("s3:DeleteObjectVersion", f"{UPLOADS}/models/means/1/model.onnx"),
    ("s3:ListAllMyBuckets", "*"),
    ("sqs:PurgeQueue", queue("preprocessing")),
    ("sqs:DeleteQueue", queue("preprocessing")),
    ("ssm:PutParameter", parameter("flags")),
    ("ssm:PutParameter", parameter("models")),
    ("ssm:GetParametersByPath", parameter("")),
    ("iam:PutRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/any"),
    ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/any"),
    ("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/any"),
    ("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{APP_NAME}-{STAGE}"),
    ("lambda:UpdateFunctionCode", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{APP_NAME}-{STAGE}"),
    ("kms:Decrypt", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/any"),
    ("logs:DeleteLogGroup", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/any"),
]
# What belongs to another function.
FOR_OTHERS = {
    "api_handler": [
        ("s3:PutObject", f"{RENDITIONS}/renditions/x/1/thumb.jpg"),
        ("s3:GetObject", f"{UPLOADS}/processed/x/1/input.ppm"),
        ("s3:PutObject", f"{UPLOADS}/dead-letters/mail/1.json"),
        ("sqs:ReceiveMessage", queue("preprocessing")),
        ("sqs:SendMessage", queue("mail-feedback")),
        ("sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:darkroom-{STAGE}-alarms"),
        ("dynamodb:UpdateItem", table("tracking")),
        ("ses:SendEmail", f"arn:aws:ses:{REGION}:{ACCOUNT}:identity/darkroom.example"),
    ],
    "ingest": [
        ("s3:GetObject", f"{UPLOADS}/uploads/x/source"),
        ("s3:PutObject", f"{UPLOADS}/uploads/x/source"),
        ("sqs:SendMessage", queue("inference")),
        ("dynamodb:GetItem", table("tracking")),
    ],
    "preprocess": [
        ("s3:PutObject", f"{UPLOADS}/uploads/x/source"),
        ("s3:DeleteObjectVersion", f"{UPLOADS}/uploads/x/source"),
        ("s3:PutObject", f"{UPLOADS}/dead-letters/preprocess/1.json"),
        ("sqs:SendMessage", queue("notification")),
        ("dynamodb:PutItem", table("images")),
    ],
    "infer": [
        ("s3:GetObject", f"{UPLOADS}/uploads/x/source"),
        ("s3:GetObjectVersion", f"{UPLOADS}/uploads/x/source"),
        ("s3:PutObject", f"{RENDITIONS}/renditions/x/1/thumb.jpg"),
        ("s3:PutObject", f"{UPLOADS}/processed/x/1/input.ppm"),
        ("sqs:SendMessage", queue("conversion")),
    ],
    "optimise": [
        ("s3:PutObject", f"{RENDITIONS}/results/x/1/m.json"),
        ("s3:DeleteObjectVersion", f"{UPLOADS}/uploads/x/source"),
        ("sqs:SendMessage", queue("inference")),
    ],
    "bury_ingest": [("dynamodb:UpdateItem", table("images"))],
    "bury_preprocessing": [
        ("s3:PutObject", f"{UPLOADS}/dead-letters/infer/1.json"),
        ("s3:GetObject", f"{UPLOADS}/uploads/x/source"),
    ],
    "bury_inference": [("s3:PutObject", f"{UPLOADS}/dead-letters/preprocess/1.json")],
    "bury_conversion": [("sqs:SendMessage", queue("conversion"))],
    "check": [
        ("s3:GetObject", f"{UPLOADS}/uploads/x/source"),
        ("s3:DeleteObjectVersion", f"{RENDITIONS}/renditions/x/1/thumb.jpg"),
        ("sqs:ReceiveMessage", queue("preprocessing")),
        ("sqs:SendMessage", queue("notification")),
    ],
    "announce": [
        ("dynamodb:GetItem", table("images")),
        ("dynamodb:UpdateItem", table("images")),
        ("sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:darkroom-{STAGE}-alarms"),
        ("s3:PutObject", f"{UPLOADS}/dead-letters/notify/1.json"),
        ("sqs:SendMessage", queue("notification")),
    ],
    "notify": [
        ("sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:darkroom-{STAGE}-image-events"),
        ("dynamodb:GetItem", table("tracking")),
        ("ses:SendEmail", f"arn:aws:ses:{REGION}:{ACCOUNT}:identity/darkroom.example"),
        ("s3:PutObject", f"{UPLOADS}/dead-letters/mail/1.json"),
    ],
    "mail": [
        ("s3:GetObject", f"{RENDITIONS}/results/x/1/m.json"),
        ("s3:GetObject", f"{UPLOADS}/uploads/x/source"),
        ("dynamodb:UpdateItem", table("images")),
        ("dynamodb:GetItem", table("tracking")),
    ],
    "bury_notification": [("ses:SendEmail", f"arn:aws:ses:{REGION}:{ACCOUNT}:identity/x.example")],
    "feedback": [
        ("dynamodb:GetItem", table("notifications")),
        ("dynamodb:DeleteItem", table("suppressions")),
    ],
    "bury_feedback": [("dynamodb:PutItem", table("suppressions"))],
}


@pytest.mark.parametrize("function", [name for name in function_names() if name != "api_handler"])
@pytest.mark.parametrize("action", ["s3:GetObject", "s3:DeleteObject"])
def test_what_was_given_up_is_for_the_api_alone(function: str, action: str) -> None:
    """It may tell addresses; the API shows none of it, and sends it back."""
    request = Request(action=action, resource=f"{UPLOADS}/dead-letters/mail/1.json")
    assert not policy_of(function).allows(request)
    assert policy_of("api_handler").allows(request)


@pytest.mark.parametrize("function", function_names())
def test_what_no_function_needs_is_denied_to_each(function: str) -> None:
    policy = policy_of(function)
    requests = [Request(action=action, resource=resource) for action, resource in FOR_NOBODY]
    assert [str(request) for request in requests if policy.allows(request)] == []


@pytest.mark.parametrize(
    ("function", "action", "resource"),
    [(function, *entry) for function, entries in FOR_OTHERS.items() for entry in entries],
)
def test_what_is_another_functions_is_denied(function: str, action: str, resource: str) -> None:
    assert not policy_of(function).allows(Request(action=action, resource=resource))


def test_each_function_has_something_that_is_another_ones() -> None:
    assert set(FOR_OTHERS) == set(function_names())


@pytest.mark.parametrize("function", function_names())
def test_the_same_of_another_stage_region_or_account_is_denied(function: str) -> None:
    policy = policy_of(function)
    for grant in policy.grants:
        if grant.resource == "*":
            continue
        here = grant.resource.replace("*", "x")
        elsewhere = {
            re.sub(rf"(?<={APP_NAME})([-/]){STAGE}(?=[-/:]|$)", r"\1prod", here),
            here.replace(ACCOUNT, "111111111111"),
            here.replace(REGION, "eu-west-1"),
        } - {here}
        assert elsewhere, grant
        for resource in elsewhere:
            assert not policy.allows(Request(action=grant.action, resource=resource)), resource


# --- The judge itself -----------------------------------------------------------------------------

POLICY = Policy(
    grants=(
        Grant(action="s3:Get*", resource="arn:aws:s3:::b/a/*", conditions={}),
        Grant(
            action="s3:ListBucketVersions",
            resource="arn:aws:s3:::b",
            conditions={"StringLike": {"s3:prefix": "uploads/*"}},
        ),
    )
)


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        (Request(action="s3:GetObject", resource="arn:aws:s3:::b/a/x/y"), True),
        (Request(action="S3:GETOBJECT", resource="arn:aws:s3:::b/a/"), True),
        (Request(action="s3:GetObject", resource="arn:aws:s3:::B/a/x"), False),
        (Request(action="s3:GetObject", resource="arn:aws:s3:::b/c"), False),
        (Request(action="s3:PutObject", resource="arn:aws:s3:::b/a/x"), False),
        (Request(action="s3:GetObject", resource="arn:aws:s3:::b.a/a/x"), False),
        (
            Request(
                action="s3:ListBucketVersions",
                resource="arn:aws:s3:::b",
                keys={"s3:prefix": "uploads/x"},
            ),
            True,
        ),
        (
            Request(
                action="s3:ListBucketVersions",
                resource="arn:aws:s3:::b",
                keys={"s3:prefix": "models/x"},
            ),
            False,
        ),
        (Request(action="s3:ListBucketVersions", resource="arn:aws:s3:::b"), False),
    ],
)
def test_the_judge_matches_as_iam_does(request_: Request, *, allowed: bool) -> None:
    assert POLICY.allows(request_) is allowed
