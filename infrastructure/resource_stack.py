"""The stack beside ``chalice deploy``: of all that is merged into ``chalice package``, what Chalice
does not make, as a template of its own.

What the merged template says about Chalice's functions and API (variables, limits of triggers,
throttling, answers of the gateway) cannot stand in such a stack. It is kept as `Overrides`, whose
places for values are filled in with the stack's outputs, so that there is one source for all three
ways of deploying.
"""

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infrastructure.alarms import Function

# Chalice makes the first itself; the others hang on an API that is not there yet, and Chalice has
# `api_gateway_custom_domain` for a name of one's own.
NOT_HERE = (
    "IngestPermission",
    "UsagePlan",
    "FirstApiKey",
    "FirstApiKeyInPlan",
    "ApiDomainName",
    "ApiDomainMapping",
)
# Of the bucket that calls `ingest`: Chalice connects them.
_CONNECTED = ("NotificationConfiguration",)
# What Chalice says of its own things as the merged template does, or has no place for.
_SAID_BY_CHALICE = ("FunctionName", "Name", "Tags", "Queue", "Stream")
_API = "RestAPI"
# Stands for the API's id in an output: the stack is there before the API is.
_API_MARK = "[RestAPI]"
# Among the outputs, for `filled_in`: the id of the API that Chalice made, or nothing.
REST_API_ID = "RestApiId"
# An output may not be empty, and many values may.
_MARK = "="
_NOTHING = {"Ref": "AWS::NoValue"}


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the merged template says about things that Chalice makes.

    ``shared`` are the properties of all functions, ``of`` those of each thing by its logical name.
    """

    shared: Mapping[str, Any]
    of: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class ResourceStack:
    """The template, and what is to be said with its outputs."""

    template: dict[str, Any]
    overrides: Overrides


def resource_stack(merged: Mapping[str, Any], functions: list[Function]) -> ResourceStack:
    """Take apart what is merged into ``chalice package``.

    Args:
        merged: What `template.resources_of` made.
        functions: Those of the stage.
    """
    template: dict[str, Any] = copy.deepcopy(dict(merged))
    described = template["Resources"]
    overrides = Overrides(
        shared=template.pop("Globals")["Function"],
        of={
            name: _unsaid(resource["Properties"])
            for name, resource in described.items()
            if "Type" not in resource and not name.endswith("LogGroup")
        },
    )
    resources = {n: r for n, r in described.items() if "Type" in r and n not in NOT_HERE}
    for resource in resources.values():
        _unconnect(resource)
    for function in functions:
        resources |= _log_group(function)
    template["Resources"] = _without_dangling(resources, set(template["Parameters"]))
    known = {*template["Resources"], *template["Parameters"]}
    outputs = {
        name: output
        for name, output in template["Outputs"].items()
        if set(references(output)) <= known
    }
    for place in _places({"shared": overrides.shared, "of": overrides.of}, known):
        outputs[place.output] = {"Value": _marked(place.guarded())}
    for name in _streams(template["Resources"]):
        outputs[stream_output(name)] = {"Value": {"Fn::GetAtt": [name, "StreamArn"]}}
    template["Outputs"] = outputs
    _prune(template)
    return ResourceStack(template=template, overrides=overrides)


def add_layers(template: dict[str, Any], contents: Mapping[str, tuple[str, str]]) -> None:
    """Put layers into the stack, and say their ARNs.

    Args:
        template: Of the stack.
        contents: Bucket and key of each layer's zip, by the layer's logical name.
    """
    for name, (bucket, key) in contents.items():
        given = template["Resources"].get(name, {}).get("Properties", {})
        template["Resources"][name] = {
            "Type": "AWS::Lambda::LayerVersion",
            "Properties": {
                "LayerName": given.get("LayerName", {"Fn::Sub": "darkroom-${Stage}-libraries"}),
                "Description": given.get("Description", "Libraries and the built-in model"),
                "Content": {"S3Bucket": bucket, "S3Key": key},
            },
        }
        template["Outputs"][f"{name}Arn"] = {"Value": {"Ref": name}}


def spell_out_names(template: dict[str, Any], values: Mapping[str, str]) -> None:
    """Write the names of what outlives its stack as they are.

    A new stack takes something back that is there already only where its name is no expression.

    Args:
        template: Of the stack.
        values: What the expressions refer to: parameters and AWS's own.
    """
    for resource in template["Resources"].values():
        if resource.get("DeletionPolicy") != "Retain":
            continue
        for key in ("BucketName", "TableName"):
            if isinstance(name := resource["Properties"].get(key), dict):
                resource["Properties"][key] = re.sub(
                    r"\$\{([\w.:]+)\}", lambda match: values[match[1]], name["Fn::Sub"]
                )


def stream_output(table: str) -> str:
    """The output with the ARN of a table's stream."""
    return f"{table}StreamArn"


