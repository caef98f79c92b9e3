"""The document against the real API: what is answered is described, and a client made of it works."""

import importlib
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.polling import eventually
from tests.system.conftest import Service, photo

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ABSENT = "/images/00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def document(deployed: Any) -> dict[str, Any]:
    """The document as it is served."""
    answer = deployed.api.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    served: dict[str, Any] = answer.json()
    return served


def closed(schema: Any) -> Any:
    """The schema with no other fields than those that it names: so that none goes undescribed."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: closed(part) for name, part in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        parts.setdefault("additionalProperties", False)
    return parts


def assert_described(document: dict[str, Any], route: str, answer: Any) -> None:
    """Status, code and every field of an answer stand in the document."""
    method, path = route.split(" ")
    responses = document["paths"][path][method.lower()]["responses"]
    described = responses.get(str(answer.status_code))
    assert described is not None, (route, answer.status_code)
    if answer.status_code == 204:
        return
    content = described["content"]["application/json"]
    schema = {**closed(content["schema"]), "components": closed(document["components"])}
    problems = [error.message for error in Draft202012Validator(schema).iter_errors(answer.json())]
    assert problems == [], route
    if "examples" in content:
        assert answer.json()["code"] in content["examples"], route


def test_every_kind_of_answer_has_the_fields_that_are_described_and_no_others(
    service: Service, document: dict[str, Any]
) -> None:
    api = service.api
    body = photo(width=640, height=480)
    jpeg = {"Content-Type": "image/jpeg"}
    key = {"Idempotency-Key": uuid.uuid4().hex}
    waiting = api.post("/images", json={"filename": "a.jpg", "metadata": {"a": "b"}}, headers=key)
    whole = api.post("/images", content=body, headers=jpeg).json()["image_id"]
    broken = api.post("/images", content=body[:-900], headers=jpeg).json()["image_id"]

    def finished() -> Any:
        image = service.image(whole)
        return {image["status"], image["conversion_status"]} == {"completed"}

    eventually(finished, seconds=60, what="everything is made")
    service.finished(broken)
    place = {"lat": 1.25, "lng": -2}
    update = {"tracking_id": "PX-described", "status": "delivered", "location": place}
    answers = [
        ("POST /images", waiting),
        ("POST /images", api.post("/images", json={"filename": "b.jpg"}, headers=key)),
        ("POST /images", api.post("/images", content=body, headers=jpeg)),
        ("POST /images", api.post("/images", json={"colour": "red"})),
        ("POST /images", api.post("/images", content=b"no image", headers=jpeg)),
        ("POST /images", api.post("/images", content=b"\xff\xd8\xff" * 2_000_000, headers=jpeg)),
        ("GET /images", api.get("/images")),
        ("GET /images", api.get("/images?limit=0")),
        ("GET /images", api.get("/images?cursor=forged")),
        ("GET /images/{image_id}", api.get(f"/images/{whole}")),
        ("GET /images/{image_id}", api.get(f"/images/{broken}")),
        ("GET /images/{image_id}", api.get(ABSENT)),
        ("POST /images/{image_id}/retry", api.post(f"/images/{broken}/retry")),
        ("POST /images/{image_id}/retry", api.post(f"/images/{whole}/retry")),
        ("POST /images/{image_id}/retry", api.post(f"{ABSENT}/retry")),
        ("POST /track", api.post("/track", json=update)),
        ("POST /track", api.post("/track", json={**update, "image_id": whole, "metadata": {}})),
        ("POST /track", api.post("/track", json={**update, "image_id": "none"})),
        ("POST /track", api.post("/track", json={"status": "lost"})),
        ("POST /track", api.post("/track", content=b"<a/>", headers={"Content-Type": "text/xml"})),
        ("GET /status", api.get("/status?tracking_id=PX-described")),
        ("GET /status", api.get("/status?tracking_id=nobody-heard-of-it")),
        ("GET /status", api.get("/status")),
        ("GET /status", api.get("/status?tracking_id=PX-described&last_key=forged")),
        ("GET /health", api.get("/health")),
        ("DELETE /images/{image_id}", api.delete(f"/images/{whole}")),
        ("DELETE /images/{image_id}", api.delete(ABSENT)),
    ]
    for route, answer in answers:
        assert_described(document, route, answer)
    seen = {(route, answer.status_code) for route, answer in answers}
    assert len(seen) > 20
    for path in ("/nothing", "/images"):
        refused = api.put(path)
        name = {404: "NotFound", 405: "MethodNotAllowed"}[refused.status_code]
        content = document["components"]["responses"][name]["content"]["application/json"]
        assert refused.json()["code"] in content["examples"]


@pytest.mark.parametrize(
    "route",
    [
        *("GET /images", "GET /images/{image_id}", "DELETE /images/{image_id}", "GET /health"),
        *("POST /images/{image_id}/retry", "GET /status", "POST /track", "POST /images"),
        *("GET /", "GET /docs", "GET /openapi.json", "GET /unsubscribe"),
    ],
)
def test_whatever_is_sent_the_answer_is_one_that_the_served_document_describes(
    service: Service, document: dict[str, Any], route: str
) -> None:
    described = schemathesis.openapi.from_dict(document)
    # A busy machine takes its time.
    described.config.update(base_url=service.deployed.places.api_url, request_timeout=60)
    method, path = route.split(" ")

    @settings(max_examples=10, suppress_health_check=list(HealthCheck), deadline=None)
    @given(described[path][method].as_strategy())
    def send(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    send()


@pytest.fixture(scope="module")
def generated(
    document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModuleType]:
    """The package that openapi-python-client makes of the document."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "config.yaml").write_text("post_hooks: []\n")
    command = Path(sys.executable).with_name("openapi-python-client")
    finished = subprocess.run(
        [
            *(str(command), "generate", "--path", "openapi.json", "--config", "config.yaml"),
            *("--meta", "none", "--output-path", "darkroom_generated"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("darkroom_generated")
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.startswith("darkroom_generated")]:
            del sys.modules[name]


def test_a_generated_client_sends_a_photo_follows_it_and_deletes_it(
    service: Service, generated: ModuleType
) -> None:
    def module(name: str) -> Any:
        return importlib.import_module(f"{generated.__name__}.{name}")

    models = module("models")
    with generated.Client(base_url=service.deployed.places.api_url) as client:
        created = module("api.images.create_image").sync(
            client=client, body=models.NewImage(filename="generated.jpg")
        )
        fields = created.upload.fields.to_dict()
        sent = service.api.post(created.upload.url, data=fields, files={"file": photo()})
        assert sent.status_code < 300

        def completed() -> Any:
            image = module("api.images.get_image").sync(str(created.image_id), client=client)
            return image if image.status == "completed" else None

        image = eventually(completed, seconds=60, what="the image is completed")
        assert image.original.filename == "generated.jpg"
        assert image.renditions["thumb"].width == 150
        assert len(image.results.probabilities) == 5
        page = module("api.images.list_images").sync(client=client, limit=1)
        assert len(page.items) == 1
        stored = module("api.parcels.track").sync(
            client=client,
            body=models.NewUpdate.from_dict(
                {
                    "tracking_id": "PX-generated",
                    "status": "delivered",
                    "location": {"lat": 1.5, "lng": 2.25},
                    "image_id": str(image.image_id),
                }
            ),
        )
        assert stored.tracking_id == "PX-generated"
        history = module("api.parcels.parcel_status").sync(
            client=client, tracking_id="PX-generated"
        )
        assert history.updates[0].image.top_prediction == image.top_prediction
        gone = module("api.images.delete_image").sync_detailed(str(image.image_id), client=client)
        assert gone.status_code == 204
        missing = module("api.images.get_image").sync(str(image.image_id), client=client)
        assert missing.code == "image_not_found"
        assert module("api.service.health").sync(client=client).status == "ok"
