"""API Gateway's models of what clients send, made from the schemas that the API checks with.

They are in the SDKs that API Gateway generates, and in what it exports. The gateway does not
validate with them: its refusal names no field, while the API's lists every one that is wrong.
"""

from collections.abc import Mapping
from typing import Any

from chalicelib.api.openapi import Description

# The model of each route that takes a body of JSON.
MODELS = {"/images": "NewImage", "/track": "NewUpdate", "/dead-letters/redrive": "Redrive"}
# Of JSON Schema, what draft 4 and Swagger 2.0 both have.
_KEPT = frozenset({
    *("type", "description", "enum", "properties", "required", "additionalProperties"),
    *("items", "minItems", "maxItems", "minLength", "maxLength", "pattern", "minimum", "maximum"),
})  # fmt: skip


def add_request_models(swagger: dict[str, Any]) -> None:
    """Put the models into an API's Swagger 2.0 document, and to the routes that they are of."""
    schemas = Description(signed=True).document()["components"]["schemas"]
    for path, name in MODELS.items():
        swagger.setdefault("definitions", {})[name] = as_model(schemas[name])
        swagger["paths"][path]["post"].setdefault("parameters", []).append(
            {"in": "body", "name": name, "schema": {"$ref": f"#/definitions/{name}"}}
        )


def as_model(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that takes all that the given one takes, in the words of draft 4 and Swagger 2.0.

    Swagger has no null: what may be null is a value of any type there, for which
    the other rules still hold.
    """
    for choice in schema.get("anyOf", ()):
        if choice != {"type": "null"}:
            said = {"description": schema["description"]} if "description" in schema else {}
            return {**_without_type(as_model(choice)), **said}
    model = {word: value for word, value in schema.items() if word in _KEPT}
    if not isinstance(model.get("type", ""), str):
        model = _without_type(model)
    if "properties" in model:
        model["properties"] = {n: as_model(rule) for n, rule in model["properties"].items()}
    if "items" in model:
        model["items"] = as_model(model["items"])
    return model


def _without_type(model: dict[str, Any]) -> dict[str, Any]:
    return {word: value for word, value in model.items() if word != "type"}
