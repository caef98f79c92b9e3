"""What the documentation says is so."""

import importlib
import json
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import httpx

import app as app_module
from chalicelib import errors
from chalicelib.flags import Config, Flags
from chalicelib.settings import Settings
from infrastructure.template import resources_of
from tests.conftest import Deployed
from tests.polling import eventually
from tests.system.conftest import photo

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)


def table_of(document: Path) -> dict[str, list[str]]:
    """The rows of all tables of a document, by the code in their first cell."""
    rows = re.findall(r"^\| `([^`]+)` \|(.*)\|$", document.read_text(), re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split(" | ")] for name, rest in rows}


def test_every_setting_is_documented_with_its_default() -> None:
    documented = table_of(ROOT / "docs" / "configuration.md")
    for setting in fields(Settings):
        default, meaning = documented[setting.name.upper()]
        expected = (
            "required"
            if setting.default is MISSING
            else "none"
            if setting.default == ""
            else f"`{','.join(setting.default)}`"
            if isinstance(setting.default, tuple)
            else f"`{setting.default}`"
        )
        assert (default, meaning) == (expected, setting.metadata["meaning"])


def test_every_flag_and_number_in_ssm_is_documented_with_its_default() -> None:
    documented = table_of(ROOT / "docs" / "configuration.md")
    known = [*fields(Flags), *fields(Config)]
    for entry in known:
        expected = [f"`{json.dumps(entry.default)}`", entry.metadata["meaning"]]
        assert documented[entry.name] == expected
    assert {name for name in documented if name.islower()} == {entry.name for entry in known}


def test_every_parameter_of_the_stack_is_documented() -> None:
    parameters = resources_of("prod")["Parameters"]
    documented = table_of(ROOT / "docs" / "configuration.md")
    named = {name for name in documented if name[0].isupper() and not name.isupper()}
    assert named == set(parameters)
    for name, parameter in parameters.items():
        if name != "Stage":
            default = parameter["Default"]
            assert documented[name][0] == ("none" if default == "" else f"`{default}`")


def test_every_route_is_documented() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    documented = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", text, re.MULTILINE))
    routes = {
        f"{method} {path}"
        for path, methods in app_module.app.routes.items()
        for method in methods
        if "part0" not in path
    }
    assert documented == routes


def test_every_code_of_an_error_is_documented() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.RequestError)
    ]
    codes = {cls.code for cls in classes} | {"internal_error", "service_unavailable"}
    sources = (ROOT / "chalicelib" / "imaging").glob("*.py")
    for source in sources:
        codes |= set(re.findall(r'ImageRejected\(\s*"(\w+)"', source.read_text()))
    assert len(codes) > 15
    assert {code for code in codes if f"| `{code}` |" not in text} == set()


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        named = set(
            re.findall(r"(?:`|^|\$ |    )make ([a-z-]+)", document.read_text(), re.MULTILINE)
        )
        assert named <= targets, document


def test_every_link_leads_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document}: {target}"


# What a command writes, and no checkout has.
MADE = {".chalice/deployed", ".chalice/deployed/dev.json"}


def test_every_path_that_is_named_exists() -> None:
    for document in DOCUMENTS:
        for path in re.findall(
            r"`((?:app\.py|(?:chalicelib|infrastructure|tests|docs|local|\.chalice)/)[\w/.*-]*)`",
            document.read_text(),
        ):
            if not path.startswith(tuple(MADE)):
                assert list(ROOT.glob(path.rstrip("/"))), f"{document}: {path}"


def test_the_readmes_commands_give_what_it_shows(deployed: Deployed) -> None:
    """The two curl lines, as requests, and the shape of the answer."""
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"^curl (.*)$", readme, re.MULTILINE)
    assert commands == [
        (
            "-X POST http://127.0.0.1:8000/images -H 'Content-Type: image/jpeg' "
            "--data-binary @photo.jpg"
        ),
        "http://127.0.0.1:8000/images/IMAGE_ID",
        "-X POST http://127.0.0.1:8000/track -H 'Content-Type: application/json' -d '{",
        "'http://127.0.0.1:8000/status?tracking_id=PX-1'",
    ]
    created = httpx.post(
        f"{deployed.places.api_url}/images",
        content=photo(),
        headers={"Content-Type": "image/jpeg"},
    ).json()

    def completed() -> dict[str, Any] | None:
        image: dict[str, Any] = deployed.api.get(f"/images/{created['image_id']}").json()
        done = {image["status"], image["conversion_status"]} == {"completed"}
        return image if done else None

    image = eventually(completed, seconds=60, what="the image is completed")
    block = re.search(r"```json\n(.*?)```", readme, re.DOTALL)
    assert block is not None
    shown = json.loads(block[1])
    assert set(shown) == set(image)
    for kind in ("renditions", "formats"):
        assert set(shown[kind]) == set(image[kind]), kind
        for name, copy in shown[kind].items():
            assert set(copy) == set(image[kind][name]), name
    for name in ("original", "results", "timings_ms", "model", "links"):
        assert set(shown[name]) == set(image[name]), name
    assert shown["model"] == image["model"]
    update = re.search(r"-d '(\{.*?\})'", readme, re.DOTALL)
    assert update is not None
    body = update[1].replace("IMAGE_ID", created["image_id"])
    answer = deployed.api.post("/track", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    parcel = deployed.api.get("/status?tracking_id=PX-1").json()
    assert parcel["current"]["image"]["top_prediction"] == image["top_prediction"]


def test_every_module_that_the_architecture_names_can_be_imported() -> None:
    for name in (
        *("container", "batch", "images", "parcels", "messages", "settings", "flags", "errors"),
        "telemetry",
    ):
        importlib.import_module(f"chalicelib.{name}")
