"""The SDK's side of the edges, with its answers made up: no connection is opened."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from chalicelib.aws.clients import LOCAL_ACCESS_KEY, Clients, error_code, translated
from chalicelib.aws.event_topic import EventTopic
from chalicelib.aws.object_store import ObjectStore
from chalicelib.aws.queues import Queue
from chalicelib.errors import ImageNotFound, ServiceUnavailable
from tests.unit.pipeline.world import SETTINGS

LOCAL = replace(SETTINGS, stage="local", aws_endpoint_url="http://127.0.0.1:9")


class Body:
    """A raw HTTP body, as urllib3 has it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: object) -> list[bytes]:
        return [self._content]


class Service:
    """Answers the requests of a client one after the other; ``urls`` holds where they went."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.urls: list[str] = []
        self._answers = list(answers)

    def __call__(self, request: Any, **_: object) -> AWSResponse:
        self.urls.append(request.url)
        status, content = self._answers.pop(0)
        return AWSResponse(request.url, status, HTTPHeaders(), Body(content))

    def answers_for(self, client: Any, operation: str) -> None:
        service = client.meta.service_model.service_name
        client.meta.events.register_first(f"before-send.{service}.{operation}", self)


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "words of AWS"}}, "GetItem")


@pytest.mark.parametrize(
    "foreign",
    [
        refused("AccessDenied"),
        refused("ProvisionedThroughputExceededException"),
        EndpointConnectionError(endpoint_url="http://x"),
        NoCredentialsError(),
    ],
)
def test_whatever_the_sdk_raises_becomes_our_own_error_that_may_pass(foreign: Exception) -> None:
    """Defects 5 and 15: foreign texts reached clients, or were hidden."""

    def call() -> None:
        with translated():
            raise foreign

    with pytest.raises(ServiceUnavailable) as caught:
        call()
    assert caught.value.transient
    assert caught.value.status == 503
    assert "words of AWS" not in caught.value.public_message
    assert caught.value.__cause__ is foreign


def test_errors_that_are_not_the_sdks_pass_unchanged() -> None:
    def call(error: Exception) -> None:
        with translated():
            raise error

    for error in (ImageNotFound("x"), KeyError("y")):
        with pytest.raises(type(error)) as caught:
            call(error)
        assert caught.value is error


def test_the_code_of_an_error_without_one_is_empty() -> None:
    assert error_code(refused("NoSuchKey")) == "NoSuchKey"
    assert error_code(ClientError({}, "GetItem")) == ""


def test_the_local_stage_reaches_only_the_local_aws_with_made_up_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-real-one")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://example.com")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of a real one")
    clients = Clients(LOCAL)
    reached: list[Callable[[], Any]] = [
        lambda: clients.s3,
        lambda: clients.sqs,
        lambda: clients.ssm,
        lambda: clients.table("images").meta.client,
    ]
    for reach in reached:
        client = reach()
        assert client.meta.endpoint_url == LOCAL.aws_endpoint_url
        assert client._get_credentials().access_key == LOCAL_ACCESS_KEY


def test_a_call_that_is_throttled_is_tried_again_before_it_fails() -> None:
    clients = Clients(LOCAL)
    throttled = json.dumps({"__type": "com.amazonaws.sqs#RequestThrottled"}).encode()
    service = Service((400, throttled), (200, b'{"QueueUrl": "http://127.0.0.1:9/q"}'))
    service.answers_for(clients.sqs, "GetQueueUrl")
    sent = Service((200, b'{"MessageId": "1"}'))
    sent.answers_for(clients.sqs, "SendMessage")
    queue = Queue(sqs=clients.sqs, name="q")
    queue.send("body")
    assert len(service.urls) == 2
    assert len(sent.urls) == 1


def test_a_topic_that_fails_is_asked_twice_for_a_batch_of_a_stream_waits_behind_it() -> None:
    clients = Clients(LOCAL)
    busy = b"<ErrorResponse><Error><Code>InternalError</Code></Error></ErrorResponse>"
    service = Service(*[(500, busy)] * 4)
    service.answers_for(clients.sns, "Publish")
    with pytest.raises(ServiceUnavailable, match="InternalError"):
        EventTopic(sns=clients.sns, arn="arn:aws:sns:us-east-1:0:t").publish("{}", {"type": "t"})
    assert len(service.urls) == 2


def test_an_object_that_could_not_be_removed_is_not_counted_as_removed() -> None:
    clients = Clients(LOCAL)
    listing = b"""<?xml version="1.0"?><ListVersionsResult>
        <Version><Key>p/a</Key><VersionId>1</VersionId></Version>
        <IsTruncated>false</IsTruncated></ListVersionsResult>"""
    partly = b"""<?xml version="1.0"?><DeleteResult>
        <Error><Key>p/a</Key><Code>InternalError</Code></Error></DeleteResult>"""
    Service((200, listing)).answers_for(clients.s3, "ListObjectVersions")
    Service((200, partly)).answers_for(clients.s3, "DeleteObjects")
    with pytest.raises(ServiceUnavailable, match="InternalError"):
        ObjectStore(s3=clients.s3, bucket="bucket").delete_prefix("p/")


def test_an_upload_link_may_go_through_the_nearest_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made-up")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    clients = Clients(replace(SETTINGS, stage="prod", aws_endpoint_url=""))
    store = ObjectStore(s3=clients.s3, bucket="bucket", uploader=clients.accelerated_s3)
    assert "bucket.s3-accelerate.amazonaws.com" in store.upload_url("uploads/x", expires_in=60)
    form = store.upload_form("uploads/x", content_type=None, max_bytes=10, expires_in=60)
    assert form.url == "https://bucket.s3-accelerate.amazonaws.com/"
    link = store.download_url("uploads/x", content_type="image/png", expires_in=60)
    assert "accelerate" not in link
