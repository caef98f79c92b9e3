"""What cfn-lint and checkov do not see, and that what was reviewed has a reason."""

import json
import re
from typing import Any

import pytest
import yaml

from infrastructure.static import REVIEWED, problems
from tests.packaging.test_template import of_type

# Anyone may ask these: whoever looks whether the service is up, whoever unsubscribes, whoever opens
# the console or reads the documentation, and browsers that ask before they ask.
PUBLIC = {
    "get /health",
    "get /unsubscribe",
    "post /unsubscribe",
    "get /",
    "get /console/{name}",
    "get /docs",
    "get /openapi.json",
}
# Theirs are the API key, where it is on, and ids that nobody can guess.
KEYED = {"HasApiKey"}


def test_every_route_is_signed_or_takes_a_key_or_is_on_the_list(resources: dict[str, Any]) -> None:
    paths = resources["RestAPI"]["Properties"]["DefinitionBody"]["paths"]
    for path, methods in paths.items():
        for method, route in methods.items():
            if method == "options":
                assert "security" not in route, path
                continue
            security = route.get("security")
            signed = security == [{"sigv4": []}]
            keyed = isinstance(security, dict) and security["Fn::If"][0] in KEYED
            assert signed or keyed or f"{method} {path}" in PUBLIC, f"{method} {path}"


def test_every_deputy_says_for_which_account_it_speaks(resources: dict[str, Any]) -> None:
    """T19. What SAM makes for routes and schedules names the caller's own ARN."""
    for name, permission in of_type(resources, "AWS::Lambda::Permission").items():
        gateway = permission["Principal"] == "apigateway.amazonaws.com"
        assert gateway or permission.get("SourceAccount") == {"Ref": "AWS::AccountId"}, name
        assert "SourceArn" in permission, name
    for kind in ("AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy"):
        for name, policy in of_type(resources, kind).items():
            for statement in policy["PolicyDocument"]["Statement"]:
                if statement["Effect"] == "Deny":
                    continue
                assert statement["Principal"] != "*", name
                assert "sourceaccount" in json.dumps(statement["Condition"]).lower(), name


def test_no_policy_of_a_function_leaves_open_what_aws_can_narrow(resources: dict[str, Any]) -> None:
    """Every `*` is of a kind that has its reason here."""
    reasons = {
        r"^\*$": "tracing knows no resources",
        r"/stream/\*$": "a stream has its date in its name",
        r"^arn:\$\{AWS::Partition\}:s3:::[^*]+/\*$": "the objects under one prefix",
        r":log-group:/aws/lambda/[^*]+:\*$": "the streams of the function's own log",
        r":ses:[^*]+:identity/\*$": "the sender is a parameter, as an address or as its domain",
    }
    used: set[str] = set()
    for name, role in of_type(resources, "AWS::IAM::Role").items():
        for policy in role.get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                actions, listed = statement["Action"], statement["Resource"]
                # An action is named in full, everywhere.
                assert "*" not in json.dumps(actions), (name, actions)
                for resource in listed if isinstance(listed, list) else [listed]:
                    text = resource["Fn::Sub"] if isinstance(resource, dict) else resource
                    if text == "*":
                        # These two have no other form: the service authorization reference
                        # lists no resource for them.
                        assert set(actions) <= {
                            "xray:PutTraceSegments",
                            "xray:PutTelemetryRecords",
                        }, (name, actions)
                    found = {reason for reason in reasons if re.search(reason, text)}
                    assert "*" not in text or found, (name, text)
                    used |= found
    assert used == set(reasons)


def test_no_function_of_a_stage_reaches_anything_of_another(resources: dict[str, Any]) -> None:
    for role in of_type(resources, "AWS::IAM::Role").values():
        for found in re.findall(r"darkroom[-/][^\"]*", json.dumps(role)):
            assert re.match(r"darkroom[-/](prod|\$\{Stage\})", found), found


def test_each_function_writes_to_its_own_log_alone(resources: dict[str, Any]) -> None:
    groups = set()
    for role in of_type(resources, "AWS::IAM::Role").values():
        groups |= set(re.findall(r"log-group:/aws/lambda/([^:]+):\*", json.dumps(role)))
    names = {
        function["FunctionName"]["Fn::Sub"].replace("${Stage}", "prod")
        for function in of_type(resources, "AWS::Serverless::Function").values()
    }
    assert groups == names


