"""Make a stage's Terraform package: ``python -m infrastructure.terraform STAGE FOLDER``.

The folder then holds Chalice's own ``chalice.tf.json``, what overrides it, and
``resources.tf.json``: the same resources as in CloudFormation, translated one by one, so that
there is one source.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infrastructure import policies
from infrastructure.alarms import Function, functions_of
from infrastructure.package import (
    PackagingFailed,
    chalice_command,
    copy_project,
    fill_in_policies,
    libraries,
    no_libraries,
    trim_layer,
)
from infrastructure.request_models import add_request_models
from infrastructure.template import config, resources_of
from infrastructure.terraform_text import Texts, snake
from infrastructure.terraform_types import translated

# The schema that `tests/packaging` holds every block against is that of 5.99.
_PINS = {
    "required_version": ">= 1.5.0",
    "required_providers": {
        "aws": {"source": "hashicorp/aws", "version": "~> 5.99"},
        "null": {"source": "hashicorp/null", "version": "~> 3.0"},
    },
}


def make_terraform(stage: str, folder: Path, *, with_dependencies: bool = True) -> None:
    """Package a stage for Terraform.

    Args:
        stage: A stage of ``.chalice/config.json``.
        folder: Where the package goes; what is there is replaced.
        with_dependencies: Whether the layer holds the libraries, or the model alone.

    Raises:
        PackagingFailed: It did not work.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="darkroom-terraform-") as temporary:
        project = Path(temporary)
        copy_project(project)
        pip = libraries(project) if with_dependencies else no_libraries(project)
        _without_log_retention(project)
        fill_in_policies(project, stage, policies.TERRAFORM)
        finished = subprocess.run(
            [
                *(chalice_command(), "package", "--pkg-format", "terraform"),
                *("--stage", stage, str(folder.resolve())),
            ],
            cwd=project,
            env={
                "AWS_DEFAULT_REGION": "us-east-1",
                **os.environ,
                **pip,
                "DARKROOM_PACKAGING": "terraform",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    made = folder / "chalice.tf.json"
    if finished.returncode != 0 or not made.is_file():
        raise PackagingFailed(
            f"chalice package failed for stage {stage!r}: {finished.stderr[-800:]}"
        )
    trim_layer(folder / "layer-deployment.zip")
    template = resources_of(stage)
    texts = Texts(template=template, stage=stage)
    functions = functions_of(config(), stage)
    chalice = json.loads(made.read_text())
    _adapt(chalice, template, texts, functions)
    _write(made, chalice)
    _write(folder / "chalice_override.tf.json", {"terraform": _PINS})
    _write(folder / "resources.tf.json", _resources(template, texts, functions))


def _without_log_retention(project: Path) -> None:
    """Chalice cannot say it in Terraform, and fails."""
    path = project / ".chalice" / "config.json"
    settings = json.loads(path.read_text())
    for stage in settings["stages"].values():
        stage.pop("log_retention_in_days", None)
    path.write_text(json.dumps(settings))


def _resources(
    template: Mapping[str, Any], texts: Texts, functions: list[Function]
) -> dict[str, Any]:
    """Everything but Chalice's own part."""
    resources: dict[str, dict[str, Any]] = {}
    for name, resource in template["Resources"].items():
        # A resource without a type changes one of Chalice's.
        for kind, label, body in translated(name, resource, texts):
            condition = resource.get("Condition")
            counted = {"count": f"${{local.{snake(condition)} ? 1 : 0}}"} if condition else {}
            if resource.get("DeletionPolicy") == "Retain" and kind != "aws_iam_role":
                body["lifecycle"] = {"prevent_destroy": True}
            resources.setdefault(kind, {})[label] = {**counted, **body}
    for function in functions:
        resources.setdefault("aws_cloudwatch_log_group", {})[function.name] = {
            "name": texts.of({"Fn::Sub": f"/aws/lambda/{function.full_name['Fn::Sub']}"}),
            "retention_in_days": texts.of({"Ref": "LogRetentionDays"}),
        }
    resources |= _stage(template["Resources"]["RestAPI"]["Properties"], texts)
    return {
        "variable": {
            snake(name): _variable(snake(name), parameter)
            for name, parameter in template["Parameters"].items()
            if name != "Stage"
        },
        "locals": {
            "stage": texts.stage,
            **{
                snake(name): f"${{{texts.condition(condition)}}}"
                for name, condition in template["Conditions"].items()
            },
        },
        "resource": resources,
        "output": {
            snake(name): {"value": texts.of(output["Value"])}
            for name, output in template["Outputs"].items()
        },
    }


def _variable(name: str, parameter: Mapping[str, Any]) -> dict[str, Any]:
    number = parameter["Type"] == "Number"
    found: dict[str, Any] = {
        "type": "number" if number else "string",
        "description": parameter["Description"],
        "default": parameter["Default"],
    }
    if "AllowedValues" in parameter:
        allowed = json.dumps(parameter["AllowedValues"])
        rule = f"contains({allowed}, var.{name})"
    elif "MinValue" in parameter:
        rule = f"var.{name} >= {parameter['MinValue']}"
        if "MaxValue" in parameter:
            rule += f" && var.{name} <= {parameter['MaxValue']}"
    else:
        return found
    said = f"{parameter['Description']}."
    return {**found, "validation": {"condition": f"${{{rule}}}", "error_message": said}}


def _stage(api: Mapping[str, Any], texts: Texts) -> dict[str, Any]:
    """The stage that Chalice leaves to the deployment, which can neither trace nor log."""
    (settings,) = api["MethodSettings"]
    _, log, _ = api["AccessLogSetting"]["Fn::If"]
    return {
        "aws_api_gateway_stage": {
            "api": {
                "rest_api_id": "${aws_api_gateway_rest_api.rest_api.id}",
                "deployment_id": "${aws_api_gateway_deployment.rest_api.id}",
                "stage_name": "api",
                "xray_tracing_enabled": True,
                "dynamic": {
                    "access_log_settings": {
                        "for_each": "${aws_cloudwatch_log_group.access_log_group}",
                        "content": {
                            "destination_arn": "${access_log_settings.value.arn}",
                            "format": log["Format"],
                        },
                    }
                },
                "depends_on": ["aws_api_gateway_account.api_gateway_account_settings"],
            }
        },
        "aws_api_gateway_method_settings": {
            "all": {
                "rest_api_id": "${aws_api_gateway_rest_api.rest_api.id}",
                "stage_name": "${aws_api_gateway_stage.api.stage_name}",
                "method_path": "*/*",
                "settings": {
                    "metrics_enabled": True,
                    "throttling_rate_limit": texts.of(settings["ThrottlingRateLimit"]),
                    "throttling_burst_limit": texts.of(settings["ThrottlingBurstLimit"]),
                },
            }
        },
    }


def _adapt(
    chalice: dict[str, Any], template: Mapping[str, Any], texts: Texts, functions: list[Function]
) -> None:
    """What of Chalice's output an override file cannot change, or would have to repeat whole."""
    found, changes = chalice["resource"], template["Resources"]
    shared = template["Globals"]["Function"]
    for function in functions:
        own = changes.get(function.logical_name, {}).get("Properties", {})
        made = found["aws_lambda_function"][function.name]
        variables = {
            **shared["Environment"]["Variables"],
            **own.get("Environment", {}).get("Variables", {}),
        }
        made["environment"]["variables"] |= {k: texts.of(v) for k, v in variables.items()}
        made["logging_config"] = {"log_format": shared["LoggingConfig"]["LogFormat"]}
        made["depends_on"] = [f"aws_cloudwatch_log_group.{function.name}"]
        if "DeadLetterQueue" in own:
            made["dead_letter_config"] = {
                "target_arn": texts.of(own["DeadLetterQueue"]["TargetArn"])
            }
        for event in own.get("Events", {}).values():
            _adapt_source(found["aws_lambda_event_source_mapping"], function, event, texts)
    _adapt_trigger(found, texts, changes)
    _adapt_api(chalice, template, texts)


def _adapt_source(
    mappings: Mapping[str, Any], function: Function, event: Mapping[str, Any], texts: Texts
) -> None:
    properties = event["Properties"]
    for suffix in ("sqs-event-source", "dynamodb-event-source"):
        if (made := mappings.get(f"{function.name}-{suffix}")) is None:
            continue
        made["event_source_arn"] = texts.of(properties.get("Queue") or properties["Stream"])
        if "FilterCriteria" in properties:
            made["filter_criteria"] = {
                "filter": [
                    {"pattern": entry["Pattern"]}
                    for entry in properties["FilterCriteria"]["Filters"]
                ]
            }
        if "ScalingConfig" in properties:
            made["scaling_config"] = {
                "maximum_concurrency": texts.of(properties["ScalingConfig"]["MaximumConcurrency"])
            }


def _adapt_trigger(found: dict[str, Any], texts: Texts, changes: Mapping[str, Any]) -> None:
    """The bucket that calls `ingest`: its real name, and not before it may."""
    (notification,) = found["aws_s3_bucket_notification"].values()
    notification["bucket"] = "${aws_s3_bucket.uploads_bucket.id}"
    notification["depends_on"] = ["aws_lambda_permission.ingest-s3event"]
    arn = texts.of(changes["IngestPermission"]["Properties"]["SourceArn"])
    found["aws_lambda_permission"]["ingest-s3event"]["source_arn"] = arn
    for rule in found["aws_cloudwatch_event_rule"].values():
        # Two stages of one account would take it from each other.
        rule["name"] = f"darkroom-{texts.stage}-{rule['name']}"


def _adapt_api(chalice: dict[str, Any], template: Mapping[str, Any], texts: Texts) -> None:
    api = template["Resources"]["RestAPI"]["Properties"]
    swagger = json.loads(chalice["locals"]["chalice_api_swagger"])
    add_request_models(swagger)
    swagger["x-amazon-apigateway-gateway-responses"] = {
        kind: {
            **({"statusCode": str(entry["StatusCode"])} if "StatusCode" in entry else {}),
            "responseParameters": {
                f"gatewayresponse.header.{name}": texts.of(value)
                for name, value in entry["ResponseParameters"]["Headers"].items()
            },
            "responseTemplates": entry["ResponseTemplates"],
        }
        for kind, entry in api["GatewayResponses"].items()
    }
    swagger.setdefault("securityDefinitions", {})["api_key"] = {
        "type": "apiKey",
        "name": "x-api-key",
        "in": "header",
    }
    chalice["locals"]["open_swagger"] = json.dumps(swagger)
    for path, methods in swagger["paths"].items():
        for method, route in methods.items():
            if path.startswith("/images") and method != "options":
                route["security"] = [{"api_key": []}]
    chalice["locals"]["keyed_swagger"] = json.dumps(swagger)
    chalice["locals"]["chalice_api_swagger"] = (
        "${local.has_api_key ? local.keyed_swagger : local.open_swagger}"
    )
    resource = chalice["resource"]
    resource["aws_api_gateway_rest_api"]["rest_api"]["name"] = texts.of(api["Name"])
    deployment = resource["aws_api_gateway_deployment"]["rest_api"]
    # The stage is a resource of its own; a change of the routes is a new deployment.
    del deployment["stage_name"], deployment["stage_description"]
    deployment["triggers"] = {"routes": "${md5(local.chalice_api_swagger)}"}
    chalice["output"]["EndpointURL"]["value"] = "${aws_api_gateway_stage.api.invoke_url}"
    # Declared by the override file.
    del chalice["terraform"]


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    try:
        make_terraform(arguments.stage, arguments.folder)
    except PackagingFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    print(f"{arguments.folder}: {', '.join(sorted(p.name for p in arguments.folder.iterdir()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
