"""What keeps Darkroom from working here, and what to do about it."""

import json
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import boto3
import httpx
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.settings import LOCAL_STAGE
from darkroom_cli.problems import Problem
from darkroom_cli.service import Service
from darkroom_cli.target import Target
from infrastructure.package import SHIPPED
from local.places import HOST, ROOT

_LIBRARIES = ("chalice", "boto3", "httpx", "msgspec", "onnxruntime", "pillow", "ministack")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check. ``remedy`` is empty where nothing has to be done."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def examine(
    target: Callable[[], Target], service: Callable[[Target], Service]
) -> Iterator[Finding]:
    """Every check, in an order in which one explains the next."""
    yield _python()
    yield _libraries()
    yield _package()
    yield _configuration()
    try:
        chosen = target()
    except Problem as problem:
        yield Finding(name="stage", ok=False, found=str(problem), remedy="Give --stage or --url.")
        return
    yield Finding(name="stage", ok=True, found=f"{chosen.stage} at {chosen.url}")
    if chosen.stage == LOCAL_STAGE:
        yield _ports(chosen)
    else:
        yield _credentials()
    yield _api(service(chosen))


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    ok = (3, 12) <= sys.version_info[:2] <= (3, 14)
    remedy = "" if ok else "Install Python 3.12, 3.13 or 3.14, then make clean and make run."
    return Finding(name="python", ok=ok, found=found, remedy=remedy)


def _libraries() -> Finding:
    missing = []
    for name in _LIBRARIES:
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding(
            name="libraries",
            ok=False,
            found=f"missing: {', '.join(missing)}",
            remedy="Run make clean, then make run.",
        )
    return Finding(name="libraries", ok=True, found=f"{len(_LIBRARIES)} are installed")


def _package() -> Finding:
    missing = [name for name in SHIPPED if not (ROOT / name).exists()]
    if missing:
        return Finding(
            name="package",
            ok=False,
            found=f"missing: {', '.join(missing)}",
            remedy="Check the repository out anew.",
        )
    return Finding(name="package", ok=True, found=f"all of {', '.join(SHIPPED)}")


def _configuration() -> Finding:
    path = ROOT / ".chalice" / "config.json"
    try:
        stages = json.loads(path.read_text())["stages"]
    except (OSError, ValueError, KeyError) as error:
        return Finding(
            name="chalice",
            ok=False,
            found=f".chalice/config.json cannot be read: {error!r}",
            remedy="git checkout .chalice/config.json",
        )
    return Finding(name="chalice", ok=True, found=f"stages {', '.join(sorted(stages))}")


def _ports(target: Target) -> Finding:
    """Whether something listens where the local API has to be."""
    url = httpx.URL(target.url)
    port = url.port or 80
    with socket.socket() as probe:
        probe.settimeout(2)
        listens = probe.connect_ex((url.host or HOST, port)) == 0
    if listens:
        return Finding(name="ports", ok=True, found=f"{port} is in use")
    return Finding(
        name="ports",
        ok=False,
        found=f"nothing listens on {port}",
        remedy="Run make run, or give --url where it runs on another PORT.",
    )


def _credentials() -> Finding:
    try:
        identity = boto3.client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        return Finding(
            name="credentials",
            ok=False,
            found=str(error),
            remedy="Set AWS_PROFILE and AWS_REGION, or run aws configure.",
        )
    return Finding(name="credentials", ok=True, found=str(identity["Arn"]))


def _api(service: Service) -> Finding:
    try:
        health = service.get("/health")
    except Problem as problem:
        return Finding(
            name="api",
            ok=False,
            found=str(problem),
            remedy="Look into the logs: .local/PORT/logs here, CloudWatch when deployed.",
        )
    return Finding(name="api", ok=True, found=f"healthy: {health.get('status', 'ok')}")
