"""Start every handler as Lambda does: ``python -m infrastructure.runtime CLIENT FOLDER``.

Runs the zips of the package in FOLDER with AWS's own runtime client, one event a handler, and
nothing else installed: CLIENT is a folder with what Lambda itself has, awslambdaric and boto3. No
AWS answers, so that a handler has done all it can when it asks for the first thing there; what it
then says has to be of our own making.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from chalicelib.images import new_image_id
from chalicelib.messages import ImageMessage, NotificationMessage, encode
from chalicelib.parcels import Location, ParcelStatus
from infrastructure.runtime_api import RuntimeApi
from infrastructure.template import config
from infrastructure.trigger_events import get_event, s3_event, schedule_event, sqs_event

_SECONDS = 90
_AT_ONCE = 5
# How a handler ends where AWS does not answer. Anything else is the package's own fault.
EXPECTED = frozenset({"", "BatchFailed", "ServiceUnavailable", "CheckFailed", "ExceptionGroup"})
# A batch says what failed in its log, and not in its error.
_MISSING = ("ModuleNotFoundError", "ImportError", "cannot open shared object", "SettingsError")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an event: the answer, or the type of what was raised; and what was said."""

    answer: Any = None
    error: str = ""
    output: str = ""


@contextmanager
def unpacked(folder: Path) -> Iterator[Path]:
    """The zips of a package where Lambda would put them; yields the folder above ``task``."""
    with tempfile.TemporaryDirectory(prefix="darkroom-runtime-") as temporary:
        place = Path(temporary)
        for name, target in (("deployment.zip", "task"), ("layer-deployment.zip", "opt")):
            with zipfile.ZipFile(folder / name) as zip_:
                zip_.extractall(place / target)
        yield place


def invoke(place: Path, client: Path, handler: str, event: Mapping[str, Any]) -> Outcome:
    """Start a handler and give it an event."""
    api = RuntimeApi(event)
    layers = [str(path) for path in place.glob("opt/python/lib/*/site-packages")]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            # -S: nothing of the environment that this runs in; -P: nor of the folder.
            [sys.executable, "-S", "-P", "-m", "awslambdaric", handler],
            cwd=place / "task",
            env={
                **_environ(),
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.port}",
                "_HANDLER": handler,
                "LAMBDA_TASK_ROOT": str(place / "task"),
                "PYTHONPATH": os.pathsep.join([str(place / "task"), *layers, str(client)]),
            },
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            waited = 0.0
            while not api.over.wait(0.2) and process.poll() is None and waited < _SECONDS:
                waited += 0.2
        finally:
            process.kill()
            process.wait()
            api.close()
        said.seek(0)
        output = said.read()
    if not api.over.is_set():
        return Outcome(error="did not start", output=output)
    error = "" if api.failure is None else str(json.loads(api.failure)["errorType"])
    return Outcome(answer=api.answer, error=error, output=output)


def _environ() -> dict[str, str]:
    """What a function's environment holds: that of prod, and an AWS that does not answer."""
    return {
        **config()["stages"]["prod"]["environment_variables"],
        "UPLOADS_BUCKET": "darkroom-prod-uploads-000000000000",
        "RENDITIONS_BUCKET": "darkroom-prod-renditions-000000000000",
        "MAIL_FROM": "parcels@example.com",
        "MAIL_CONFIGURATION_SET": "darkroom-prod-mail",
        "PUBLIC_URL": "https://api.example.com",
        "IMAGE_EVENTS_TOPIC": "arn:aws:sns:us-east-1:000000000000:darkroom-prod-image-events",
        "PATH": "/usr/bin:/bin",
        "AWS_LAMBDA_FUNCTION_NAME": "darkroom-prod",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        # Nothing listens on the port for discarding.
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_MAX_ATTEMPTS": "1",
    }


def events() -> dict[str, dict[str, Any]]:
    """One event for every handler of the app."""
    image = encode(
        ImageMessage(image_id=new_image_id(), generation="v1", attempt=1, queued_at_ms=1)
    )
    mail = encode(
        NotificationMessage(
            tracking_id="PX-1",
            change_seq=1,
            status=ParcelStatus.DELIVERED,
            location=Location(lat=Decimal("1.5"), lng=Decimal("2.5")),
            occurred_at=1,
            email="you@example.com",
            queued_at_ms=1,
        )
    )
    images = ("preprocess", "infer", "optimise", "bury_ingest", "bury_preprocessing")
    return {
        "app": get_event("/images/{image_id}", image_id=new_image_id()),
        "ingest": s3_event("darkroom-prod-uploads-000000000000", "uploads/x.jpg", "v1"),
        **{name: sqs_event(image) for name in (*images, "bury_inference", "bury_conversion")},
        **{name: sqs_event(mail) for name in ("mail", "bury_notification")},
        "feedback": sqs_event(_BOUNCE),
        "bury_feedback": sqs_event("{}"),
        "announce": {"Records": []},
        "notify": {"Records": []},
        "check": schedule_event("check"),
    }


def problems_of(place: Path, client: Path) -> list[str]:
    """What keeps handlers from starting; a sentence for each."""
    said = []
    listed = events()
    # Most of their time they wait for an AWS that does not answer.
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        outcomes = pool.map(lambda name: invoke(place, client, f"app.{name}", listed[name]), listed)
    for name, outcome in zip(listed, outcomes, strict=True):
        missing = next((word for word in _MISSING if word in outcome.output), None)
        if missing or outcome.error not in EXPECTED:
            lines = [line for line in outcome.output.splitlines() if missing and missing in line]
            what = (lines or outcome.output.splitlines() or ["nothing"])[-1]
            said.append(f"{name} does not start ({outcome.error or missing}): {what[:500]}")
    return said


_BOUNCE = json.dumps(
    {
        "eventType": "Bounce",
        "mail": {"messageId": "1", "destination": ["you@example.com"]},
        "bounce": {
            "bounceType": "Permanent",
            "bouncedRecipients": [{"emailAddress": "you@example.com"}],
        },
    }
)


def main() -> int:
    """The command line; exit code 1 where a handler does not start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    with unpacked(arguments.folder) as place:
        problems = problems_of(place, arguments.client.resolve())
    for problem in problems:
        print(f"Error: {problem}", file=sys.stderr)
    if not problems:
        print(f"All {len(events())} handlers start from the zips alone.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
