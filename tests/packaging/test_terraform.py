"""The Terraform package: what the provider takes, and the same as in CloudFormation."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infrastructure.request_models import MODELS
from infrastructure.terraform import make_terraform
from infrastructure.terraform_text import TYPES, Texts, snake
from infrastructure.terraform_types import translated
from tests.packaging.test_template import of_type

# Arguments that Terraform itself knows, of every resource.
META = {"count", "depends_on", "lifecycle", "dynamic"}
SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_name("terraform-5.99.json").read_text())


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of prod."""
    made = tmp_path_factory.mktemp("terraform") / "prod"
    make_terraform("prod", made, with_dependencies=False)
    return made


@pytest.fixture(scope="session")
def blocks(folder: Path) -> dict[str, dict[str, Any]]:
    """All resources, by type and label."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.tf.json")):
        for kind, labelled in json.loads(path.read_text()).get("resource", {}).items():
            assert not set(found.get(kind, {})) & set(labelled), kind
            found.setdefault(kind, {}).update(labelled)
    return found


def wrong(place: str, body: dict[str, Any], arguments: dict[str, Any]) -> Iterator[str]:
    """What of a block the provider would refuse."""
    given = {**body}
    for name, block in given.pop("dynamic", {}).items():
        given[name] = block["content"]
    for name, value in given.items():
        if name in META and name not in arguments:
            continue
        if name not in arguments:
            yield f"{place}: there is no {name}"
            continue
        _, kind = arguments[name]
        if isinstance(kind, dict):
            for entry in value if isinstance(value, list) else [value]:
                if isinstance(entry, dict):
                    yield from wrong(f"{place}.{name}", entry, kind)
                else:
                    yield f"{place}.{name}: a block is due, not {entry!r}"
        elif kind == "string" and not isinstance(value, str):
            yield f"{place}.{name}: a text is due, not {value!r}"
        elif kind == "number" and not isinstance(value, int | float) and "${" not in str(value):
            yield f"{place}.{name}: a number is due, not {value!r}"
        elif kind == "array" and not isinstance(value, list) and "${" not in str(value):
            yield f"{place}.{name}: a list is due, not {value!r}"
    for name, (required, _) in arguments.items():
        if required and name not in given:
            yield f"{place}: {name} is missing"


def test_every_block_is_as_the_provider_takes_it(blocks: dict[str, dict[str, Any]]) -> None:
    assert set(blocks) <= set(SCHEMA), "run python -m infrastructure.terraform_schema"
    assert [
        problem
        for kind, labelled in blocks.items()
        for label, body in labelled.items()
        for problem in wrong(f"{kind}.{label}", body, SCHEMA[kind])
    ] == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nmae": "x"}, "there is no nmae"),
        ({"visibility_timeout_seconds": "long"}, "a number is due"),
        ({"name": 3}, "a text is due"),
    ],
)
def test_the_check_of_blocks_finds_what_is_wrong(changes: dict[str, Any], said: str) -> None:
    (problem,) = wrong("queue", changes, SCHEMA["aws_sqs_queue"])
    assert said in problem


def test_whatever_is_referred_to_is_there(folder: Path, blocks: dict[str, dict[str, Any]]) -> None:
    text = "".join(path.read_text() for path in folder.glob("*.tf.json"))
    declared = json.loads((folder / "resources.tf.json").read_text())
    for kind, label in re.findall(r"(?<![\w.])(aws_\w+)\.([\w-]+)[.\[\"]", text):
        if f"data.{kind}" not in text or kind in blocks:
            assert label in blocks[kind], f"{kind}.{label}"
    assert set(re.findall(r"(?<![\w.])var\.(\w+)", text)) <= set(declared["variable"])
    own = json.loads((folder / "chalice.tf.json").read_text())["locals"]
    assert set(re.findall(r"(?<![\w.])local\.(\w+)", text)) <= set(declared["locals"]) | set(own)


def test_a_current_terraform_reads_it(folder: Path) -> None:
    terraform = shutil.which("terraform")
    if terraform is None:
        pytest.skip("terraform is not installed")
    for command in (["fmt", "-check"], ["validate", "-json"]):
        finished = subprocess.run(
            [terraform, *command], cwd=folder, capture_output=True, text=True, check=False
        )
        if command[0] == "fmt":
            assert finished.returncode == 0, finished.stdout
    # Without the provider it reads everything, and then says that it has none.
    said = {entry["summary"] for entry in json.loads(finished.stdout)["diagnostics"]}
    assert said <= {"Missing required provider"}, finished.stdout


def test_the_pins_are_those_of_today(folder: Path) -> None:
    """Chalice asks for a Terraform before 1.4 and a provider before 5."""
    pins = json.loads((folder / "chalice_override.tf.json").read_text())["terraform"]
    assert pins["required_version"] == ">= 1.5.0"
    assert pins["required_providers"]["aws"]["version"] == "~> 5.99"
    assert "terraform" not in json.loads((folder / "chalice.tf.json").read_text())


# --- The same as in CloudFormation --------------------------------------------------------------


def plain(value: Any) -> Any:
    """A value without the ways in which the two formats write a reference."""
    if isinstance(value, dict) and set(value) == {"Fn::Sub"}:
        value = value["Fn::Sub"]
    if isinstance(value, dict) and set(value) == {"Ref"}:
        return f"<{snake(value['Ref']).replace('_', '')}>"
    if not isinstance(value, str):
        return value
    value = value.replace("${Stage}", "prod")
    return re.sub(r"^\$\{var\.(\w+)\}$", lambda m: f"<{m[1].replace('_', '')}>", value)


def canonical(document: Any) -> Any:
    """A policy without the ways in which the two formats write partition, region and account."""
    text = json.dumps(document)
    for places, name in (
        (("${AWS::Partition}", "${data.aws_partition.chalice.partition}"), "PARTITION"),
        (("${AWS::Region}", "${data.aws_region.chalice.name}"), "REGION"),
        (("${AWS::AccountId}", "${data.aws_caller_identity.chalice.account_id}"), "ACCOUNT"),
        (("${Stage}",), "prod"),
    ):
        for place in places:
            text = text.replace(place, name)
    return unwrapped(json.loads(text))


def unwrapped(node: Any) -> Any:
    """Without Fn::Sub around texts."""
    if isinstance(node, dict):
        if set(node) == {"Fn::Sub"}:
            return node["Fn::Sub"]
        return {key: unwrapped(value) for key, value in node.items()}
    return [unwrapped(entry) for entry in node] if isinstance(node, list) else node


def test_every_resource_is_in_both(
    resources: dict[str, Any], blocks: dict[str, dict[str, Any]]
) -> None:
    for kind, (terraform, _, _) in TYPES.items():
        expected = {snake(name) for name in of_type(resources, kind)}
        if kind == "AWS::Logs::LogGroup" or kind == "AWS::IAM::Role":
            assert len(blocks[terraform]) == len(expected)
        else:
            assert set(blocks.get(terraform, {})) == expected, kind
    functions = of_type(resources, "AWS::Serverless::Function")
    assert len(blocks["aws_lambda_function"]) == len(functions)
    alarms = of_type(resources, "AWS::CloudWatch::Alarm")
    assert set(blocks["aws_cloudwatch_metric_alarm"]) == {snake(name) for name in alarms}


def test_functions_are_the_same(
    resources: dict[str, Any], blocks: dict[str, dict[str, Any]]
) -> None:
    for function in of_type(resources, "AWS::Serverless::Function").values():
        name = plain(function["FunctionName"])
        (other,) = (f for f in blocks["aws_lambda_function"].values() if f["function_name"] == name)
        assert other["memory_size"] == function["MemorySize"]
        assert other["timeout"] == function["Timeout"]
        assert other["runtime"] == function["Runtime"]
        assert other["handler"] == function["Handler"]
        assert other["tracing_config"]["mode"] == function["Tracing"]
        own = function["Environment"]["Variables"]
        everyones = {
            "UPLOADS_BUCKET",
            "RENDITIONS_BUCKET",
            "ALLOWED_ORIGIN",
            "MODEL",
            "TRANSFER_ACCELERATION",
        }
        variables = other["environment"]["variables"]
        assert set(variables) == set(own) | everyones
        for key, value in own.items():
            if isinstance(value, str):
                assert variables[key] == value
        assert ("dead_letter_config" in other) == ("DeadLetterQueue" in function)


def test_queues_are_the_same(resources: dict[str, Any], blocks: dict[str, dict[str, Any]]) -> None:
    for name, queue in of_type(resources, "AWS::SQS::Queue").items():
        other = blocks["aws_sqs_queue"][snake(name)]
        assert other["name"] == plain(queue["QueueName"])
        assert other["visibility_timeout_seconds"] == queue["VisibilityTimeout"]
        assert other["message_retention_seconds"] == queue["MessageRetentionPeriod"]
        assert other["sqs_managed_sse_enabled"] is queue["SqsManagedSseEnabled"] is True
        if "RedrivePolicy" in queue:
            letters = snake(queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0])
            assert f"aws_sqs_queue.{letters}.arn" in other["redrive_policy"]
            receives = snake(queue["RedrivePolicy"]["maxReceiveCount"]["Ref"])
            assert f'"maxReceiveCount" = var.{receives}' in other["redrive_policy"]
        else:
            assert "redrive_policy" not in other


def test_each_function_reads_the_same_queue_no_more_at_once(
    resources: dict[str, Any], blocks: dict[str, dict[str, Any]]
) -> None:
    mappings = blocks["aws_lambda_event_source_mapping"]
    counted = 0
    for name, function in of_type(resources, "AWS::Serverless::Function").items():
        for event in function.get("Events", {}).values():
            if event["Type"] not in {"SQS", "DynamoDB"}:
                continue
            counted += 1
            own = event["Properties"]
            other = mappings[f"{snake(name)}-{event['Type'].lower()}-event-source"]
            source = own.get("Queue", own.get("Stream"))["Fn::Sub"].strip("${}").partition(".")[0]
            assert f".{snake(source)}." in other["event_source_arn"]
            assert other["batch_size"] == own["BatchSize"]
            assert other.get("starting_position") == own.get("StartingPosition")
            limit = own.get("ScalingConfig", {}).get("MaximumConcurrency")
            assert plain(other.get("scaling_config", {}).get("maximum_concurrency")) == plain(limit)
    assert counted == len(mappings)


def test_tables_are_the_same(resources: dict[str, Any], blocks: dict[str, dict[str, Any]]) -> None:
    for name, table in of_type(resources, "AWS::DynamoDB::Table").items():
        other = blocks["aws_dynamodb_table"][snake(name)]
        assert other["name"] == plain(table["TableName"])
        assert other["billing_mode"] == table["BillingMode"]
        assert [other[f"{k['KeyType'].lower()}_key"] for k in table["KeySchema"]] == [
            key["AttributeName"] for key in table["KeySchema"]
        ]
        assert other["point_in_time_recovery"]["enabled"] is True
        assert other["server_side_encryption"]["enabled"] is True
        assert (other.get("ttl") is None) == ("TimeToLiveSpecification" not in table)
        assert other.get("stream_view_type") == table.get("StreamSpecification", {}).get(
            "StreamViewType"
        )
        indexes = {
            index["IndexName"]: [key["AttributeName"] for key in index["KeySchema"]]
            for index in table.get("GlobalSecondaryIndexes", [])
        }
        assert {
            index["name"]: [index["hash_key"], index["range_key"]]
            for index in other.get("global_secondary_index", [])
        } == indexes


def test_buckets_are_the_same(resources: dict[str, Any], blocks: dict[str, dict[str, Any]]) -> None:
    for name, bucket in of_type(resources, "AWS::S3::Bucket").items():
        label = snake(name)
        assert canonical(blocks["aws_s3_bucket"][label]["bucket"]) == canonical(
            bucket["BucketName"]
        )
        access = blocks["aws_s3_bucket_public_access_block"][label]
        assert {access[snake(key)] for key in bucket["PublicAccessBlockConfiguration"]} == {True}
        (rule,) = blocks["aws_s3_bucket_server_side_encryption_configuration"][label]["rule"]
        assert rule["apply_server_side_encryption_by_default"] == {"sse_algorithm": "AES256"}
        versioned = label in blocks["aws_s3_bucket_versioning"]
        assert versioned == ("VersioningConfiguration" in bucket)
        rules = blocks["aws_s3_bucket_lifecycle_configuration"][label]["rule"]
        own = bucket["LifecycleConfiguration"]["Rules"]
        assert [rule["id"] for rule in rules] == [rule["Id"] for rule in own]
        for rule, expected in zip(rules, own, strict=True):
            assert rule["filter"]["prefix"] == expected.get("Prefix", "")
            assert plain(rule.get("expiration", {}).get("days")) == plain(
                expected.get("ExpirationInDays")
            )


def test_alarms_are_the_same(resources: dict[str, Any], blocks: dict[str, dict[str, Any]]) -> None:
    for name, alarm in of_type(resources, "AWS::CloudWatch::Alarm").items():
        other = blocks["aws_cloudwatch_metric_alarm"][snake(name)]
        for key in alarm:
            if key in {"AlarmActions", "OKActions"}:
                assert other[key.replace("OKA", "ok_a").replace("AlarmA", "alarm_a")] == [
                    "${aws_sns_topic.alarms_topic.arn}"
                ]
            elif key == "Dimensions":
                assert other["dimensions"] == {d["Name"]: plain(d["Value"]) for d in alarm[key]}
            else:
                assert other[snake(key)] == plain(alarm[key]), (name, key)


def test_policies_are_the_same(
    resources: dict[str, Any], blocks: dict[str, dict[str, Any]]
) -> None:
    roles = of_type(resources, "AWS::IAM::Role")
    compared = 0
    for label, other in blocks["aws_iam_role_policy"].items():
        name = "".join(part.capitalize() for part in label.split("_"))
        (policy,) = roles[name]["Policies"]
        assert canonical(json.loads(other["policy"])) == canonical(policy["PolicyDocument"])
        compared += 1
    assert compared == len(of_type(resources, "AWS::Serverless::Function"))


def test_logs_are_kept_as_long_in_both(
    template: dict[str, Any], folder: Path, blocks: dict[str, dict[str, Any]]
) -> None:
    variables = json.loads((folder / "resources.tf.json").read_text())["variable"]
    kept = {group["retention_in_days"] for group in blocks["aws_cloudwatch_log_group"].values()}
    assert kept == {"${var.log_retention_days}"}
    for name, parameter in template["Parameters"].items():
        if name != "Stage":
            assert variables[snake(name)]["default"] == parameter["Default"], name


def test_the_bucket_does_not_call_before_it_may(blocks: dict[str, dict[str, Any]]) -> None:
    (notification,) = blocks["aws_s3_bucket_notification"].values()
    assert notification["depends_on"] == ["aws_lambda_permission.ingest-s3event"]
    assert notification["bucket"] == "${aws_s3_bucket.uploads_bucket.id}"
    permission = blocks["aws_lambda_permission"]["ingest-s3event"]
    assert permission["source_arn"].endswith(blocks["aws_s3_bucket"]["uploads_bucket"]["bucket"])
    assert permission["source_account"]


def test_routes_refusals_and_keys_are_the_same(folder: Path, resources: dict[str, Any]) -> None:
    own = json.loads((folder / "chalice.tf.json").read_text())["locals"]
    api = resources["RestAPI"]["Properties"]
    for name in ("open_swagger", "keyed_swagger"):
        swagger = json.loads(own[name])
        assert set(swagger["paths"]) == set(api["DefinitionBody"]["paths"])
        refusals = swagger["x-amazon-apigateway-gateway-responses"]
        assert set(refusals) == set(api["GatewayResponses"])
        for path, methods in api["DefinitionBody"]["paths"].items():
            for method, route in methods.items():
                security = route.get("security")
                if isinstance(security, dict):
                    security = security["Fn::If"][1 if name == "keyed_swagger" else 2] or None
                assert swagger["paths"][path][method].get("security") == security, (path, method)
                bodies = swagger["paths"][path][method].get("parameters")
                assert bodies == route.get("parameters"), (path, method)
        assert swagger["definitions"] == api["DefinitionBody"]["definitions"]
        assert set(MODELS.values()) < set(swagger["definitions"])


def test_what_has_no_translation_is_said(resources: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        translated(
            "New",
            {"Type": "AWS::Kinesis::Stream", "Properties": {}},
            Texts(template={"Resources": resources}, stage="prod"),
        )