def test_the_api_is_throttled_and_logged(
    template: dict[str, Any], resources: dict[str, Any]
) -> None:
    api = resources["RestAPI"]["Properties"]
    (settings,) = api["MethodSettings"]
    assert (settings["ResourcePath"], settings["HttpMethod"]) == ("/*", "*")
    assert settings["ThrottlingRateLimit"] == {"Ref": "ApiRateLimit"}
    assert settings["ThrottlingBurstLimit"] == {"Ref": "ApiBurstLimit"}
    condition, log, _ = api["AccessLogSetting"]["Fn::If"]
    assert condition == "HasAccessLog"
    line = json.loads(re.sub(r"(: )(\$context\.[A-Za-z.]+)", r'\1"\2"', log["Format"]))
    assert line["request_id"] == "$context.requestId"
    assert "identity.sourceIp" not in log["Format"]
    assert template["Parameters"]["AccessLog"]["Default"] == "on"


def test_keys_are_an_option_with_a_limit_and_a_quota(resources: dict[str, Any]) -> None:
    for name in ("UsagePlan", "FirstApiKey", "FirstApiKeyInPlan"):
        assert resources[name]["Condition"] == "HasApiKey"
    plan = resources["UsagePlan"]["Properties"]
    assert plan["Throttle"]["RateLimit"] == {"Ref": "ApiKeyRateLimit"}
    assert plan["Quota"] == {"Limit": {"Ref": "ApiKeyMonthlyQuota"}, "Period": "MONTH"}
    body = resources["RestAPI"]["Properties"]["DefinitionBody"]
    assert body["securityDefinitions"]["api_key"]["name"] == "x-api-key"


def test_what_holds_data_is_kept_when_the_stack_goes(resources: dict[str, Any]) -> None:
    kept = {n for n, r in resources.items() if r.get("DeletionPolicy") == "Retain"}
    assert kept == {
        *("UploadsBucket", "RenditionsBucket", "ImagesTable", "TrackingTable"),
        *("NotificationsTable", "SuppressionsTable", "AnnouncementsTable"),
        # The account's own, not ours: without it no API of the region could write a log.
        "ApiGatewayLogsRole",
    }
    for name in kept:
        assert resources[name]["UpdateReplacePolicy"] == "Retain"


def test_a_user_finds_everything_in_the_outputs(template: dict[str, Any]) -> None:
    outputs = set(template["Outputs"])
    assert {
        *("EndpointURL", "UploadsBucketName", "RenditionsBucketName", "UploadPrefix"),
        *("ImagesTableName", "TrackingTableName", "CdnDomainName", "DashboardUrl"),
        *("AlarmsTopicArn", "PreprocessingQueueUrl", "PreprocessingDeadLettersUrl"),
    } <= outputs
    for kind, ending in (
        ("AWS::Serverless::Function", "Arn"),
        ("AWS::SQS::Queue", "Url"),
        ("AWS::DynamoDB::Table", "Name"),
        ("AWS::S3::Bucket", "Name"),
        ("AWS::SNS::Topic", "Arn"),
    ):
        found = of_type(template["Resources"], kind)
        assert found
        assert {f"{name}{ending}" for name in found} <= outputs


def test_a_layer_goes_with_its_stack(template: dict[str, Any]) -> None:
    layers = of_type(template["Resources"], "AWS::Serverless::LayerVersion")
    assert layers
    assert all(layer["RetentionPolicy"] == "Delete" for layer in layers.values())


def test_every_finding_that_is_left_has_a_reason() -> None:
    for check, entry in yaml.safe_load(REVIEWED.read_text()).items():
        assert re.fullmatch(r"CKV2?_AWS_\d+", check)
        assert len(entry["why"].split()) > 5, check
        re.compile(entry["where"])


REVIEW = {"CKV_AWS_1": {"where": "Some.*", "why": "…"}}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([("CKV_AWS_1", "SomeQueue", "x")], []),
        (
            [("CKV_AWS_1", "Other", "encrypt")],
            ["CKV_AWS_1 Other: encrypt", "CKV_AWS_1 is reviewed, and no longer found"],
        ),
        (
            [("CKV_AWS_1", "Some", "x"), ("CKV_AWS_2", "Some", "encrypt")],
            ["CKV_AWS_2 Some: encrypt"],
        ),
        ([], ["CKV_AWS_1 is reviewed, and no longer found"]),
    ],
)
def test_a_finding_fails_unless_reviewed_and_a_review_unless_found(
    found: list[tuple[str, str, str]], said: list[str]
) -> None:
    assert problems(found, REVIEW) == said
