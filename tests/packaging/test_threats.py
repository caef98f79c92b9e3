"""Controls of docs/security.md that stand in the template or in the code as a whole."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from infrastructure.template import ROOT
from tests.packaging.test_template import of_type

SHIPPED = [ROOT / "app.py", *sorted((ROOT / "chalicelib").rglob("*.py"))]
# What can be told to call an address. boto3 calls AWS, under names that are settings.
CALLERS = {
    *("socket", "ssl", "http.client", "urllib.request", "urllib3", "requests", "httpx"),
    *("aiohttp", "ftplib", "smtplib", "telnetlib", "subprocess", "webbrowser", "xmlrpc"),
}


def imported(path: Path) -> set[str]:
    """The modules that a file names in its imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_ships_can_call_an_address_that_somebody_gave(path: Path) -> None:
    """T13: there are no callbacks, no image by URL. Whoever adds one meets this test first."""
    names = imported(path)
    assert not {
        name for name in names for caller in CALLERS if (name + ".").startswith(caller + ".")
    }


def test_browsers_may_send_forms_to_the_uploads_bucket_from_the_stages_origin_alone(
    resources: dict[str, Any],
) -> None:
    """T4."""
    buckets = of_type(resources, "AWS::S3::Bucket")
    (rule,) = buckets["UploadsBucket"]["CorsConfiguration"]["CorsRules"]
    assert rule["AllowedOrigins"] == [{"Ref": "AllowedOrigin"}]
    assert set(rule["AllowedMethods"]) <= {"POST", "PUT"}
    for name, bucket in buckets.items():
        for rule in bucket.get("CorsConfiguration", {}).get("CorsRules", []):
            assert rule["AllowedOrigins"] == [{"Ref": "AllowedOrigin"}], name
            assert not set(rule["AllowedMethods"]) & {"DELETE"}, name


def test_pages_of_the_stages_origin_alone_may_call_the_api_and_bring_no_credentials(
    resources: dict[str, Any], template: dict[str, Any]
) -> None:
    """T4."""
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["ALLOWED_ORIGIN"] == {"Ref": "AllowedOrigin"}
    answers = json.dumps(resources["RestAPI"])
    assert "Access-Control-Allow-Credentials" not in answers


def test_no_secret_stands_in_an_environment_or_in_the_template(
    template: dict[str, Any], resources: dict[str, Any]
) -> None:
    """T14: functions learn the name of the secret, and one of them may read it."""
    environments = [template["Globals"]["Function"]["Environment"]["Variables"]] + [
        function.get("Environment", {}).get("Variables", {})
        for function in of_type(resources, "AWS::Serverless::Function").values()
    ]
    suspicious = {
        name: value
        for variables in environments
        for name, value in variables.items()
        if re.search(r"SECRET|PASSWORD|TOKEN|CREDENTIAL|_KEY$", name)
    }
    assert set(suspicious) == {"SIGNING_SECRET_PARAMETER"}
    assert suspicious["SIGNING_SECRET_PARAMETER"] in (
        {"Fn::Sub": "/darkroom/${Stage}/signing-secret"},
        "/darkroom/prod/signing-secret",
    )
    # CloudFormation cannot make a SecureString, and what it makes anyone may read in the template.
    for name, parameter in of_type(resources, "AWS::SSM::Parameter").items():
        assert "secret" not in json.dumps(parameter).lower(), name


def test_only_who_signs_may_read_the_secret_and_nobody_may_replace_it(
    resources: dict[str, Any],
) -> None:
    """T14. It is made with Overwrite off; `mail` signs links to unsubscribe."""
    readers, writers = set(), set()
    for name, role in of_type(resources, "AWS::IAM::Role").items():
        for policy in role.get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                if "signing-secret" in json.dumps(statement["Resource"]):
                    actions = statement["Action"]
                    actions = [actions] if isinstance(actions, str) else actions
                    assert set(actions) <= {"ssm:GetParameter", "ssm:PutParameter"}, name
                    readers.add(name)
                    if "ssm:PutParameter" in actions:
                        writers.add(name)
    assert len(readers) == 2, readers
    assert writers <= readers


def test_only_originals_call_the_pipeline(resources: dict[str, Any]) -> None:
    """T17: nothing that a step writes is an event for a step."""
    buckets = of_type(resources, "AWS::S3::Bucket")
    calling = {name for name, bucket in buckets.items() if "NotificationConfiguration" in bucket}
    assert calling <= {"UploadsBucket"}
    rules = json.dumps([bucket.get("NotificationConfiguration", {}) for bucket in buckets.values()])
    prefixes = re.findall(r'"Name": "prefix", "Value": "([^"]+)"', rules)
    assert set(prefixes) == {"uploads/"}


def test_originals_are_readable_to_nobody_from_outside(resources: dict[str, Any]) -> None:
    """T5: the bytes of a stranger are never served: only what was made of them."""
    for name, policy in of_type(resources, "AWS::S3::BucketPolicy").items():
        for entry in policy["PolicyDocument"]["Statement"]:
            statement = entry["Fn::If"][1] if "Fn::If" in entry else entry
            if statement["Effect"] == "Allow":
                assert "UploadsBucket" not in json.dumps(statement["Resource"]), name
