"""The stack beside `chalice deploy`, and the folder that Chalice is run in."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infrastructure import chalice_project, policies
from infrastructure.alarms import functions_of
from infrastructure.chalice_project import stream_variable, write_project
from infrastructure.resource_stack import (
    NOT_HERE,
    REST_API_ID,
    ResourceStack,
    add_layers,
    filled_in,
    references,
    resource_stack,
    spell_out_names,
)
from infrastructure.template import ROOT, config, resources_of

HERE = policies.Account(partition="aws", region="eu-west-1", account_id="123456789012")


@pytest.fixture(scope="module")
def merged() -> dict[str, Any]:
    """What is merged into `chalice package`."""
    return resources_of("dev")


@pytest.fixture(scope="module")
def stack(merged: dict[str, Any]) -> ResourceStack:
    """The stack of the stage dev."""
    made = resource_stack(merged, functions_of(config(), "dev"))
    add_layers(made.template, {"ManagedLayer": ("packages", "layer.zip")})
    return made


def said_by(stack: ResourceStack, **parameters: str) -> dict[str, str]:
    """The stack's outputs, as CloudFormation would say them."""
    template = stack.template
    values = {name: str(p["Default"]) for name, p in template["Parameters"].items()} | parameters
    pseudo = {
        "AWS::AccountId": HERE.account_id,
        "AWS::Region": HERE.region,
        "AWS::Partition": HERE.partition,
        "AWS::URLSuffix": "amazonaws.com",
    }

    def holds(condition: Any) -> bool:
        (kind, arguments), *_ = condition.items()
        if kind == "Condition":
            return holds(template["Conditions"][arguments])
        if kind == "Fn::Not":
            return not holds(arguments[0])
        if kind == "Fn::And":
            return all(holds(argument) for argument in arguments)
        assert kind == "Fn::Equals"
        return value(arguments[0]) == value(arguments[1])

    def value(node: Any) -> str:
        if not isinstance(node, dict):
            return str(node)
        (kind, arguments), *_ = node.items()
        if kind == "Ref":
            return {**pseudo, **values}.get(arguments, f"ref-of-{arguments}")
        if kind == "Fn::GetAtt":
            return f"{'-'.join(arguments)}"
        if kind == "Fn::Join":
            return str(arguments[0]).join(value(part) for part in arguments[1])
        if kind == "Fn::If":
            chosen = holds(template["Conditions"][arguments[0]])
            return value(arguments[1] if chosen else arguments[2])
        assert kind == "Fn::Sub"
        return re.sub(
            r"\$\{([\w.:]+)\}",
            lambda match: value({"Ref": match[1]}).replace("ref-of-", ""),
            arguments,
        )

    return {
        name: value(output["Value"])
        for name, output in template["Outputs"].items()
        if "Condition" not in output or holds(template["Conditions"][output["Condition"]])
    }


def test_all_that_chalice_does_not_make_is_there(
    merged: Mapping[str, Any], stack: ResourceStack
) -> None:
    typed = {name for name, r in merged["Resources"].items() if "Type" in r}
    made = {f"{function.logical_name}LogGroup" for function in functions_of(config(), "dev")}
    assert set(stack.template["Resources"]) == typed - set(NOT_HERE) | made | {"ManagedLayer"}


def test_a_resource_is_as_in_the_whole_stack_but_for_what_chalice_connects(
    merged: Mapping[str, Any], stack: ResourceStack
) -> None:
    for name, resource in stack.template["Resources"].items():
        given = merged["Resources"].get(name, {})
        if "Type" not in given:
            continue
        if name == "UploadsBucket":
            assert given["DependsOn"] == ["IngestPermission"]
            properties = dict(given["Properties"])
            del properties["NotificationConfiguration"]
            given = {k: v for k, v in given.items() if k != "DependsOn"}
            given["Properties"] = properties
        assert resource == given


def test_it_refers_to_nothing_that_is_not_there(stack: ResourceStack) -> None:
    template = stack.template
    known = {*template["Resources"], *template["Parameters"]}
    assert set(references([template["Resources"], template["Outputs"]])) <= known


def test_only_parameters_that_mean_something_here_are_asked_for(
    merged: Mapping[str, Any], stack: ResourceStack
) -> None:
    missing = set(merged["Parameters"]) - set(stack.template["Parameters"])
    assert missing == {"ApiKey", "ApiKeyRateLimit", "ApiKeyMonthlyQuota", "ApiDomain"}


