"""The commands of docs/deploy.md, as they stand there, from an empty account to an empty one.

They run in a copy of the project against a local AWS of their own, in the order of this file: each
test starts from where the one before has left the stage.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from infrastructure import policies
from infrastructure.alarms import functions_of
from infrastructure.policies import filled_in
from infrastructure.template import config, resources_of
from local.aws import (
    ACCOUNT,
    REGION,
    aws_process,
    client,
    local_environ,
    prepare_folder,
    wait_until_answering,
)
from local.places import Places
from tests.conftest import free_port
from tests.polling import eventually
from tests.system.conftest import FINAL, photo

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs" / "deploy.md"
COPIED = (
    *("Makefile", "app.py", "chalicelib", "vendor", "infrastructure", "operations", "local"),
    *(".chalice", "requirements.lock"),
)
# They ask for a provider that speaks to AWS itself; `make package-terraform` is checked by
# tests/packaging/test_terraform.py against the provider's schema.
NOT_RUN = "terraform "
# Between two looks at a function Chalice waits 5 s, fifteen times.
IMPATIENT = """
import botocore.waiter

patient = botocore.waiter.SingleWaiterConfig.__init__


def __init__(self, config):
    patient(self, config)
    self.delay = 0.1


botocore.waiter.SingleWaiterConfig.__init__ = __init__
"""
KEPT_TABLES = {"images", "tracking", "notifications", "suppressions", "announcements"}


def commands(section: str) -> list[str]:
    """The commands of a section of the document."""
    text = DOCUMENT.read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


RESOURCES, DEPLOY, SETTLE = commands("chalice deploy")
(DESTROY,) = commands("Taking it down")


@dataclass
class Account:
    """An account on a local AWS, and a copy of the project to work on it from."""

    places: Places
    checkout: Path
    environ: dict[str, str]
    ran: list[str] = field(default_factory=list)

    def run(self, command: str, **environ: str) -> str:
        """Run a command as it stands; what it printed."""
        finished = subprocess.run(
            ["/bin/sh", "-c", command.replace("PACKAGES", "packages-of-tests")],
            cwd=self.checkout,
            # Not as a part of the make that runs the tests, which would print more.
            env={**self.environ, "MAKEFLAGS": "", "MAKELEVEL": "0", **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert finished.returncode == 0, f"{command}\n{finished.stdout}\n{finished.stderr}"
        self.ran.append(command)
        return finished.stdout

    def aws(self, service: str) -> Any:
        """A boto3 client."""
        return client(self.places, service)

    def functions(self) -> dict[str, dict[str, Any]]:
        """All functions, by name, as Lambda describes them."""
        pages = self.aws("lambda").get_paginator("list_functions").paginate()
        return {f["FunctionName"]: f for page in pages for f in page["Functions"]}

    def triggers(self) -> dict[str, dict[str, Any]]:
        """All triggers that poll, by the function's name."""
        pages = self.aws("lambda").get_paginator("list_event_source_mappings").paginate()
        return {
            mapping["FunctionArn"].rpartition(":")[2]: mapping
            for page in pages
            for mapping in page["EventSourceMappings"]
        }

    def roles(self) -> dict[str, Any]:
        """The policies of all roles of functions."""
        iam = self.aws("iam")
        names = [role["RoleName"] for role in iam.list_roles()["Roles"]]
        return {
            name: iam.get_role_policy(RoleName=name, PolicyName=name)["PolicyDocument"]
            for name in names
            if name.startswith("darkroom-dev-")
            and iam.list_role_policies(RoleName=name)["PolicyNames"]
        }

    def api_id(self) -> str:
        """The id of the one API."""
        (api,) = self.aws("apigateway").get_rest_apis()["items"]
        return str(api["id"])

    def get(self, path: str) -> httpx.Response:
        """Ask the deployed API."""
        url = f"{self.places.aws_url}/restapis/{self.api_id()}/api/_user_request_{path}"
        return httpx.get(url, timeout=30)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An empty account."""
    folder = tmp_path_factory.mktemp("deploying")
    places = Places(
        port=free_port(), aws_port=free_port(), root=folder / "local-aws", imports_apis=True
    )
    checkout = folder / "darkroom"
    _copy(checkout)
    (folder / "impatient").mkdir()
    (folder / "impatient" / "sitecustomize.py").write_text(IMPATIENT)
    process = aws_process(places)
    with places.held():
        prepare_folder(places)
        process.start()
        try:
            wait_until_answering(
                f"{places.aws_url}/_ministack/ready", process, accept=lambda status: status == 200
            )
            environ = {
                **local_environ(places),
                "PATH": f"{checkout / '.venv-aws' / 'bin'}:{os.environ['PATH']}",
                "PYTHONPATH": str(folder / "impatient"),
                "PYTHONDONTWRITEBYTECODE": "",
            }
            yield Account(places=places, checkout=checkout, environ=environ)
        finally:
            process.stop()


def _copy(checkout: Path) -> None:
    for name in COPIED:
        source, target = ROOT / name, checkout / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source,
                target,
                ignore=shutil.ignore_patterns("__pycache__", "deployed", "deployments"),
            )
        else:
            shutil.copy2(source, target)
    # The functions find the libraries beside the local AWS.
    (checkout / "requirements.lock").write_text("")
    for path in checkout.rglob("*"):
        # Nothing is to be installed anew for being younger than what was installed.
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (checkout / ".venv").symlink_to(Path(sys.prefix))
    if (ROOT / ".venv-aws").is_dir():
        (checkout / ".venv-aws").symlink_to(ROOT / ".venv-aws")


# --- chalice deploy -------------------------------------------------------------------------


def test_from_the_repository_itself_nothing_is_deployed(account: Account) -> None:
    finished = subprocess.run(
        [".venv/bin/chalice", "deploy", "--stage", "dev"],
        cwd=account.checkout,
        env=account.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stderr.strip().endswith(DEPLOY)
    assert account.functions() == {}


def test_there_is_nothing_to_settle_before_a_deployment(account: Account) -> None:
    with pytest.raises(AssertionError, match="There is no stack darkroom-dev-resources"):
        account.run(SETTLE)


def test_two_commands_make_a_stage_that_works(account: Account) -> None:
    assert "darkroom-dev-resources: created" in account.run(RESOURCES)
    assert "Creating Rest API" in account.run(DEPLOY)
    account.aws("s3").put_object(
        Bucket=f"darkroom-dev-uploads-{ACCOUNT}",
        Key="uploads/by-hand.jpg",
        Body=photo(),
        ContentType="image/jpeg",
    )

    def ended() -> dict[str, Any] | None:
        for image in account.get("/images").json()["items"]:
            if image["status"] in FINAL and image["conversion_status"] != "pending":
                found: dict[str, Any] = image
                return found
        return None

    image = eventually(ended, seconds=90, what="the photo is completed")
    assert image["status"] == "completed"
    assert image["conversion_status"] == "completed"
    assert account.get("/health").json()["status"] == "ok"


def test_each_function_is_as_in_the_other_ways(account: Account) -> None:
    said = config()["stages"]["dev"]["lambda_functions"]
    found = account.functions()
    names = {
        f"darkroom-dev{function.suffix}": function for function in functions_of(config(), "dev")
    }
    assert set(found) == set(names)
    for name, function in names.items():
        made, wanted = found[name], said[function.name]
        assert made["MemorySize"] == wanted["lambda_memory_size"]
        assert made["Timeout"] == wanted["lambda_timeout"]
        assert made["TracingConfig"] == {"Mode": "Active"}
        assert [layer["Arn"].split(":")[6] for layer in made["Layers"]] == [
            "darkroom-dev-libraries"
        ]
        variables = made["Environment"]["Variables"]
        assert variables["UPLOADS_BUCKET"] == f"darkroom-dev-uploads-{ACCOUNT}"
        assert variables["RENDITIONS_BUCKET"] == f"darkroom-dev-renditions-{ACCOUNT}"
        assert variables["STAGE"] == "dev"
    mail = found["darkroom-dev-mail"]["Environment"]["Variables"]
    assert mail["MAIL_CONFIGURATION_SET"] == "darkroom-dev-mail"


def test_each_role_holds_the_exact_policy_of_its_function(account: Account) -> None:
    roles = account.roles()
    here = policies.Account(partition="aws", region=REGION, account_id=ACCOUNT)
    for function in functions_of(config(), "dev"):
        listed = config()["stages"]["dev"]["lambda_functions"][function.name]
        policy = json.loads((ROOT / ".chalice" / listed["iam_policy_file"]).read_text())
        name = f"darkroom-dev{function.suffix}"
        exact = filled_in(policy, stage="dev", function=name, account=here)
        assert roles.pop(f"darkroom-dev-{function.name}") == exact
    assert roles == {}


def test_the_bucket_and_the_streams_call_their_functions(account: Account) -> None:
    bucket = f"darkroom-dev-uploads-{ACCOUNT}"
    s3 = account.aws("s3").get_bucket_notification_configuration(Bucket=bucket)
    (call,) = s3["LambdaFunctionConfigurations"]
    assert call["LambdaFunctionArn"].endswith(":darkroom-dev-ingest")
    assert call["Events"] == ["s3:ObjectCreated:*"]
    assert call["Filter"]["Key"]["FilterRules"] == [{"Name": "prefix", "Value": "uploads/"}]
    triggers = account.triggers()
    dynamodb = account.aws("dynamodb")
    of_streams = {n: t for n, t in triggers.items() if ":dynamodb:" in t["EventSourceArn"]}
    assert set(of_streams) == {"darkroom-dev-notify", "darkroom-dev-announce"}
    for trigger in of_streams.values():
        table = re.search(r":table/([\w-]+)/", trigger["EventSourceArn"])
        assert table is not None
        stream = dynamodb.describe_table(TableName=table[1])["Table"]["LatestStreamArn"]
        assert trigger["EventSourceArn"] == stream
        assert trigger["StartingPosition"] == "TRIM_HORIZON"
    assert triggers["darkroom-dev-notify"]["BatchSize"] == 100
    assert triggers["darkroom-dev-infer"]["BatchSize"] == 16


def test_each_log_group_is_the_functions_own_and_ends(account: Account) -> None:
    found = account.aws("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]
    days = config()["stages"]["dev"]["log_retention_in_days"]
    groups = {group["logGroupName"]: group.get("retentionInDays") for group in found}
    assert groups == {f"/aws/lambda/{name}": days for name in account.functions()}


def test_settling_says_what_chalice_cannot(account: Account) -> None:
    said = account.run(SETTLE)
    assert "answers of the gateway: MISSING_AUTHENTICATION_TOKEN" in said
    found = account.functions()
    dead_letters = found["darkroom-dev-ingest"]["DeadLetterConfig"]["TargetArn"]
    assert dead_letters.endswith(":darkroom-dev-ingest-dead-letters")
    assert all(f["LoggingConfig"]["LogFormat"] == "JSON" for f in found.values())
    parameters = resources_of("dev")["Parameters"]
    triggers = account.triggers()
    for name, parameter in (
        ("preprocess", "PreprocessConcurrency"),
        ("infer", "InferConcurrency"),
        ("optimise", "OptimiseConcurrency"),
        ("mail", "MailConcurrency"),
    ):
        wanted = {"MaximumConcurrency": parameters[parameter]["Default"]}
        assert triggers[f"darkroom-dev-{name}"]["ScalingConfig"] == wanted
    said_of_announce = resources_of("dev")["Resources"]["Announce"]["Properties"]["Events"]
    (event,) = said_of_announce.values()
    filters = triggers["darkroom-dev-announce"]["FilterCriteria"]
    assert filters == event["Properties"]["FilterCriteria"]
    stage = account.aws("apigateway").get_stage(restApiId=account.api_id(), stageName="api")
    limits = stage["methodSettings"]["*/*"]
    assert limits["throttlingRateLimit"] == parameters["ApiRateLimit"]["Default"]
    assert limits["throttlingBurstLimit"] == parameters["ApiBurstLimit"]["Default"]
    assert limits["metricsEnabled"]
    assert stage["accessLogSettings"]["destinationArn"].endswith(
        ":log-group:/aws/apigateway/darkroom-dev-access"
    )
    address = found["darkroom-dev-mail"]["Environment"]["Variables"]["PUBLIC_URL"]
    assert address == f"https://{account.api_id()}.execute-api.{REGION}.amazonaws.com/api"
    missing = account.get("/nowhere")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert missing.headers["Access-Control-Allow-Origin"] == "*"
    assert "nothing to settle" in account.run(SETTLE)


def test_the_api_has_the_name_that_alarms_and_dashboard_ask_for(account: Account) -> None:
    (api,) = account.aws("apigateway").get_rest_apis()["items"]
    assert api["name"] == "darkroom-dev"
    alarms = account.aws("cloudwatch").describe_alarms(AlarmNamePrefix="darkroom-dev-")
    of_api = [a for a in alarms["MetricAlarms"] if a["Namespace"] == "AWS/ApiGateway"]
    assert of_api
    for alarm in of_api:
        assert alarm["Dimensions"] == [{"Name": "ApiName", "Value": "darkroom-dev"}]


def state(account: Account) -> dict[str, Any]:
    """What a further deployment might change."""
    gateway = account.aws("apigateway")
    api_id = account.api_id()
    stage = gateway.get_stage(restApiId=api_id, stageName="api")
    pages = gateway.get_paginator("get_resources").paginate(restApiId=api_id, embed=["methods"])
    return {
        "functions": {
            name: {
                key: function.get(key)
                for key in (
                    *("CodeSha256", "Layers", "Environment", "MemorySize", "Timeout", "Role"),
                    *("LoggingConfig", "DeadLetterConfig", "TracingConfig", "Runtime"),
                )
            }
            for name, function in account.functions().items()
        },
        "triggers": {
            name: (trigger["UUID"], trigger["BatchSize"], trigger.get("ScalingConfig"))
            for name, trigger in account.triggers().items()
        },
        "roles": account.roles(),
        "api": api_id,
        "routes": sorted(
            f"{method} {resource['path']}"
            for page in pages
            for resource in page["items"]
            for method in resource.get("resourceMethods", {})
        ),
        "limits": stage["methodSettings"],
        "access log": stage["accessLogSettings"],
    }


def test_a_second_time_nothing_changes(account: Account) -> None:
    # What was settled of a variable is in the configuration from now on.
    assert "darkroom-dev-resources: unchanged" in account.run(RESOURCES)
    before = state(account)
    account.run(DEPLOY)
    assert state(account) == before
    # The local AWS forgets the gateway's own answers then, which AWS may do too.
    assert account.run(SETTLE).startswith("answers of the gateway: ")
    assert "nothing to settle" in account.run(SETTLE)


def test_a_changed_line_changes_the_code_and_nothing_else(account: Account) -> None:
    before = state(account)
    with (account.checkout / "chalicelib" / "images.py").open("a") as source:
        source.write("\n# A line more.\n")
    account.run(DEPLOY)
    after = state(account)
    changed = {
        (name, key)
        for name, function in after["functions"].items()
        for key, value in function.items()
        if value != before["functions"][name][key]
    }
    assert changed == {(name, "CodeSha256") for name in after["functions"]}
    assert {**after, "functions": None} == {**before, "functions": None}


def test_a_function_holds_the_code_and_no_library(account: Account) -> None:
    made = account.checkout / "build" / "dev-chalice" / ".chalice" / "deployments"
    newest = max(made.glob("*.zip"), key=lambda path: path.stat().st_mtime)
    names = zipfile.ZipFile(newest).namelist()
    assert {name.split("/")[0] for name in names} == {"app.py", "chalice", "chalicelib"}
    assert not [name for name in names if name.endswith(".pyc") or "__pycache__" in name]
    sources = {
        str(path.relative_to(account.checkout))
        for path in (account.checkout / "chalicelib").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("chalicelib/")} == sources


def test_a_parameter_is_set_and_then_kept(account: Account) -> None:
    account.run(RESOURCES, PARAMETERS="AllowedOrigin=https://app.example.com ApiRateLimit=7")
    account.run(DEPLOY)
    account.run(SETTLE)
    assert "unchanged" in account.run(RESOURCES)
    variables = account.functions()["darkroom-dev"]["Environment"]["Variables"]
    assert variables["ALLOWED_ORIGIN"] == "https://app.example.com"
    missing = account.get("/nowhere")
    assert missing.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    stage = account.aws("apigateway").get_stage(restApiId=account.api_id(), stageName="api")
    assert stage["methodSettings"]["*/*"]["throttlingRateLimit"] == 7
    with pytest.raises(AssertionError, match="There is no parameter ApiKey here; there are"):
        account.run(RESOURCES, PARAMETERS="ApiKey=on")


def left_behind(account: Account, stage: str) -> dict[str, set[str]]:
    """All that a stage has in the account, whatever made it."""
    prefix = f"darkroom-{stage}-"
    resources = {
        "functions": {name for name in account.functions() if name.startswith(prefix[:-1])},
        "triggers": {name for name in account.triggers() if name.startswith(prefix[:-1])},
        "roles": {role["RoleName"] for role in account.aws("iam").list_roles()["Roles"]},
        "apis": {api["name"] for api in account.aws("apigateway").get_rest_apis()["items"]},
        "buckets": {bucket["Name"] for bucket in account.aws("s3").list_buckets()["Buckets"]},
        "tables": set(account.aws("dynamodb").list_tables()["TableNames"]),
        "queues": set(account.aws("sqs").list_queues(QueueNamePrefix=prefix).get("QueueUrls", [])),
        "topics": {topic["TopicArn"] for topic in account.aws("sns").list_topics()["Topics"]},
        "rules": {rule["Name"] for rule in account.aws("events").list_rules()["Rules"]},
        "alarms": {
            alarm["AlarmName"]
            for alarm in account.aws("cloudwatch").describe_alarms()["MetricAlarms"]
        },
        "dashboards": {
            entry["DashboardName"]
            for entry in account.aws("cloudwatch").list_dashboards()["DashboardEntries"]
        },
        "log groups": {
            group["logGroupName"]
            for group in account.aws("logs").describe_log_groups()["logGroups"]
        },
        "layers": {layer["LayerName"] for layer in account.aws("lambda").list_layers()["Layers"]},
        "parameters": {
            entry["Name"] for entry in account.aws("ssm").describe_parameters()["Parameters"]
        },
    }
    return {
        kind: found
        for kind, names in resources.items()
        if (found := {n for n in names if f"darkroom-{stage}" in n or f"/darkroom/{stage}/" in n})
    }


def kept(stage: str) -> dict[str, set[str]]:
    """What is meant to stay of a stage, where its secret was never needed."""
    return {
        "buckets": {f"darkroom-{stage}-{n}-{ACCOUNT}" for n in ("uploads", "renditions")},
        "tables": {f"darkroom-{stage}-{n}" for n in KEPT_TABLES},
    }


def test_destroying_leaves_what_holds_data_and_says_so(account: Account) -> None:
    said = account.run(DESTROY)
    left = left_behind(account, "dev")
    secret = left.pop("parameters", set())
    assert secret <= {"/darkroom/dev/signing-secret"}
    roles = left.pop("roles")
    assert [name for name in roles if "ApiGatewayLogsRole" not in name] == []
    assert left == kept("dev")
    for names in (*left.values(), roles):
        for name in names:
            assert name in said
    assert "Left by" not in said
    bucket = f"darkroom-dev-uploads-{ACCOUNT}"
    s3 = account.aws("s3").get_bucket_notification_configuration(Bucket=bucket)
    assert "LambdaFunctionConfigurations" not in s3
    assert not (account.checkout / ".chalice" / "deployed" / "dev.json").exists()
    assert not (account.checkout / "build" / "dev-chalice").exists()
    with pytest.raises(AssertionError, match="There is neither a stack darkroom-dev nor"):
        account.run(DESTROY)


def test_a_stage_made_anew_finds_its_data(account: Account) -> None:
    assert "darkroom-dev-resources: created" in account.run(RESOURCES)
    account.run(DEPLOY)
    (image,) = account.get("/images").json()["items"]
    assert image["status"] == "completed"
    assert image["original"]["filename"] == "by-hand.jpg"


def test_a_deployment_that_broke_off_is_destroyed_by_its_names(account: Account) -> None:
    # Chalice writes its record at the end.
    (account.checkout / ".chalice" / "deployed" / "dev.json").unlink()
    said = account.run(DESTROY)
    assert "Left by a deployment that did not come to its end: the function darkroom-dev" in said
    left = left_behind(account, "dev")
    left.pop("parameters", None)
    assert [name for name in left.pop("roles") if "ApiGatewayLogsRole" not in name] == []
    assert left == kept("dev")


# --- CloudFormation -------------------------------------------------------------------------


@pytest.mark.skipif(
    not (ROOT / ".venv-aws").is_dir(),
    reason="the AWS command line is not installed: make .venv-aws/.made",
)
def test_the_aws_command_line_takes_the_package_as_it_is(account: Account) -> None:
    *made, outputs = [account.run(command) for command in commands("CloudFormation")]
    assert "Successfully created/updated stack - darkroom-prod" in made[-1]
    said = {entry["OutputKey"]: entry["OutputValue"] for entry in json.loads(outputs)}
    assert said["UploadPrefix"] == "uploads/"
    assert said["UploadsBucketName"] == f"darkroom-prod-uploads-{ACCOUNT}"
    assert said["EndpointURL"].startswith("https://")
    assert said["DashboardUrl"].endswith("#dashboards/dashboard/darkroom-prod")
    with pytest.raises(AssertionError, match="is deployed with CloudFormation"):
        account.run("make resources STAGE=prod")
    said_at_the_end = account.run("make destroy STAGE=prod")
    left = left_behind(account, "prod")
    assert [name for name in left.pop("roles", set()) if "ApiGatewayLogsRole" not in name] == []
    assert left == kept("prod")
    assert all(name in said_at_the_end for names in left.values() for name in names)


# --- Terraform, and all of them -------------------------------------------------------------


def test_terraforms_package_is_made_and_has_the_variables_that_are_given(account: Account) -> None:
    package, *others = commands("Terraform")
    account.run(package)
    assert all(command.startswith(NOT_RUN) for command in others)
    folder = account.checkout / "build" / "prod-terraform"
    declared = json.loads((folder / "resources.tf.json").read_text())["variable"]
    given = re.findall(r"-var (\w+)=", " ".join(others))
    assert len(given) == 2
    assert set(given) <= set(declared)
    assert {re.findall(r"-chdir=(\S+)", command)[0] for command in others} == {
        "build/prod-terraform"
    }


def test_every_command_of_the_document_was_run(account: Account) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    written = {line for block in blocks for line in block.splitlines()}
    not_run = {line for line in written - set(account.ran) if not line.startswith(NOT_RUN)}
    if not (ROOT / ".venv-aws").is_dir():
        not_run -= set(commands("CloudFormation"))
    assert not_run == set()
