"""``GET /docs``: the OpenAPI document as a page that can be read, without a script."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.api.http import Answer, Page
from chalicelib.api.openapi import Description
from chalicelib.api.pages import hash_of, page_headers
from chalicelib.console import stylesheet
from chalicelib.templates import rendered

_STYLES = ("theme.css", "reference.css")


@dataclass(frozen=True, kw_only=True)
class ReferenceApi:
    """The page.

    Args:
        description: Makes the document that it shows.
    """

    description: Description

    def get(self) -> Answer:
        """The page."""
        style = "".join(stylesheet(name) for name in _STYLES)
        document = self.description.document()
        body = rendered(
            "reference.html",
            info=document["info"],
            style=style,
            tags=[
                {**tag, "operations": list(_operations(document, tag["name"]))}
                for tag in document["tags"]
            ],
            schemas=[
                {"name": name, "description": schema["description"], "fields": _fields(schema)}
                for name, schema in document["components"]["schemas"].items()
            ],
        )
        headers = page_headers({"style-src": hash_of(style)})
        return Page(status=200, body=body, headers=headers)


def _operations(document: Mapping[str, Any], tag: str) -> Iterator[dict[str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield _operation(path, method, operation)


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": operation["operationId"],
        "method": method.upper(),
        "path": path,
        "summary": operation["summary"],
        "description": operation.get("description", ""),
        "signed": "security" in operation,
        "parameters": [
            {
                "name": parameter["name"],
                "where": parameter["in"],
                "required": parameter["required"],
                "kind": _kind(parameter["schema"]),
                "description": parameter["description"],
            }
            for parameter in operation.get("parameters", ())
        ],
        "bodies": [
            {"type": kind, "schema": _kind(content["schema"]) if "schema" in content else "bytes"}
            for kind, content in operation.get("requestBody", {}).get("content", {}).items()
        ],
        "answers": [_answer(*entry) for entry in operation["responses"].items()],
    }


def _answer(status: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    contents: Mapping[str, Mapping[str, Any]] = answer.get("content", {"": {}})
    kind, content = next(iter(contents.items()))
    example = content.get("example")
    return {
        "status": status,
        "description": answer["description"],
        "type": kind,
        "schema": _kind(content["schema"]) if "schema" in content else "",
        "codes": [
            {"code": code, "sentence": shown["summary"]}
            for code, shown in content.get("examples", {}).items()
        ],
        "headers": sorted(answer.get("headers", ())),
        "example": "" if example is None else json.dumps(example, indent=2, ensure_ascii=False),
    }


def _fields(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "required": name in schema.get("required", ()),
            "kind": _kind(rule),
            "description": rule.get("description", ""),
            "fields": _fields(rule),
        }
        for name, rule in schema.get("properties", {}).items()
    ]


def _kind(schema: Mapping[str, Any]) -> str:
    """What a value is, in a few words; names of schemas stand in square brackets."""
    if "$ref" in schema:
        return f"[{schema['$ref'].rpartition('/')[2]}]"
    if "anyOf" in schema:
        return " or ".join(_kind(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"`{value}`" for value in schema["enum"])
    kinds = schema["type"]
    kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
    if kind == "array" and "items" in schema:
        return f"list of {_kind(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    limits = [
        f"{word} {schema[name]}"
        for name, word in (
            *(("minimum", "from"), ("maximum", "to")),
            *(("minLength", "from"), ("maxLength", "to")),
            ("default", "default"),
        )
        if name in schema
    ]
    return f"{kind}, {' '.join(limits)}" if limits else kind