def test_cfn_lint_has_nothing_to_say(stack: ResourceStack, tmp_path: Path) -> None:
    path = tmp_path / "resources.json"
    path.write_text(json.dumps(stack.template))
    finished = subprocess.run(
        [str(Path(sys.executable).with_name("cfn-lint")), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.stdout + finished.stderr == ""


def test_it_says_no_more_than_a_stack_may(stack: ResourceStack) -> None:
    assert len(stack.template["Outputs"]) <= 200
    assert len(stack.template["Resources"]) <= 500


def test_the_streams_are_those_that_the_app_asks_for(stack: ResourceStack) -> None:
    asked = set(re.findall(r'"(\w+_STREAM_ARN)"', (ROOT / "app.py").read_text()))
    tables = {n.removesuffix("StreamArn") for n in stack.template["Outputs"] if "StreamArn" in n}
    assert asked
    assert asked <= {stream_variable(table) for table in tables}


def test_what_hangs_on_a_condition_is_said_where_it_holds(stack: ResourceStack) -> None:
    said = stack.overrides.of["APIHandler"]["Environment"]["Variables"]["CDN_URL"]
    assert filled_in(said, said_by(stack)) == ""
    cdn = said_by(stack, Cdn="on")
    assert filled_in(said, cdn) == "https://CdnDistribution.DomainName"
    own = said_by(stack, Cdn="on", CdnDomain="img.example.com")
    assert filled_in(said, own) == "https://img.example.com"
    log = stack.overrides.of["RestAPI"]["AccessLogSetting"]
    assert filled_in(log, said_by(stack))["DestinationArn"] == "AccessLogGroup-Arn"
    assert filled_in(log, said_by(stack, AccessLog="off")) is None


def test_what_has_the_apis_address_in_it_waits_for_the_api(stack: ResourceStack) -> None:
    said = stack.overrides.of["Mail"]["Environment"]["Variables"]["PUBLIC_URL"]
    outputs = said_by(stack)
    assert filled_in(said, outputs) is None
    assert filled_in(said, {**outputs, REST_API_ID: "abc"}) == (
        "https://abc.execute-api.eu-west-1.amazonaws.com/api"
    )
    own = said_by(stack, PublicUrl="https://api.example.com")
    assert filled_in(said, own) == "https://api.example.com"


def test_a_stack_made_from_other_files_is_noticed(stack: ResourceStack) -> None:
    with pytest.raises(KeyError):
        filled_in(stack.overrides.shared, {})


def test_a_value_of_something_that_is_not_there_is_an_error(merged: Mapping[str, Any]) -> None:
    changed = json.loads(json.dumps(merged))
    changed["Resources"]["Check"]["Properties"]["Role"] = {"Ref": "FirstApiKey"}
    with pytest.raises(ValueError, match="FirstApiKey, which is not in the stack"):
        resource_stack(changed, functions_of(config(), "dev"))


def test_what_outlives_the_stack_has_a_name_by_which_a_new_one_takes_it_back(
    stack: ResourceStack,
) -> None:
    template = json.loads(json.dumps(stack.template))
    spell_out_names(template, {"Stage": "dev", "AWS::AccountId": HERE.account_id})
    named = {
        name: properties.get("BucketName", properties.get("TableName"))
        for name, resource in template["Resources"].items()
        if resource.get("DeletionPolicy") == "Retain"
        and (properties := resource["Properties"]).keys() & {"BucketName", "TableName"}
    }
    assert named["UploadsBucket"] == "darkroom-dev-uploads-123456789012"
    assert named["ImagesTable"] == "darkroom-dev-images"
    assert len(named) >= 6
    assert all(isinstance(name, str) for name in named.values())


@pytest.fixture
def project(stack: ResourceStack, tmp_path: Path) -> Path:
    """The folder that Chalice is run in."""
    folder = tmp_path / "dev-chalice"
    write_project(
        "dev",
        folder,
        overrides=stack.overrides,
        outputs=said_by(stack, MailFrom="parcels@example.com", Cdn="on"),
        account=HERE,
        variables={},
    )
    return folder


def test_the_projects_configuration_has_the_stages_names(project: Path) -> None:
    settings = json.loads((project / ".chalice" / "config.json").read_text())
    assert not settings["automatic_layer"]
    assert settings["xray"]
    (stage,) = settings["stages"].values()
    assert "log_retention_in_days" not in stage
    assert stage["layers"] == ["ref-of-ManagedLayer"]
    variables = stage["environment_variables"]
    assert variables["UPLOADS_BUCKET"] == "darkroom-dev-uploads-123456789012"
    assert variables["TRACKING_STREAM_ARN"] == "TrackingTable-StreamArn"
    functions = stage["lambda_functions"]
    assert functions["mail"]["environment_variables"]["MAIL_FROM"] == "parcels@example.com"
    assert functions["api_handler"]["environment_variables"]["CDN_URL"].startswith("https://")
    assert "HISTORY_URL" not in functions["mail"]["environment_variables"]


def test_the_projects_policies_leave_nothing_open(project: Path) -> None:
    for path in (project / ".chalice").glob("policy-*.json"):
        for statement in json.loads(path.read_text())["Statement"]:
            resources = statement["Resource"]
            for resource in [resources] if isinstance(resources, str) else resources:
                assert "darkroom-*" not in resource
                assert "arn:*" not in resource
                assert ":*:*:" not in resource.removeprefix("arn:aws:")


def test_code_is_linked_and_its_bytecode_lies_elsewhere(project: Path) -> None:
    app = project / "app.py"
    assert app.is_symlink()
    assert app.resolve() == ROOT / "app.py"
    linked = project / "chalicelib" / "aws"
    assert not linked.is_symlink()
    assert (linked / "queues.py").resolve() == ROOT / "chalicelib" / "aws" / "queues.py"
    bytecode = (linked / "__pycache__").resolve()
    assert bytecode.is_dir()
    assert not bytecode.is_relative_to(project / "chalicelib")
    assert (project / "requirements.txt").read_text().startswith("#")
    assert not (project / "vendor").exists()


def test_chalices_record_is_kept_in_the_repository(project: Path) -> None:
    assert (project / ".chalice" / "deployed").resolve() == chalice_project.DEPLOYED


@pytest.mark.parametrize(
    ("table", "variable"),
    [("TrackingTable", "TRACKING_STREAM_ARN"), ("ImageEventsTable", "IMAGE_EVENTS_STREAM_ARN")],
)
def test_the_variable_of_a_stream(table: str, variable: str) -> None:
    assert stream_variable(table) == variable
