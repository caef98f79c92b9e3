"""API Gateway's models of what clients send."""

from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV2SpecValidator

from chalicelib.api.openapi import Description
from infrastructure.request_models import MODELS, add_request_models, as_model

UPDATE = {"tracking_id": "p-1", "status": "pending", "location": {"lat": 1.5, "lng": 2}}


@pytest.fixture(scope="module")
def swagger() -> dict[str, Any]:
    answer = {"responses": {"200": {"description": "done"}}}
    document = {
        "swagger": "2.0",
        "info": {"title": "darkroom", "version": "1.0"},
        "paths": {path: {"post": dict(answer)} for path in MODELS},
    }
    add_request_models(document)
    return document


def model(swagger: dict[str, Any], name: str) -> jsonschema.Draft4Validator:
    schema = swagger["definitions"][name]
    jsonschema.Draft4Validator.check_schema(schema)
    return jsonschema.Draft4Validator(schema)


def test_they_are_swagger_as_api_gateway_imports_it(swagger: dict[str, Any]) -> None:
    OpenAPIV2SpecValidator(swagger).validate()
    for path, name in MODELS.items():
        (body,) = swagger["paths"][path]["post"]["parameters"]
        assert body["schema"] == {"$ref": f"#/definitions/{name}"}


@pytest.mark.parametrize(
    "update",
    [
        UPDATE,
        {**UPDATE, "notify_email": None, "occurred_at": None, "metadata": None},
        {**UPDATE, "notify_email": "a@example.com", "metadata": {"depth": {"of": 2}}},
    ],
)
def test_an_update_that_the_api_takes_fits(swagger: dict[str, Any], update: Any) -> None:
    model(swagger, "NewUpdate").validate(update)


@pytest.mark.parametrize(
    "changed", [{"status": "lost"}, {"location": {"lat": 91, "lng": 0}}, {"notify_email": "a"}]
)
def test_an_update_that_the_api_refuses_does_not(swagger: dict[str, Any], changed: Any) -> None:
    assert not model(swagger, "NewUpdate").is_valid({**UPDATE, **changed})


def test_an_image_may_have_nothing_or_null_or_all(swagger: dict[str, Any]) -> None:
    images = model(swagger, "NewImage")
    fields = Description(signed=True).document()["components"]["schemas"]["NewImage"]["properties"]
    images.validate({})
    images.validate(dict.fromkeys(fields))
    images.validate({"filename": "a.jpg", "outputs": ["formats"], "focal_point": {"x": 0, "y": 1}})
    assert not images.is_valid({"outputs": ["film"]})
    assert not images.is_valid({"surprise": 1})


def test_only_words_of_draft_4_are_left() -> None:
    rule = {"type": "object", "propertyNames": {"minLength": 1}, "examples": [{}]}
    assert as_model({"anyOf": [rule, {"type": "null"}], "description": "A map."}) == {
        "description": "A map."
    }
