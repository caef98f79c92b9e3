"""A stage, and its API as anyone reaches it, under its own policy."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from chalice.test import HTTPResponse

from tests.privilege.policy import policy_of
from tests.privilege.trial import Stage, Trial, the_stage


@dataclass(frozen=True, kw_only=True)
class Outside:
    """What a stranger can do: send requests, and use the links that they get."""

    stage: Stage

    def ask(
        self,
        method: str,
        path: str,
        *,
        json_body: Any = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> HTTPResponse:
        """A request to the API."""
        raw = body if json_body is None else json.dumps(json_body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})} if raw else headers or {}
        with self.of("api_handler")._under_its_policy():
            return self.stage.http.http.request(method, path, headers=dict(sent), body=raw)

    def of(self, function: str) -> Trial:
        """One function of the stage, under its policy."""
        return Trial(stage=self.stage, function=function, policy=policy_of(function))

    def keys(self, part: str) -> list[str]:
        """The objects of both buckets that have this in their keys."""
        trial = self.of("api_handler")
        settings = trial.owner.settings
        return [
            key
            for bucket in (settings.uploads_bucket, settings.renditions_bucket)
            for key in trial.keys(bucket, part)
        ]


@pytest.fixture(scope="session")
def outside() -> Outside:
    return Outside(stage=the_stage())
