"""What each function loads: nobody waits for a library that he does not use."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HEAVY = ("PIL", "numpy", "onnxruntime", "boto3")
ENVIRON = {
    "STAGE": "local",
    "UPLOADS_BUCKET": "u",
    "RENDITIONS_BUCKET": "r",
    "IMAGES_TABLE": "i",
    "IDEMPOTENCY_TABLE": "k",
    "TRACKING_TABLE": "t",
    "FLAGS_PARAMETER": "/f",
    "CONFIG_PARAMETER": "/c",
    "NOTIFICATIONS_TABLE": "n",
    "SUPPRESSIONS_TABLE": "x",
    "NOTIFICATION_QUEUE": "m",
    "ANNOUNCEMENTS_TABLE": "a",
    "PREPROCESSING_QUEUE": "p",
    "INFERENCE_QUEUE": "q",
    "CONVERSION_QUEUE": "c",
    "SIGNING_SECRET_PARAMETER": "/s",
    "PYTHONPATH": f"{ROOT}:{ROOT / 'vendor'}",
}


def loaded_after(statement: str, **environ: str) -> set[str]:
    """Which heavy libraries a fresh process has after this statement."""
    script = f"import json, sys\n{statement}\nprint(json.dumps(list(sys.modules)))"
    finished = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**ENVIRON, **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(finished.stdout.splitlines()[-1])) & set(HEAVY)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("import app", set()),
        ("import app; app.container.images_api; app.container.health_api", {"boto3"}),
        ("import app; app.container.console_api.get()", {"boto3"}),
        ("import app; app.container.openapi_api; app.container.reference_api", {"boto3"}),
        ("import app; app.container.tracking_api", {"boto3"}),
        ("import app; app.container.check", {"boto3"}),
        ("import app; app.container.models.find('default')", {"boto3"}),
        ("import app; app.container.ingest", {"boto3"}),
        ("import app; app.container.bury", {"boto3"}),
        ("import app; app.container.announce", {"boto3"}),
        ("import app; app.container.notify", {"boto3"}),
        ("import app; app.container.mail", {"boto3"}),
        ("import app; app.container.unsubscribe_api", {"boto3"}),
        ("import app; app.container.preprocess", {"boto3", "PIL"}),
        ("import app; app.container.optimise", {"boto3", "PIL", "numpy"}),
        ("import app; app.container.backfill", {"boto3", "PIL"}),
        ("import app; app.container.infer", {"boto3", "numpy", "onnxruntime"}),
    ],
)
def test_a_process_loads_only_what_it_uses(statement: str, expected: set[str]) -> None:
    assert loaded_after(statement) == expected


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ("app.app", {"boto3"}),
        ("app.preprocess", {"boto3", "PIL"}),
        ("app.infer", {"boto3", "numpy", "onnxruntime"}),
        ("app.optimise", {"boto3", "PIL", "numpy"}),
        ("app.none_of_ours", set()),
    ],
)
def test_a_function_on_lambda_loads_what_it_needs_before_its_first_event(
    handler: str, expected: set[str]
) -> None:
    assert loaded_after("import app", AWS_LAMBDA_FUNCTION_NAME="f", _HANDLER=handler) == expected


def test_a_function_whose_settings_are_wrong_starts_and_fails_its_events_with_a_reason() -> None:
    loaded_after("import app", AWS_LAMBDA_FUNCTION_NAME="f", _HANDLER="app.infer", MAX_SIDE="x")
