"""The stack for a test of chaos: a local AWS of its own, its workers behind a `FaultProxy`."""

import json
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from local.api import api_process
from local.aws import aws_process, client, prepare_folder, wait_until_answering
from local.places import Places
from local.stack import bring_up
from tests.chaos.proxy import FaultProxy, Workers
from tests.conftest import free_port
from tests.system.conftest import RENDITIONS_BUCKET, UPLOADS_BUCKET, has_ended

# Those that work on messages and events; the API has a process of its own.
FUNCTIONS = (
    "Ingest", "Preprocess", "Infer", "Optimise", "Notify", "Mail",
    "Feedback", "BuryFeedback", "BuryIngest", "BuryPreprocessing", "BuryInference",
    "BuryConversion", "BuryNotification",
)  # fmt: skip
IMAGES_TABLE = "darkroom-local-images"
_QUEUES = ("preprocessing", "inference", "conversion", "notification")


@dataclass(frozen=True, kw_only=True)
class Service:
    """The running service, and what stands in its stores."""

    places: Places
    api: httpx.Client
    _clients: dict[str, Any] = field(default_factory=dict)

    def aws(self, service: str) -> Any:
        """A boto3 client of the local AWS, past the proxy."""
        if service not in self._clients:
            self._clients[service] = client(self.places, service)
        return self._clients[service]

    def send(self, body: bytes) -> str:
        """Upload through a link; the image's id."""
        answer = self.api.post("/images").json()
        httpx.put(answer["upload_url"], content=body).raise_for_status()
        return str(answer["image_id"])

    def image(self, image_id: str) -> dict[str, Any]:
        """An image as the API shows it."""
        answer = self.api.get(f"/images/{image_id}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def ended(self, image_id: str, *, seconds: float) -> dict[str, Any] | None:
        """An image once both of its branches ended, None if they do not in time."""
        return until(
            lambda: found if has_ended(found := self.image(image_id)) else None, seconds=seconds
        )

    def rows(self) -> list[dict[str, Any]]:
        """The images table as it is stored."""
        pages = self.aws("dynamodb").get_paginator("scan").paginate(TableName=IMAGES_TABLE)
        return [item for page in pages for item in page["Items"]]

    def keys(self, prefix: str = "") -> list[str]:
        """All objects in both buckets, once for each of their versions."""
        pages = self.aws("s3").get_paginator("list_object_versions")
        return [
            entry["Key"]
            for bucket in (UPLOADS_BUCKET, RENDITIONS_BUCKET)
            for page in pages.paginate(Bucket=bucket)
            for entry in page.get("Versions", [])
            if entry["Key"].startswith(prefix)
        ]

    def in_queues(self) -> int:
        """How many messages wait or are being worked on."""
        sqs = self.aws("sqs")
        total = 0
        for url in sqs.list_queues(QueueNamePrefix="darkroom-local-")["QueueUrls"]:
            found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
            total += int(found["ApproximateNumberOfMessages"])
            total += int(found["ApproximateNumberOfMessagesNotVisible"])
        return total

    def quiet(self, *, seconds: float) -> bool:
        """Whether all queues become empty in time."""
        return until(lambda: self.in_queues() == 0, seconds=seconds) is True


@dataclass(frozen=True, kw_only=True)
class Stage(Service):
    """The same with its workers behind a proxy. ``functions``: deployed by logical name."""

    proxy: FaultProxy
    workers: Workers
    functions: Mapping[str, str]

    def renew(self, function: str) -> None:
        """Kill all workers of a function, busy or not: the next call is a fresh one's."""
        for pid in self.workers.of(function):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def forget_secret(self) -> None:
        """Remove what signs links, as in a new stack."""
        ssm = self.aws("ssm")
        with suppress(ssm.exceptions.ParameterNotFound):
            ssm.delete_parameter(Name="/darkroom/local/signing-secret")

    def tell_again(self, image_id: str) -> None:
        """S3's event about an upload, as S3 sends it a second time now and then."""
        key = f"uploads/{image_id}/source"
        found = self.aws("s3").list_object_versions(Bucket=UPLOADS_BUCKET, Prefix=key)
        records = [
            {
                "eventName": "ObjectCreated:Put",
                "s3": {
                    "bucket": {"name": UPLOADS_BUCKET},
                    "object": {
                        "key": key,
                        "versionId": version["VersionId"],
                        "size": version["Size"],
                        "eTag": version["ETag"].strip('"'),
                    },
                },
            }
            for version in found.get("Versions", [])
        ]
        self.aws("lambda").invoke(
            FunctionName=self.functions["Ingest"],
            InvocationType="Event",
            Payload=json.dumps({"Records": records}),
        )


def until[T](ask: Callable[[], T | None], *, seconds: float) -> T | None:
    """What ``ask`` gives once it gives something; None after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := ask():
            return answer
        if time.monotonic() > deadline:
            return None
        time.sleep(0.2)


@contextmanager
def chaos_stage(
    *, visibility_seconds: int, receives: int, workers: int = 2, pause_seconds: float = 10
) -> Iterator[Stage]:
    """A fresh service on ports of its own, until the block ends.

    Args:
        visibility_seconds: After which a message comes again whose worker was killed; the half
            hour of the real queues is longer than any test.
        receives: After how many a message is a dead letter.
        workers: How many work on one queue at once.
        pause_seconds: How long a worker stands still that is paused.
    """
    with tempfile.TemporaryDirectory(prefix="darkroom-chaos-") as folder, ExitStack() as running:
        places = Places(port=free_port(), aws_port=free_port(), root=Path(folder))
        running.enter_context(places.held())
        prepare_folder(places)
        aws, api = aws_process(places), api_process(places)
        running.callback(aws.stop)
        aws.start()
        wait_until_answering(
            f"{places.aws_url}/_ministack/ready", aws, accept=lambda status: status == 200
        )
        bring_up(places)
        functions = _functions(places)
        found = Workers(int(aws.record.read_text()), functions)
        proxy = FaultProxy(aws_port=places.aws_port, find=found.behind, pause_seconds=pause_seconds)
        url = running.enter_context(proxy.serving())
        _send_through(places, url, functions.values())
        _hurry(places, visibility_seconds=visibility_seconds, receives=receives, workers=workers)
        running.callback(api.stop)
        api.start()
        wait_until_answering(f"{places.api_url}/health", api, accept=lambda status: status == 200)
        http = running.enter_context(httpx.Client(base_url=places.api_url, timeout=60))
        yield Stage(places=places, api=http, proxy=proxy, workers=found, functions=functions)


def _functions(places: Places) -> dict[str, str]:
    """The deployed names by the logical ones.

    Raises:
        LookupError: One is not deployed, so that nothing could be done to its calls.
    """
    deployed = {
        str(function["FunctionName"])
        for page in client(places, "lambda").get_paginator("list_functions").paginate()
        for function in page["Functions"]
    }
    names = {
        logical: "darkroom-local-" + re.sub(r"(?<!^)(?=[A-Z])", "_", logical).lower()
        for logical in FUNCTIONS
    }
    if missing := set(names.values()) - deployed:
        raise LookupError(f"not deployed: {', '.join(sorted(missing))}")
    return names


def _send_through(places: Places, url: str, functions: Sequence[str] | Any) -> None:
    lambdas = client(places, "lambda")
    for name in functions:
        known = lambdas.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        lambdas.update_function_configuration(
            FunctionName=name, Environment={"Variables": {**known, "AWS_ENDPOINT_URL": url}}
        )


def _hurry(places: Places, *, visibility_seconds: int, receives: int, workers: int) -> None:
    sqs, lambdas = client(places, "sqs"), client(places, "lambda")
    for url in sqs.list_queues(QueueNamePrefix="darkroom-local-")["QueueUrls"]:
        attributes = {"VisibilityTimeout": str(visibility_seconds)}
        if url.rpartition("darkroom-local-")[2] in _QUEUES:
            known = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
            policy = json.loads(known["Attributes"]["RedrivePolicy"])
            attributes["RedrivePolicy"] = json.dumps({**policy, "maxReceiveCount": receives})
        sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
    for mapping in lambdas.list_event_source_mappings()["EventSourceMappings"]:
        if mapping["EventSourceArn"].rpartition("darkroom-local-")[2] in _QUEUES:
            lambdas.update_event_source_mapping(
                UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": workers}
            )
