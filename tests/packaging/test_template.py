"""What the packaged template says, where no tool looks."""

import dataclasses
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.flags import Config, Flags
from infrastructure.package import PackagingFailed, make_package
from local.stack import with_numbers

FUNCTIONS = {
    "APIHandler": (512, 30),
    "Ingest": (256, 60),
    "Preprocess": (1769, 300),
    "Infer": (3008, 300),
    "Optimise": (2560, 300),
    "BuryIngest": (256, 60),
    "BuryPreprocessing": (256, 60),
    "BuryInference": (256, 60),
    "BuryConversion": (256, 60),
    "Check": (256, 60),
    "Announce": (256, 60),
    "Notify": (256, 60),
    "Mail": (256, 60),
    "BuryNotification": (256, 60),
    "Feedback": (256, 60),
    "BuryFeedback": (256, 60),
}
QUEUES_OF = {
    "Preprocess": ("PreprocessingQueue", "PreprocessingDeadLetters"),
    "Infer": ("InferenceQueue", "InferenceDeadLetters"),
    "Optimise": ("ConversionQueue", "ConversionDeadLetters"),
    "Mail": ("NotificationQueue", "NotificationDeadLetters"),
}


def of_type(resources: dict[str, Any], kind: str) -> dict[str, Any]:
    """The properties of all resources of a type."""
    return {n: r["Properties"] for n, r in resources.items() if r["Type"] == kind}


def test_memory_and_timeout_of_every_function(resources: dict[str, Any]) -> None:
    functions = of_type(resources, "AWS::Serverless::Function")
    assert {n: (f["MemorySize"], f["Timeout"]) for n, f in functions.items()} == FUNCTIONS
    assert all(function["Tracing"] == "Active" for function in functions.values())


def test_every_function_has_a_role_of_its_own(resources: dict[str, Any]) -> None:
    functions = of_type(resources, "AWS::Serverless::Function")
    roles = [json.dumps(function["Role"]) for function in functions.values()]
    assert len(set(roles)) == len(functions)


def test_no_policy_allows_everything_but_tracing_which_knows_no_resources(
    resources: dict[str, Any],
) -> None:
    """Defect 18: roles lacked what they needed and had what they did not."""
    for name, role in of_type(resources, "AWS::IAM::Role").items():
        for policy in role.get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                assert "*" not in json.dumps(statement["Action"]), name
                if statement["Resource"] == "*":
                    assert all(action.startswith("xray:") for action in statement["Action"]), name


def test_a_message_stays_invisible_for_six_timeouts_and_a_dead_letter_outlives_its_queue(
    resources: dict[str, Any],
) -> None:
    """Defects 21 and 22: 360 s for a timeout of 300 s, and dead letters that died on arrival."""
    queues = of_type(resources, "AWS::SQS::Queue")
    for function, (name, letters) in QUEUES_OF.items():
        queue = queues[name]
        assert queue["VisibilityTimeout"] >= 6 * FUNCTIONS[function][1]
        assert queues[letters]["MessageRetentionPeriod"] > queue["MessageRetentionPeriod"]
        assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": [letters, "Arn"]}
        receives = "MailReceives" if function == "Mail" else "MaxReceives"
        assert queue["RedrivePolicy"]["maxReceiveCount"] == {"Ref": receives}
    for name, queue in queues.items():
        assert queue["SqsManagedSseEnabled"] is True, name
        assert queue["VisibilityTimeout"] >= 6 * 60, name


def test_a_message_is_received_five_times_unless_said_otherwise(template: dict[str, Any]) -> None:
    assert template["Parameters"]["MaxReceives"]["Default"] == 5


def test_queues_limit_their_functions_by_concurrency_not_by_reservation(
    resources: dict[str, Any],
) -> None:
    """Defect 21: throttled invokes use up receives."""
    for name, function in of_type(resources, "AWS::Serverless::Function").items():
        assert "ReservedConcurrentExecutions" not in function
        for event in function.get("Events", {}).values():
            if event["Type"] == "SQS" and name in QUEUES_OF:
                assert "MaximumConcurrency" in event["Properties"]["ScalingConfig"]


