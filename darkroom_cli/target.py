"""Which service a command speaks to, and with whose credentials."""

import json
import re
from dataclasses import dataclass

import boto3
import httpx
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.settings import LOCAL_STAGE
from darkroom_cli.problems import Misused, Unreachable
from darkroom_cli.signing import Signed
from local.places import HOST, ROOT

_GATEWAY = re.compile(r"\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A service. ``auth`` signs, where it is one that is deployed."""

    url: str
    stage: str
    auth: httpx.Auth | None = None


def target_of(*, url: str | None, stage: str) -> Target:
    """The service of a URL, or else of a stage.

    Raises:
        Misused: The URL is none, or there is no such stage.
        Unreachable: AWS does not say where the stage is.
    """
    stages = json.loads((ROOT / ".chalice" / "config.json").read_text())["stages"]
    if stage not in stages:
        raise Misused(f"There is no stage {stage!r}; there are {', '.join(sorted(stages))}.")
    if url is None:
        url = f"http://{HOST}:8000" if stage == LOCAL_STAGE else _deployed_url(stage)
    try:
        host = httpx.URL(url).host
        scheme = httpx.URL(url).scheme
    except httpx.InvalidURL:
        host = scheme = ""
    if scheme not in {"http", "https"} or not host:
        raise Misused(f"{url!r} is no URL of a service; it must be like http://127.0.0.1:8000.")
    gateway = _GATEWAY.search(host)
    auth = _signed(gateway[1]) if gateway else None
    return Target(url=url.rstrip("/"), stage=stage, auth=auth)


def _deployed_url(stage: str) -> str:
    """From what ``chalice deploy`` wrote down, or else from the stack's outputs."""
    recorded = ROOT / ".chalice" / "deployed" / f"{stage}.json"
    if recorded.is_file():
        for resource in json.loads(recorded.read_text()).get("resources", []):
            if resource.get("resource_type") == "rest_api":
                return str(resource["rest_api_url"])
    stack = f"darkroom-{stage}"
    try:
        cloudformation = boto3.client("cloudformation")
        stacks = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    except (BotoCoreError, ClientError) as error:
        raise Unreachable(
            f"AWS does not say where the stack {stack} is ({error}); give the API's --url."
        ) from None
    for output in stacks[0].get("Outputs", []):
        if output.get("OutputKey") == "EndpointURL":
            return str(output["OutputValue"])
    raise Unreachable(f"The stack {stack} has no output EndpointURL; give the API's --url.")


def _signed(region: str) -> Signed:
    credentials = boto3.Session().get_credentials()
    if credentials is None:
        raise Misused(
            "A deployed stage wants signed requests, and there are no AWS credentials; "
            "set AWS_PROFILE, or run aws configure."
        )
    return Signed(credentials, region=region)
