"""MiniStack with what ``chalice deploy`` and the stack beside it ask for: ``python -m
local.aws_with_imports``.

MiniStack 1.5.33 makes APIs from a definition for CloudFormation alone. Chalice imports its own
definition, and puts the next one in its place at every further deployment. And where a new stack
takes back what an old one left, it finds the bucket's name taken by that very bucket.
"""

import json
from collections.abc import Mapping
from typing import Any

from ministack.services import apigateway_v1 as gateway
from ministack.services.cloudformation import stacks

_original = gateway.handle_request
# Of an integration: what MiniStack's own import leaves out.
_INTEGRATION = (
    "requestTemplates",
    "requestParameters",
    "passthroughBehavior",
    "contentHandling",
)


async def handle_request(
    method: str, path: str, headers: Any, body: bytes, query_params: Mapping[str, Any]
) -> Any:
    """MiniStack's own, with three calls more or otherwise."""
    parts = [part for part in path.strip("/").split("/") if part]
    if parts[:1] == ["restapis"] and body:
        if len(parts) == 1 and method == "POST" and _first(query_params, "mode") == "import":
            return _import(json.loads(body), _first(query_params, "endpointConfigurationTypes"))
        if len(parts) == 2 and method == "PUT":
            return _put(parts[1], json.loads(body))
        if len(parts) == 2 and method == "PATCH":
            body = _without_empty_size(body)
    return await _original(method, path, headers, body, query_params)


def _import(definition: dict[str, Any], endpoint_type: str | None) -> Any:
    """ImportRestApi."""
    given = {"endpointConfiguration": {"types": [endpoint_type]}} if endpoint_type else {}
    api_id = gateway._import_rest_api(definition, given)  # noqa: SLF001
    _complete(api_id, definition)
    return _view(api_id, 201)


def _put(api_id: str, definition: dict[str, Any]) -> Any:
    """PutRestApi with mode=overwrite: nothing of the old definition is left."""
    if api_id not in gateway._rest_apis:  # noqa: SLF001
        return gateway._v1_error(  # noqa: SLF001
            "NotFoundException", "Invalid API identifier specified", 404
        )
    resources = gateway._resources[api_id]  # noqa: SLF001
    root = next(key for key, resource in resources.items() if resource.get("path") == "/")
    for key in [key for key in resources if key != root]:
        del resources[key]
    resources[root]["resourceMethods"] = {}
    gateway._rest_apis[api_id]["name"] = definition["info"]["title"]  # noqa: SLF001
    # Whether AWS keeps them is nowhere said; that they are gone is the harder case.
    gateway._gateway_responses.pop(api_id, None)  # noqa: SLF001
    schemes = gateway._import_security_schemes(api_id, definition)  # noqa: SLF001
    for path, item in definition.get("paths", {}).items():
        gateway._import_path_item(  # noqa: SLF001
            api_id, path, item, schemes, definition.get("security")
        )
    _complete(api_id, definition)
    return _view(api_id, 200)


def _view(api_id: str, status: int) -> Any:
    view = gateway._rest_api_view(gateway._rest_apis[api_id])  # noqa: SLF001
    return gateway._v1_response(view, status)  # noqa: SLF001


def _complete(api_id: str, definition: Mapping[str, Any]) -> None:
    """What MiniStack's import does not take over: binary types, and the details of CORS."""
    kinds = definition.get("x-amazon-apigateway-binary-media-types", [])
    gateway._rest_apis[api_id]["binaryMediaTypes"] = list(kinds)  # noqa: SLF001
    resources = gateway._resources[api_id]  # noqa: SLF001
    by_path = {resource["path"]: key for key, resource in resources.items()}
    for path, item in definition.get("paths", {}).items():
        key = by_path[path]
        for verb, operation in item.items():
            method = verb.upper()
            integration = operation.get("x-amazon-apigateway-integration", {})
            made = resources[key]["resourceMethods"][method]["methodIntegration"]
            made |= {n: integration[n] for n in _INTEGRATION if n in integration}
            for status, answer in operation.get("responses", {}).items():
                shown = {f"method.response.header.{n}": False for n in answer.get("headers", {})}
                gateway._put_method_response(  # noqa: SLF001
                    api_id, key, method, str(status), {"responseParameters": shown}
                )
            for pattern, answer in integration.get("responses", {}).items():
                gateway._put_integration_response(  # noqa: SLF001
                    api_id,
                    key,
                    method,
                    str(answer["statusCode"]),
                    {
                        "selectionPattern": "" if pattern == "default" else pattern,
                        "responseParameters": answer.get("responseParameters", {}),
                        "responseTemplates": answer.get("responseTemplates", {}),
                    },
                )


def _without_empty_size(body: bytes) -> bytes:
    """Chalice says "no compression" with an empty text where MiniStack takes a number."""
    asked = json.loads(body)
    for operation in asked.get("patchOperations", []):
        if operation.get("path") == "/minimumCompressionSize" and not operation.get("value"):
            operation["value"] = None
    return json.dumps(asked).encode()


def keep_names_of_kept_buckets() -> None:
    """Let a stack take a bucket back that is kept when a stack is deleted."""
    original = stacks._validation_errors  # noqa: SLF001

    def validation_errors(resources: Mapping[str, Any], *others: Any) -> Any:
        return [
            error
            for error in original(resources, *others)
            if error[2] != "NAME_CONFLICT_VALIDATION"
            or resources[error[0]].get("DeletionPolicy") != "Retain"
        ]

    stacks._validation_errors = validation_errors  # noqa: SLF001


def _first(query_params: Mapping[str, Any], name: str) -> str | None:
    found = query_params.get(name)
    if isinstance(found, list):
        found = found[0] if found else None
    return found


if __name__ == "__main__":
    gateway.handle_request = handle_request
    keep_names_of_kept_buckets()
    from ministack.app import main

    main()
