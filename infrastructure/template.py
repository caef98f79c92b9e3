"""Everything that Chalice does not make itself, of one stage: the files beside this one, and what
follows from the functions and queues that there are.
"""

import json
from pathlib import Path
from typing import Any

from chalice.package import YAMLTemplateSerializer

from infrastructure.alarms import Function, alarms, functions_of
from infrastructure.dashboard import dashboard
from infrastructure.request_models import add_request_models

ROOT = Path(__file__).resolve().parent.parent
# Each is merged into the ones before it.
FILES = ("resources.yaml", "api.yaml", "cdn.yaml", "monitoring.yaml")
CODE = ("negotiate.js", "vary.js")
# What anyone may ask for without an API key: whoever looks whether the service is up, whoever
# unsubscribes, and the pages that say how to use it. Signed routes know their callers already.
_KEYED = "/images"
# What a reference to a resource is: each of these has an output.
_REFERENCES = {
    "AWS::SQS::Queue": "Url",
    "AWS::DynamoDB::Table": "Name",
    "AWS::S3::Bucket": "Name",
    "AWS::SNS::Topic": "Arn",
}


def config() -> dict[str, Any]:
    """`.chalice/config.json`."""
    found: dict[str, Any] = json.loads((ROOT / ".chalice" / "config.json").read_text())
    return found


def resources_of(stage: str) -> dict[str, Any]:
    """The template that is merged with Chalice's, with the stage's name filled in."""
    template = _read()
    settings = config()["stages"].get(stage)
    if settings is None:
        # Chalice itself says so, and lists nothing.
        return template
    functions = functions_of(config(), stage)
    resources = template["Resources"]
    template["Parameters"]["Stage"]["Default"] = stage
    template["Parameters"]["LogRetentionDays"]["Default"] = settings["log_retention_in_days"]
    queues = _properties(resources, "AWS::SQS::Queue")
    resources |= alarms(functions, queues, _streamed(resources))
    resources["Dashboard"] = dashboard(
        functions, queues, _properties(resources, "AWS::DynamoDB::Table")
    )
    for function in functions:
        _merge(resources, _names_of(function))
    for name, resource in resources.items():
        if (ending := _REFERENCES.get(resource.get("Type", ""))) and "Condition" not in resource:
            template["Outputs"].setdefault(f"{name}{ending}", {"Value": {"Ref": name}})
    return template


def finish(template: dict[str, Any]) -> None:
    """What Chalice's template needs and a merge cannot do to it."""
    body = template["Resources"]["RestAPI"]["Properties"]["DefinitionBody"]
    add_request_models(body)
    body.setdefault("securityDefinitions", {})["api_key"] = {
        "type": "apiKey",
        "name": "x-api-key",
        "in": "header",
    }
    for path, methods in body["paths"].items():
        for method, route in methods.items():
            if path.startswith(_KEYED) and method not in {
                "options",
                "x-amazon-apigateway-any-method",
            }:
                route["security"] = {"Fn::If": ["HasApiKey", [{"api_key": []}], []]}
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::LayerVersion":
            # Else each version that there ever was is kept, of a stack that is gone too.
            resource["Properties"]["RetentionPolicy"] = "Delete"
    template["Outputs"] |= {
        f"{name}Arn": {"Value": {"Fn::GetAtt": [name, "Arn"]}}
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
        # Chalice has some of them already, under its own names.
        and f"{name}Arn" not in template["Outputs"]
    }


def _names_of(function: Function) -> dict[str, Any]:
    """A function's own name, so that role, alarms and log group can say it; its log's life."""
    log_group = "ApiHandlerLogGroup"
    if function.name != "api_handler":
        log_group = f"{function.logical_name}LogGroup"
    return {
        function.logical_name: {"Properties": {"FunctionName": function.full_name}},
        log_group: {"Properties": {"RetentionInDays": {"Ref": "LogRetentionDays"}}},
    }


def _read() -> dict[str, Any]:
    folder = Path(__file__).parent
    template: dict[str, Any] = {}
    for name in FILES:
        path = folder / name
        loaded = YAMLTemplateSerializer().load_template(path.read_text(), str(path))
        # Through text, because YAML's anchors are one object that several places share.
        _merge(template, json.loads(json.dumps(loaded)))
    for resource in template["Resources"].values():
        code = resource.get("Properties", {}).get("FunctionCode")
        if code in CODE:
            resource["Properties"]["FunctionCode"] = (folder / code).read_text()
    return template


def _merge(target: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value


def _streamed(resources: dict[str, Any]) -> set[str]:
    """The functions that a stream feeds."""
    return {
        name
        for name, resource in resources.items()
        for event in resource.get("Properties", {}).get("Events", {}).values()
        if "Stream" in event["Properties"]
    }


def _properties(resources: dict[str, Any], kind: str) -> dict[str, Any]:
    return {n: r["Properties"] for n, r in resources.items() if r.get("Type") == kind}
