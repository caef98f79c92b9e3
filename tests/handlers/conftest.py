"""The app with a container whose parts only record."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from chalice.test import Client

import app as app_module
from chalicelib.api.http import Answer, Page, Request


@dataclass
class RecordingPart:
    """Answers every call with ``answer``, or raises it, and remembers what it was called with."""

    answer: Any = None
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @property
    def requests(self) -> list[Request]:
        """The requests that it was called with."""
        return [args[0] for args, _ in self.calls]


class RecordingApi:
    """An API whose every route is a `RecordingPart`."""

    def __init__(self) -> None:
        self.create = RecordingPart(Answer(status=201, body={"image_id": "1"}))
        self.list_images = RecordingPart(Answer(status=200, body={"items": []}))
        self.get = RecordingPart(Answer(status=200, body={"image_id": "1"}))
        self.retry = RecordingPart(Answer(status=202, body={"image_id": "1"}))
        self.delete = RecordingPart(Answer(status=204))


class RecordingTrackingApi:
    """Its routes are `RecordingPart`s."""

    def __init__(self) -> None:
        self.track = RecordingPart(Answer(status=200, body={"tracking_id": "1"}))
        self.status = RecordingPart(Answer(status=200, body={"updates": []}))


class RecordingDeadLettersApi:
    """Its routes are `RecordingPart`s."""

    def __init__(self) -> None:
        self.list_letters = RecordingPart(Answer(status=200, body={"items": []}))
        self.redrive = RecordingPart(Answer(status=200, body={"items": []}))


class RecordingUnsubscribeApi:
    """Its routes are `RecordingPart`s."""

    def __init__(self) -> None:
        headers = {"Content-Type": "text/html; charset=utf-8"}
        self.show = RecordingPart(Page(status=200, body="<p>Käfer", headers=headers))
        self.unsubscribe = RecordingPart(Page(status=200, body="<p>Done", headers=headers))


class RecordingBatch:
    """Remembers the events and the stages that they were for."""

    def __init__(self) -> None:
        self.run = RecordingPart()
        self.run_together = RecordingPart()


class RecordingStage:
    """A stage that works on messages together."""

    together = object()


class RecordingContainer:
    """What `app.py` asks its container for."""

    def __init__(self) -> None:
        self.images_api = RecordingApi()
        self.health_api = RecordingApi()
        self.console_api = RecordingApi()
        self.reference_api = RecordingApi()
        self.openapi_api = RecordingApi()
        self.tracking_api = RecordingTrackingApi()
        self.dead_letters_api = RecordingDeadLettersApi()
        self.check = RecordingPart()
        self.ingest = RecordingPart()
        self.preprocess = object()
        self.infer = RecordingStage()
        self.convert = object()
        self.preprocessing_batch = RecordingBatch()
        self.inference_batch = RecordingBatch()
        self.conversion_batch = RecordingBatch()
        self.bury = RecordingPart()
        self.announce = RecordingPart()
        self.notify = RecordingPart()
        self.mail = object()
        self.notification_batch = RecordingBatch()
        self.bury_notification = RecordingPart()
        self.feedback = RecordingPart()
        self.unsubscribe_api = RecordingUnsubscribeApi()


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> RecordingContainer:
    """A container in place of the real one."""
    recording = RecordingContainer()
    monkeypatch.setattr(app_module, "container", recording)
    return recording


@pytest.fixture
def client(container: RecordingContainer) -> Iterator[Client]:
    """Chalice's test client for the app."""
    with Client(app_module.app, stage_name="local") as test_client:
        yield test_client
