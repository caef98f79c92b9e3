"""The parts of `make bench-cold-start` that could be wrong without anyone seeing it."""

import json
import os
import subprocess
import sys
import time
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config

from benchmarks.cold_start.events import NOTHING, event_of
from benchmarks.cold_start.imports import GROUPS, REST, shares
from benchmarks.cold_start.one_image import GENERATION, IMAGE_ID, OneImage
from benchmarks.cold_start.start import Function, cpu_ms, function_of
from chalicelib.aws.image_rows import image_of
from infrastructure.runtime_api import RuntimeApi

# As Python writes it: a module after those that it imports, each a step further in.
IMPORTED = """\
import time: self [us] | cumulative | imported package
import time:      1000 |       1000 |   encodings
import time:      2000 |       2000 |       json
import time:      4000 |       6000 |     botocore.utils
import time:      8000 |      14000 |   boto3.session
import time:     16000 |      30000 | boto3
{"level": "INFO"}
import time:     32000 |      32000 |   numpy._core
import time:     64000 |      96000 |   numpy
import time:    128000 |     224000 | onnxruntime
import time:    256000 |     256000 | html
"""


def test_a_module_counts_for_its_library_or_for_the_one_that_wanted_it() -> None:
    found = shares(IMPORTED.splitlines())
    assert found["boto3"] == 2 + 4 + 8 + 16 + 1
    assert found["numpy"] == 32 + 64
    assert found["onnxruntime"] == 128
    assert found[REST] == 256
    assert set(found) == set(GROUPS)


def test_no_time_is_lost_or_counted_twice() -> None:
    """Of a real interpreter: the shares make up the sum of all modules' own times."""
    finished = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import msgspec, boto3"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = finished.stderr.splitlines()
    own = [line.split("|")[0].removeprefix("import time:").strip() for line in lines]
    total = sum(int(text) for text in own if text.isdigit()) / 1000
    found = shares(lines)
    assert sum(found.values()) == pytest.approx(total)
    assert found["boto3"] > found["msgspec"] > 0


def test_the_runtime_api_hands_out_one_event_and_notes_the_answer() -> None:
    ready: list[float] = []
    api = RuntimeApi({"Records": []}, on_ready=lambda: ready.append(time.perf_counter()))
    url = f"http://127.0.0.1:{api.port}/2018-06-01/runtime/invocation"
    with httpx.Client() as client:
        given = client.get(f"{url}/next")
        assert given.json() == {"Records": []}
        assert int(given.headers["Lambda-Runtime-Deadline-Ms"]) > time.time() * 1000
        request_id = given.headers["Lambda-Runtime-Aws-Request-Id"]
        assert not api.over.is_set()
        assert client.post(f"{url}/{request_id}/response", content=b'"ok"').status_code == 202
    assert api.over.is_set()
    assert (api.answer, api.failure) == ("ok", None)
    assert ready[0] <= api.answered_at
    assert api.ready_at <= api.answered_at
    api.close()


def test_a_function_that_fails_is_not_taken_for_a_fast_one() -> None:
    api = RuntimeApi({}, on_ready=lambda: None)
    httpx.post(
        f"http://127.0.0.1:{api.port}/2018-06-01/runtime/invocation/1/error", content=b"broken"
    )
    assert (api.answer, api.failure) == (None, "broken")
    api.close()


def test_a_functions_variables_are_those_that_a_deployment_gives_it() -> None:
    shared = {"Environment": {"Variables": {"MODEL": {"Ref": "Model"}, "STAGE": "shared"}}}
    own = {
        "Handler": "app.infer",
        "MemorySize": 3008,
        "Environment": {
            "Variables": {"STAGE": "prod", "UPLOADS_BUCKET": {"Fn::Sub": "x-${AWS::AccountId}"}}
        },
    }
    assert function_of("Infer", [shared, own], {"Model": "darkroom_model"}) == Function(
        name="Infer",
        handler="app.infer",
        memory_mb=3008,
        environ={"MODEL": "darkroom_model", "STAGE": "prod", "UPLOADS_BUCKET": "uploads-bucket"},
    )


def test_a_function_that_nobody_wrote_an_event_for_gets_one_that_ends_at_once() -> None:
    assert event_of("app.something_new") == ("no records", NOTHING)
    assert event_of("app.infer")[1] != NOTHING


def test_the_cpu_time_is_that_of_the_process() -> None:
    before = cpu_ms(os.getpid())
    spent = time.process_time() * 1000
    assert before == pytest.approx(spent, abs=50)


@pytest.fixture
def aws() -> Any:
    one_image = OneImage()
    yield one_image
    one_image.close()


def client(aws: OneImage, service: Any) -> Any:
    make: Any = boto3.client
    return make(
        service,
        endpoint_url=aws.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 1}),
    )


def test_the_one_image_can_be_read_as_the_sdk_reads_it(aws: OneImage) -> None:
    session = boto3.session.Session("test", "test", region_name="us-east-1")
    table = session.resource("dynamodb", endpoint_url=aws.url).Table("images")
    image = image_of(table.get_item(Key={"image_id": IMAGE_ID})["Item"])
    assert (image.image_id, image.generation) == (IMAGE_ID, GENERATION)
    s3 = client(aws, "s3")
    assert s3.get_object(Bucket="b", Key="uploads/x")["Body"].read()[:3] == b"\xff\xd8\xff"
    assert s3.get_object(Bucket="b", Key="p/model-input.ppm")["Body"].read()[:2] == b"P6"
    assert s3.put_object(Bucket="b", Key="x", Body=b"123")["VersionId"] == GENERATION
    url = client(aws, "sqs").get_queue_url(QueueName="q")["QueueUrl"]
    assert url.startswith(aws.url)
    value = client(aws, "ssm").get_parameter(Name="/p")["Parameter"]["Value"]
    assert json.loads(value) == {}