def filled_in(said: Any, outputs: Mapping[str, str], under: "Under" = ()) -> Any:
    """What the merged template says, with the stack's values in it; None where it says nothing.

    Args:
        said: A part of `Overrides`.
        outputs: Of the stack, and `REST_API_ID`, without which a value that holds it is None.
        under: The conditions around the part, each with the branch that it stands in.

    Raises:
        KeyError: The stack was made from another template.
    """
    if isinstance(said, list):
        return [e for e in (filled_in(entry, outputs, under) for entry in said) if e is not None]
    if not isinstance(said, dict):
        return said
    if set(said) == {"Fn::If"}:
        condition, yes, no = said["Fn::If"]
        holds = outputs[_asked(condition).output] == f"{_MARK}yes"
        return filled_in(yes if holds else no, outputs, (*under, (condition, holds)))
    if _is_intrinsic(said):
        return None if said == _NOTHING else _value(outputs, _Place(said, under))
    entries = {name: filled_in(value, outputs, under) for name, value in said.items()}
    return {name: value for name, value in entries.items() if value is not None}


def references(node: Any) -> Iterator[str]:
    """The logical names that a part of a template refers to, conditions and AWS's own left out."""
    if isinstance(node, list):
        for entry in node:
            yield from references(entry)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key == "Ref":
            names = [value]
        elif key == "Fn::GetAtt":
            names = [value[0] if isinstance(value, list) else value.split(".")[0]]
        elif key == "DependsOn":
            names = [value] if isinstance(value, str) else value
        elif key == "Fn::Sub":
            text, own = (value, {}) if isinstance(value, str) else value
            names = [name.split(".")[0] for name in re.findall(r"\$\{([\w.:]+)\}", text)]
            names = [name for name in names if name not in own]
            yield from references(own)
        elif key == "Fn::If":
            yield from references(value[1:])
            continue
        else:
            yield from references(value)
            continue
        yield from (name for name in names if not name.startswith("AWS::"))


def _unconnect(resource: dict[str, Any]) -> None:
    for name in _CONNECTED:
        resource["Properties"].pop(name, None)
    waits_for = [name for name in resource.get("DependsOn", []) if name not in NOT_HERE]
    resource.pop("DependsOn", None)
    if waits_for:
        resource["DependsOn"] = waits_for


def _log_group(function: Function) -> dict[str, Any]:
    """There before the function is: it may not make one, and Chalice would miss the API's."""
    return {
        f"{function.logical_name}LogGroup": {
            "Type": "AWS::Logs::LogGroup",
            "Properties": {
                "LogGroupName": {"Fn::Sub": f"/aws/lambda/{function.full_name['Fn::Sub']}"},
                "RetentionInDays": {"Ref": "LogRetentionDays"},
            },
        }
    }