def test_each_function_reads_the_queue_that_the_stack_makes(resources: dict[str, Any]) -> None:
    functions = of_type(resources, "AWS::Serverless::Function")
    sources = {
        name: [
            event["Properties"]["Queue"]
            for event in function.get("Events", {}).values()
            if event["Type"] == "SQS"
        ]
        for name, function in functions.items()
    }
    assert sources["Preprocess"] == [{"Fn::Sub": "${PreprocessingQueue.Arn}"}]
    assert sources["Infer"] == [{"Fn::Sub": "${InferenceQueue.Arn}"}]
    assert sources["BuryPreprocessing"] == [{"Fn::Sub": "${PreprocessingDeadLetters.Arn}"}]
    assert sources["BuryInference"] == [{"Fn::Sub": "${InferenceDeadLetters.Arn}"}]
    assert sources["BuryIngest"] == [{"Fn::Sub": "${IngestDeadLetters.Arn}"}]


def test_uploads_of_any_name_reach_ingest_and_only_from_this_account(
    resources: dict[str, Any],
) -> None:
    bucket = resources["UploadsBucket"]
    (notification,) = bucket["Properties"]["NotificationConfiguration"]["LambdaConfigurations"]
    assert notification["Filter"]["S3Key"]["Rules"] == [{"Name": "prefix", "Value": "uploads/"}]
    permission = resources["IngestPermission"]["Properties"]
    assert permission["SourceAccount"] == {"Ref": "AWS::AccountId"}
    assert permission["SourceArn"]["Fn::Sub"].endswith(
        bucket["Properties"]["BucketName"]["Fn::Sub"]
    )
    assert "IngestPermission" in bucket["DependsOn"]
    target = resources["Ingest"]["Properties"]["DeadLetterQueue"]["TargetArn"]
    assert target == {"Fn::GetAtt": ["IngestDeadLetters", "Arn"]}


def test_buckets_are_private_encrypted_and_tls_only(resources: dict[str, Any]) -> None:
    """Defect 19: no encryption, no TLS."""
    buckets = of_type(resources, "AWS::S3::Bucket")
    assert set(buckets) == {"UploadsBucket", "RenditionsBucket"}
    for name, bucket in buckets.items():
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["BucketEncryption"]
        assert bucket["LifecycleConfiguration"]["Rules"]
        statement, *others = resources[f"{name}Policy"]["Properties"]["PolicyDocument"]["Statement"]
        assert all(other["Fn::If"][0] == "HasCdn" for other in others)
        assert statement["Effect"] == "Deny"
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert resources[name]["DeletionPolicy"] == "Retain"
        assert resources[name]["UpdateReplacePolicy"] == "Retain"
    assert buckets["UploadsBucket"]["VersioningConfiguration"] == {"Status": "Enabled"}


def test_tables_are_on_demand_and_their_indexes_have_no_capacity(
    resources: dict[str, Any],
) -> None:
    """Defect 20: AWS refuses capacity on an index of an on-demand table; the emulators do not."""
    tables = of_type(resources, "AWS::DynamoDB::Table")
    assert {"ImagesTable", "IdempotencyTable", "TrackingTable"} <= set(tables)
    for name, table in tables.items():
        assert table["BillingMode"] == "PAY_PER_REQUEST"
        assert "ProvisionedThroughput" not in json.dumps(table)
        assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
        assert table["SSESpecification"]["SSEEnabled"] is True
        expiry = {"AttributeName": "expires_at", "Enabled": True}
        assert table.get("TimeToLiveSpecification", expiry) == expiry, name
    assert {"ImagesTable", "IdempotencyTable"} <= {
        name for name, table in tables.items() if "TimeToLiveSpecification" in table
    }
    assert "TimeToLiveSpecification" not in tables["TrackingTable"], "a history is kept for good"


