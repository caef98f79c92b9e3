"""A function's policy, as it is packaged, and what IAM makes of it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from chalicelib.settings import APP_NAME
from infrastructure.alarms import functions_of
from infrastructure.policies import Account, filled_in
from infrastructure.template import ROOT, config
from local.aws import ACCOUNT, REGION

STAGE = "dev"
HERE = Account(partition="aws", region=REGION, account_id=ACCOUNT)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What AWS asks IAM about one call. ``keys`` are the condition keys that it knows."""

    action: str
    resource: str
    keys: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.action} {self.resource}"


@dataclass(frozen=True, kw_only=True)
class Grant:
    """The smallest thing that can be taken away: one action on one resource."""

    action: str
    resource: str
    conditions: Mapping[str, Mapping[str, str]]

    def allows(self, request: Request) -> bool:
        """Whether the request falls under it."""
        return (
            _matches(self.action, request.action, ignore_case=True)
            and _matches(self.resource, request.resource)
            and all(
                _holds(operator, key, wanted, request)
                for operator, tests in self.conditions.items()
                for key, wanted in tests.items()
            )
        )

    def __str__(self) -> str:
        return f"{self.action} {self.resource}"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Everything that a function may do."""

    grants: tuple[Grant, ...]

    def allows(self, request: Request) -> bool:
        """Whether IAM lets it through: what nothing allows is denied."""
        return any(grant.allows(request) for grant in self.grants)

    def without(self, grant: Grant) -> "Policy":
        """All but one grant."""
        return Policy(grants=tuple(other for other in self.grants if other is not grant))


def function_names() -> list[str]:
    """All functions, as `.chalice/config.json` names them."""
    return [function.name for function in functions_of(config(), STAGE)]


@cache
def policy_of(function: str) -> Policy:
    """The policy that is deployed for a function of the stage."""
    listed = config()["stages"][STAGE]["lambda_functions"]
    text = (ROOT / ".chalice" / listed[function]["iam_policy_file"]).read_text()
    suffix = "" if function == "api_handler" else f"-{function}"
    exact = filled_in(
        json.loads(text), stage=STAGE, function=f"{APP_NAME}-{STAGE}{suffix}", account=HERE
    )
    return Policy(grants=tuple(_grants(exact)))


def _grants(document: Mapping[str, Any]) -> Iterator[Grant]:
    for statement in document["Statement"]:
        # Anything else would mean something that is not looked at here.
        assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}, statement
        assert statement["Effect"] == "Allow", statement
        for action in _listed(statement["Action"]):
            for resource in _listed(statement["Resource"]):
                yield Grant(
                    action=action, resource=resource, conditions=statement.get("Condition", {})
                )


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _holds(operator: str, key: str, wanted: str | list[str], request: Request) -> bool:
    # A key that the call has not is no match.
    actual = request.keys.get(key.lower())
    if actual is None:
        return False
    if operator == "StringLike":
        return any(_matches(pattern, actual) for pattern in _listed(wanted))
    if operator == "StringEquals":
        return actual in _listed(wanted)
    raise AssertionError(f"the condition {operator} is not known here")


def _matches(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    return _expression(pattern, ignore_case=ignore_case).fullmatch(text) is not None


@cache
def _expression(pattern: str, *, ignore_case: bool) -> re.Pattern[str]:
    """IAM's wildcards: ``*`` is any text, slashes and colons too, ``?`` any character."""
    expression = "".join(
        {"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern
    )
    return re.compile(expression, re.DOTALL | (re.IGNORECASE if ignore_case else 0))
