"""The pages for people: what they may do, and that they are whole."""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import MISSING, fields

import pytest

from chalicelib import console
from chalicelib.api.console import ConsoleApi
from chalicelib.api.http import Answer
from chalicelib.api.openapi import Description
from chalicelib.api.reference import ReferenceApi
from chalicelib.container import Container
from chalicelib.settings import Settings
from tests.fakes import FakeObjectStore


def console_page(*, signed: bool = True) -> Answer:
    return ConsoleApi(
        stage="prod",
        signed=signed,
        uploads=FakeObjectStore(label="uploads"),
        renditions=FakeObjectStore(label="renditions"),
    ).get()


def reference_page() -> Answer:
    return ReferenceApi(description=Description(signed=True)).get()


def policy_of(answer: Answer) -> dict[str, str]:
    directives = answer.headers["Content-Security-Policy"].split("; ")
    return dict(directive.split(" ", 1) for directive in directives)


def hash_in_page(answer: Answer, element: str) -> str:
    """As a browser makes it, of what stands between the tags."""
    match = re.search(rf"<{element}[^>]*>(.*?)</{element}>", answer.text(), re.DOTALL)
    assert match is not None
    return f"'sha256-{base64.b64encode(hashlib.sha256(match[1].encode()).digest()).decode()}'"


def test_the_console_may_run_its_own_script_and_reach_the_two_buckets_and_nothing_else() -> None:
    answer = console_page()
    assert policy_of(answer) == {
        "default-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "script-src": hash_in_page(answer, "script"),
        "style-src": hash_in_page(answer, "style"),
        "img-src": "blob: data: https://renditions.test",
        "connect-src": "'self' https://uploads.test",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


def test_deployed_the_policy_names_the_buckets_at_the_address_of_their_region(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From S3's global address an upload may be redirected, which no browser follows."""
    for name, value in {
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "made-up",
        "AWS_SECRET_ACCESS_KEY": "made-up",
    }.items():
        monkeypatch.setenv(name, value)
    required = [entry.name for entry in fields(Settings) if entry.default is MISSING]
    environ = {name.upper(): name.replace("_", "-") for name in required} | {"STAGE": "dev"}
    policy = policy_of(Container(environ).console_api.get())
    assert policy["img-src"].split()[-1] == "https://renditions-bucket.s3.eu-west-1.amazonaws.com"
    assert policy["connect-src"] == "'self' https://uploads-bucket.s3.eu-west-1.amazonaws.com"


def test_the_reference_runs_no_script_at_all() -> None:
    answer = reference_page()
    policy = policy_of(answer)
    assert policy["style-src"] == hash_in_page(answer, "style")
    assert "script-src" not in policy
    assert "<script" not in answer.text()


@pytest.mark.parametrize("page", [console_page, reference_page])
def test_no_page_asks_for_anything_from_elsewhere_nor_has_inline_styles(
    page: Callable[[], Answer],
) -> None:
    text = page().text()
    markup = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
    assert re.findall(r'(?:src|href)="(?:https?:)?//', markup) == []
    assert re.findall(r'\s(?:style|on\w+)="', markup) == []
    assert "url(" not in text


@pytest.mark.parametrize("shown", ["yes", "no"])
def test_the_console_knows_its_stage_and_whether_parcels_are_signed(shown: str) -> None:
    text = console_page(signed=shown == "yes").text()
    assert f'<html lang="en" data-stage="prod" data-signed="{shown}">' in text
    assert "$" not in re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)


def test_the_console_weighs_less_than_60_kb() -> None:
    assert len(console_page().text().encode()) < 60_000


def test_the_consoles_script_never_makes_elements_of_text() -> None:
    script = console.script()
    assert re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(", script) == []
    assert "</script" not in script


def test_the_reference_shows_every_operation_code_and_schema() -> None:
    text = reference_page().text()
    document = Description(signed=True).document()
    for methods in document["paths"].values():
        for operation in methods.values():
            assert f'<article class="card" id="{operation["operationId"]}">' in text
            for response in operation["responses"].values():
                for content in response.get("content", {}).values():
                    for code in content.get("examples", {}):
                        assert f"<li><code>{code}</code>" in text
    for name in document["components"]["schemas"]:
        assert f'id="{name}"' in text
    links = set(re.findall(r'href="#([^"]+)"', text))
    assert links <= set(re.findall(r'id="([^"]+)"', text))