def test_the_tracking_table_is_kept_streamed_and_indexed_by_status_and_time(
    resources: dict[str, Any],
) -> None:
    table = resources["TrackingTable"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
    properties = table["Properties"]
    assert [key["AttributeName"] for key in properties["KeySchema"]] == ["tracking_id", "timestamp"]
    assert properties["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    (index,) = properties["GlobalSecondaryIndexes"]
    assert index["IndexName"] == "by_status"
    assert [key["AttributeName"] for key in index["KeySchema"]] == [
        *("status_shard", "last_update_at")
    ]


def test_the_values_in_ssm_are_such_as_the_code_takes(resources: dict[str, Any]) -> None:
    parameters = of_type(resources, "AWS::SSM::Parameter")
    flags = msgspec.json.decode(parameters["FlagsParameter"]["Value"], type=Flags)
    config = msgspec.json.decode(parameters["ConfigParameter"]["Value"], type=Config)
    assert flags == Flags(
        enhanced_tracking=True, batch_processing=True, real_time_notifications=True
    )
    assert config == Config()
    for name, schema in (("FlagsParameter", Flags), ("ConfigParameter", Config)):
        written = json.loads(parameters[name]["Value"])
        assert set(written) == {field.name for field in dataclasses.fields(schema)}
        assert parameters[name]["Type"] == "String", "nothing in it is a secret (defect 57)"


def test_the_check_runs_every_five_minutes(resources: dict[str, Any]) -> None:
    (event,) = resources["Check"]["Properties"]["Events"].values()
    assert event["Type"] == "Schedule"
    assert event["Properties"]["Schedule"] == "rate(5 minutes)"


def test_the_routes_of_parcels_and_letters_take_signed_requests_alone_and_their_preflight_any(
    resources: dict[str, Any],
) -> None:
    """`chalice local` does not enforce it, so the template has to say it. Defect 60."""
    definition = resources["RestAPI"]["Properties"]["DefinitionBody"]
    signed = {
        f"{method} {path}"
        for path, methods in definition["paths"].items()
        for method, route in methods.items()
        if route.get("security") == [{"sigv4": []}]
    }
    assert signed == {
        *("post /track", "get /status"),
        *("get /dead-letters", "post /dead-letters/redrive"),
    }
    assert definition["securityDefinitions"]["sigv4"]["x-amazon-apigateway-authtype"] == "awsSigv4"


def test_the_roles_of_parcels_may_do_what_they_do_and_nothing_else(
    resources: dict[str, Any],
) -> None:
    """Defect 58: Scan, batch writes and all of SSM were allowed, and used by nobody."""

    def allowed(role: str, service: str, resource: str) -> set[str]:
        return {
            action.partition(":")[2]
            for policy in resources[role]["Properties"]["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
            for action in statement["Action"]
            if action.startswith(service) and resource in json.dumps(statement["Resource"])
        }

    assert allowed("ApiHandlerRole", "dynamodb:", "-tracking") == {"GetItem", "PutItem", "Query"}
    assert allowed("ApiHandlerRole", "ssm:", "/flags") == {"GetParameter"}
    assert allowed("CheckRole", "dynamodb:", "-tracking") == {"Query", "UpdateItem"}
    assert allowed("CheckRole", "events:", "event-bus/default") == {"PutEvents"}
    assert allowed("CheckRole", "ssm:", "/config") == {"GetParameter"}
    assert allowed("CheckRole", "ssm:", "parameter/darkroom/prod/signing-secret") == set()


def test_the_api_alone_counts_quotas_and_may_write_where_they_are_counted(
    template: dict[str, Any], resources: dict[str, Any]
) -> None:
    """Off unless a parameter says otherwise."""
    assert template["Parameters"]["CallerQuota"]["Default"] == 0
    told = {
        name: function["Environment"]["Variables"].get("QUOTA_REQUESTS")
        for name, function in of_type(resources, "AWS::Serverless::Function").items()
    }
    assert {name for name, quota in told.items() if quota} == {"APIHandler"}
    assert told["APIHandler"] == {"Ref": "CallerQuota"}
    assert "UpdateItem" in json.dumps(
        [
            statement["Action"]
            for policy in resources["ApiHandlerRole"]["Properties"]["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
            if "-idempotency" in json.dumps(statement["Resource"])
        ]
    )


def test_what_is_called_by_api_gateway_has_no_dead_letter_queue(
    resources: dict[str, Any],
) -> None:
    """Defect 59: it is for calls that nobody waits for, so nothing could ever reach it."""
    assert "DeadLetterQueue" not in resources["APIHandler"]["Properties"]


def test_what_the_gateway_refuses_has_the_one_shape_and_cors(resources: dict[str, Any]) -> None:
    """Defect 32, and the contract: every error, whatever raised it."""
    responses = resources["RestAPI"]["Properties"]["GatewayResponses"]
    assert {"DEFAULT_4XX", "DEFAULT_5XX", "MISSING_AUTHENTICATION_TOKEN"} <= set(responses)
    for response in responses.values():
        body = json.loads(response["ResponseTemplates"]["application/json"])
        assert set(body) == {"error", "code", "request_id"}
        assert body["request_id"] == "$context.requestId"
        assert "Access-Control-Allow-Origin" in response["ResponseParameters"]["Headers"]
    assert str(responses["MISSING_AUTHENTICATION_TOKEN"]["StatusCode"]) == "404"
    for refusal in ("ACCESS_DENIED", "INVALID_SIGNATURE", "EXPIRED_TOKEN"):
        assert str(responses[refusal]["StatusCode"]) == "403"


def test_every_route_has_its_preflight(resources: dict[str, Any]) -> None:
    paths = resources["RestAPI"]["Properties"]["DefinitionBody"]["paths"]
    assert set(paths) == {
        *("/images", "/images/{image_id}", "/images/{image_id}/retry", "/health"),
        *("/track", "/status", "/unsubscribe", "/dead-letters", "/dead-letters/redrive"),
        *("/", "/docs", "/openapi.json"),
    }
    for path, methods in paths.items():
        assert "options" in methods, path


def test_images_are_passed_on_as_bytes(resources: dict[str, Any]) -> None:
    body = resources["RestAPI"]["Properties"]["DefinitionBody"]
    types = set(body["x-amazon-apigateway-binary-media-types"])
    assert {"image/jpeg", "image/png", "image/webp", "image/gif", "image/tiff"} <= types


def test_logs_are_kept_for_30_days_in_prod_by_the_function_that_writes_them(
    template: dict[str, Any], resources: dict[str, Any]
) -> None:
    groups = of_type(resources, "AWS::Logs::LogGroup")
    assert all(group["RetentionInDays"] == {"Ref": "LogRetentionDays"} for group in groups.values())
    assert template["Parameters"]["LogRetentionDays"]["Default"] == 30
    assert set(groups) >= {
        "ApiHandlerLogGroup" if name == "APIHandler" else f"{name}LogGroup" for name in FUNCTIONS
    }
    api = groups["ApiHandlerLogGroup"]["LogGroupName"]
    assert api == {"Fn::Sub": "/aws/lambda/${APIHandler}"}


def test_the_stage_that_was_packaged_is_the_templates_default(template: dict[str, Any]) -> None:
    assert template["Parameters"]["Stage"]["Default"] == "prod"


def test_cfn_lint_finds_nothing(package: Path) -> None:
    finished = subprocess.run(
        [str(Path(sys.executable).with_name("cfn-lint")), str(package / "sam.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout


def test_an_unknown_stage_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(PackagingFailed, match=r"stage"):
        make_package("no such stage", tmp_path / "x" / "y", with_dependencies=False)


def test_the_files_of_the_pages_are_packed(package: Path) -> None:
    with zipfile.ZipFile(package / "deployment.zip") as app:
        names = set(app.namelist())
    folder = Path(__file__).resolve().parents[2] / "chalicelib"
    shown = [*(folder / "console").glob("*.*"), *(folder / "templates").glob("*.html")]
    assert len(shown) > 10
    assert {path.relative_to(folder.parent).as_posix() for path in shown} <= names


def test_numbers_are_numbers_on_the_local_aws_but_for_those_in_an_environment(
    template: dict[str, Any],
) -> None:
    """A worker whose environment has a number in it does not start."""
    made = with_numbers(template, {"CallerQuota": 7, "MailReceives": 3})
    for function in of_type(made["Resources"], "AWS::Serverless::Function").values():
        variables = function.get("Environment", {}).get("Variables", {})
        assert [n for n, value in variables.items() if isinstance(value, int)] == []
    assert (
        made["Resources"]["APIHandler"]["Properties"]["Environment"]["Variables"]["QUOTA_REQUESTS"]
        == "7"
    )
    redrive = made["Resources"]["NotificationQueue"]["Properties"]["RedrivePolicy"]
    assert redrive["maxReceiveCount"] == 3