def _without_dangling(resources: dict[str, Any], parameters: set[str]) -> dict[str, Any]:
    """Leave out what refers to something that is not here, and so on."""
    while True:
        known = {*resources, *parameters}
        kept = {n: r for n, r in resources.items() if set(references(r)) <= known}
        if len(kept) == len(resources):
            return kept
        resources = kept


# The conditions around a part of the template, each with the branch that it stands in.
type Under = tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class _Place:
    """A value that only CloudFormation can say, and the conditions under which it has one."""

    expression: Mapping[str, Any]
    under: Under = ()

    @property
    def output(self) -> str:
        """The same name for the same expression, so that whoever reads it can ask for it."""
        text = json.dumps([self.expression, self.under], sort_keys=True)
        return f"Said{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def guarded(self) -> Any:
        """The expression, such that it is always valid."""
        value: Any = self.expression
        if _API in references(value):
            value = json.loads(
                json.dumps(value)
                .replace(f"${{{_API}}}", _API_MARK)
                .replace(f'{{"Ref": "{_API}"}}', f'"{_API_MARK}"')
            )
        for condition, holds in reversed(self.under):
            value = {"Fn::If": [condition, *((value, "") if holds else ("", value))]}
        return value


def _places(said: Any, known: set[str], under: Under = ()) -> Iterator[_Place]:
    """All such values in what the merged template says.

    Raises:
        ValueError: One refers to something that is not in the stack.
    """
    if isinstance(said, list):
        for entry in said:
            yield from _places(entry, known, under)
    elif isinstance(said, dict) and set(said) == {"Fn::If"}:
        condition, yes, no = said["Fn::If"]
        yield _asked(condition)
        yield from _places(yes, known, (*under, (condition, True)))
        yield from _places(no, known, (*under, (condition, False)))
    elif isinstance(said, dict) and _is_intrinsic(said):
        if unknown := set(references(said)) - {*known, _API}:
            raise ValueError(
                f"{json.dumps(said)} refers to {', '.join(sorted(unknown))}, which is not in the "
                f"stack beside chalice deploy."
            )
        if said != _NOTHING:
            yield _Place(said, under)
    elif isinstance(said, dict):
        for value in said.values():
            yield from _places(value, known, under)


def _value(outputs: Mapping[str, str], place: _Place) -> str | None:
    value = outputs[place.output].removeprefix(_MARK)
    if _API_MARK not in value:
        return value
    api = outputs.get(REST_API_ID)
    return value.replace(_API_MARK, api) if api else None


def _asked(condition: str) -> _Place:
    return _Place({"Fn::If": [condition, "yes", "no"]})


def _marked(value: Any) -> dict[str, Any]:
    return {"Fn::Join": ["", [_MARK, value]]}


def _unsaid(properties: Any) -> Any:
    if not isinstance(properties, dict):
        return properties
    return {n: _unsaid(v) for n, v in properties.items() if n not in _SAID_BY_CHALICE}


def _is_intrinsic(node: Mapping[str, Any]) -> bool:
    return len(node) == 1 and next(iter(node)).startswith(("Ref", "Fn::"))


def _streams(resources: Mapping[str, Any]) -> list[str]:
    return [
        name
        for name, resource in resources.items()
        if "StreamSpecification" in resource.get("Properties", {})
    ]


def _prune(template: dict[str, Any]) -> None:
    """Leave out parameters and conditions that nothing asks for any more."""
    body = json.dumps([template["Resources"], template["Outputs"]])
    conditions = template["Conditions"]
    kept: set[str] = set()
    found = {name for name in conditions if f'"{name}"' in body}
    while found - kept:
        kept |= found
        inner = json.dumps([conditions[name] for name in kept])
        found = {name for name in conditions if f'"{name}"' in inner}
    template["Conditions"] = {n: c for n, c in conditions.items() if n in kept}
    asked = set(
        references([template["Resources"], template["Outputs"], template["Conditions"]])
    ) | {"Stage"}
    template["Parameters"] = {n: p for n, p in template["Parameters"].items() if n in asked}
