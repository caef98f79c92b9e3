"""The document is valid, complete, and says what the code says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

import app as app_module
from chalicelib import errors
from chalicelib.api.answers import IMAGE_CODES
from chalicelib.api.images import FIELDS, checked_fields
from chalicelib.api.openapi import Description
from chalicelib.api.operations import ANYWHERE, UNSIGNED
from chalicelib.api.schemas import TRACKING_UPDATE
from chalicelib.errors import InvalidRequest

ROOT = Path(__file__).resolve().parents[3]
SIGNED = Description(signed=True).document()
OPEN = Description(signed=False).document()


def operations(document: dict[str, Any] = SIGNED) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def codes_by_status(responses: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for status, response in responses.items():
        for content in response.get("content", {}).values():
            for example in content.get("examples", {}).values():
                yield status, example["value"]["code"]


def resolving(schema: dict[str, Any]) -> Draft202012Validator:
    """A validator of a schema that refers to parts of the document."""
    return Draft202012Validator({**schema, "components": SIGNED["components"]})


@pytest.mark.parametrize("document", [SIGNED, OPEN], ids=["signed", "open"])
def test_the_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"] == "3.1.0"
    assert json.loads(json.dumps(document)) == document


def test_every_route_is_described_and_no_other() -> None:
    routes = {
        f"{method} {path}"
        for path, methods in app_module.app.routes.items()
        for method in methods
        if "part0" not in path
    }
    assert {name for name, _ in operations()} == routes


def test_the_routes_that_take_signed_requests_alone_are_those_with_an_authorizer() -> None:
    signed = {
        f"{method} {path}"
        for path, methods in app_module.app.routes.items()
        for method, entry in methods.items()
        if entry.authorizer is not None
    }
    assert {name for name, operation in operations() if "security" in operation} == signed
    assert not [name for name, operation in operations(OPEN) if "security" in operation]


def test_every_code_of_a_request_is_described_under_its_status() -> None:
    described = {
        pair for _, operation in operations() for pair in codes_by_status(operation["responses"])
    }
    described |= {
        (str(status), code)
        for name, status in (("NotFound", 404), ("MethodNotAllowed", 405))
        for _, code in codes_by_status({"": SIGNED["components"]["responses"][name]})
    }
    raised = {
        (str(value.status), value.code)
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.RequestError)
        if value is not errors.RequestError
    }
    raised |= {("500", "internal_error"), ("503", "service_unavailable")}
    assert raised - described == set()
    documented = set(
        re.findall(
            r"^\| `(\w+)` \| [\dx]{3} \|", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE
        )
    )
    assert {code for _, code in described} == documented


def test_every_code_of_an_image_is_described() -> None:
    text = (ROOT / "docs" / "api.md").read_text().partition("## Codes of images")[2]
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.MULTILINE)) == IMAGE_CODES
    shown = SIGNED["components"]["schemas"]["Failure"]["properties"]["code"]["description"]
    assert set(re.findall(r"`(\w+)`", shown)) == set(IMAGE_CODES)


def test_what_the_gateway_refuses_is_described_in_its_words() -> None:
    text = re.sub(r"!\w+", "", (ROOT / "infrastructure" / "resources.yaml").read_text())
    responses = yaml.safe_load(text)["Resources"]["RestAPI"]["Properties"]["GatewayResponses"]
    told = {
        (body["code"], body["error"])
        for response in responses.values()
        for body in [json.loads(response["ResponseTemplates"]["application/json"])]
    }
    assert {(refusal.code, refusal.sentence) for refusal in (*ANYWHERE, *UNSIGNED)} <= told


def test_every_example_fits_its_schema() -> None:
    seen = 0
    for name, operation in operations():
        contents = [
            content
            for response in operation["responses"].values()
            for content in response.get("content", {}).values()
        ]
        contents += operation.get("requestBody", {}).get("content", {}).values()
        for content in contents:
            values = [entry["value"] for entry in content.get("examples", {}).values()]
            values += [content["example"]] if "example" in content else []
            for value in values:
                seen += 1
                assert list(resolving(content["schema"]).iter_errors(value)) == [], name
    assert seen > 50


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"filename": "a.jpg"},
        {"filename": ""},
        {"filename": None},
        {"filename": "a\nb"},
        {"content_type": "text/html"},
        {"outputs": []},
        {"outputs": ["predictions"]},
        {"outputs": ["prints"]},
        {"focal_point": {"x": 0, "y": 1}},
        {"focal_point": {"x": 0, "y": 1.5}},
        {"focal_point": {"x": 0}},
        {"metadata": {"a": "b"}},
        {"metadata": {"": "b"}},
        {"metadata": {"a": 1}},
        {"colour": "red"},
    ],
    ids=json.dumps,
)
def test_a_new_image_is_described_as_it_is_checked(body: dict[str, Any]) -> None:
    try:
        checked_fields(body)
        taken = True
    except InvalidRequest:
        taken = False
    schema = SIGNED["components"]["schemas"]["NewImage"]
    assert Draft202012Validator(schema).is_valid(body) == taken
    assert set(schema["properties"]) == set(FIELDS)


def test_an_update_is_described_by_the_schema_that_checks_it() -> None:
    assert SIGNED["components"]["schemas"]["NewUpdate"] is TRACKING_UPDATE


def test_every_part_is_explained() -> None:
    """A reader finds a sentence at every operation, parameter, schema and field."""

    def unexplained(schema: Any, place: str) -> Iterator[str]:
        for name, rule in schema.get("properties", {}).items():
            if "$ref" not in rule and "anyOf" not in rule:
                if not rule.get("description"):
                    yield f"{place}.{name}"
                yield from unexplained(rule, f"{place}.{name}")

    assert [
        place
        for name, schema in SIGNED["components"]["schemas"].items()
        for place in unexplained(schema, name)
    ] == []
    for name, operation in operations():
        assert operation["summary"], name
        for parameter in operation.get("parameters", ()):
            assert parameter["description"], name


def test_names_of_operations_are_unique() -> None:
    names = [operation["operationId"] for _, operation in operations()]
    assert len(names) == len(set(names))
