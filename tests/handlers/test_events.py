"""What `app.py` does with events of S3 and SQS."""

from typing import Any

import pytest
from chalice.test import Client

import app as app_module
from chalicelib.container import Container
from chalicelib.images import ConversionStatus, Status
from chalicelib.messages import ImageMessage
from tests.handlers.conftest import RecordingContainer, RecordingPart
from tests.handlers.events import S3_TEST_EVENT, s3_record, sqs_event


class Context:
    """What Lambda passes beside an event."""


@pytest.mark.parametrize(
    "event",
    [
        S3_TEST_EVENT,
        {"Records": []},
        {"Records": [s3_record("uploads/a b+ü.JPG")]},
        {"Records": [s3_record("uploads/1"), s3_record("uploads/2"), s3_record("uploads/3")]},
        {"Records": [s3_record("uploads/1", name="ObjectRemoved:Delete")]},
    ],
)
def test_ingest_gets_every_s3_event_whole(
    container: RecordingContainer, event: dict[str, Any]
) -> None:
    """Defects 6 and 11: the test event crashed, and only the first record was read."""
    app_module.ingest(event, Context())
    assert container.ingest.calls == [((event,), {})]


def test_an_s3_event_by_chalices_own_builder_reaches_ingest(
    client: Client, container: RecordingContainer
) -> None:
    client.lambda_.invoke("ingest", client.events.generate_s3_event("uploads", "uploads/x.jpg"))
    ((event,), _) = container.ingest.calls[0]
    assert event["Records"][0]["s3"]["object"]["key"] == "uploads/x.jpg"


def test_each_queue_feeds_its_own_stage(client: Client, container: RecordingContainer) -> None:
    event = sqs_event(["a", "b"])
    client.lambda_.invoke("preprocess", event)
    client.lambda_.invoke("infer", event)
    client.lambda_.invoke("optimise", event)
    for run, expected in (
        (container.preprocessing_batch.run, container.preprocess),
        (container.inference_batch.run_together, container.infer.together),
        (container.conversion_batch.run, container.convert),
    ):
        ((fed, stage), _) = run.calls[0]
        assert fed == event
        assert stage() is expected


def test_each_dead_letter_queue_names_the_step_and_the_status_of_its_letters(
    client: Client, container: RecordingContainer
) -> None:
    event = sqs_event(["x"])
    for name in ("bury_ingest", "bury_preprocessing", "bury_inference", "bury_conversion"):
        client.lambda_.invoke(name, event)
    assert container.bury.calls == [
        ((event,), {"step": "ingest", "failed_status": None}),
        ((event,), {"step": "preprocess", "failed_status": Status.PREPROCESSING_FAILED}),
        ((event,), {"step": "infer", "failed_status": Status.INFERENCE_FAILED}),
        ((event,), {"step": "optimise", "failed_status": ConversionStatus.FAILED}),
    ]


def test_the_stream_of_images_reaches_announce_whole(
    client: Client, container: RecordingContainer
) -> None:
    event = {"Records": [{"eventID": "1", "eventSourceARN": "a", "dynamodb": {}}, {"poison": 1}]}
    client.lambda_.invoke("announce", event)
    assert container.announce.calls == [((event,), {})]
    assert container.notify.calls == []


def test_the_stream_of_parcels_reaches_notify_whole(
    client: Client, container: RecordingContainer
) -> None:
    event = {"Records": [{"eventID": "1", "eventSourceARN": "a", "dynamodb": {}}, {"poison": 1}]}
    client.lambda_.invoke("notify", event)
    assert container.notify.calls == [((event,), {})]


def test_the_queues_of_mail_feed_their_own_parts(
    client: Client, container: RecordingContainer
) -> None:
    event = sqs_event(["x"])
    for name in ("mail", "bury_notification", "feedback", "bury_feedback"):
        client.lambda_.invoke(name, event)
    ((fed, stage), _) = container.notification_batch.run.calls[0]
    assert (fed, stage()) == (event, container.mail)
    assert container.bury_notification.calls == container.feedback.calls == [((event,), {})]
    assert container.bury.calls == [((event,), {"step": "feedback", "failed_status": None})]


def test_the_schedule_runs_the_check_once(client: Client, container: RecordingContainer) -> None:
    event = client.events.generate_cw_event("aws.events", "Scheduled Event", {}, [])
    client.lambda_.invoke("check", event)
    assert container.check.calls == [((), {})]


def test_a_failure_reaches_the_poller(client: Client, container: RecordingContainer) -> None:
    """Without ReportBatchItemFailures only an exception keeps failed messages in the queue."""
    container.preprocessing_batch.run.answer = RuntimeError("two of ten failed")
    with pytest.raises(RuntimeError, match="two of ten"):
        client.lambda_.invoke("preprocess", sqs_event(["a"]))


def test_no_handler_returns_what_lambda_would_take_for_a_partial_success(
    client: Client, container: RecordingContainer
) -> None:
    container.preprocessing_batch.run.answer = {"batchItemFailures": []}
    assert client.lambda_.invoke("preprocess", sqs_event(["a"])).payload is None


def test_one_image_at_a_time_is_decoded() -> None:
    """An image that kills its process must take nobody with it."""
    sizes = {
        source.name: source.batch_size
        for source in app_module.app.event_sources
        if hasattr(source, "batch_size")
    }
    assert sizes["preprocess"] == sizes["optimise"] == 1
    assert sizes["mail"] == 1, "an e-mail that is sent must not come again with another"
    assert sizes["infer"] == 16


@pytest.mark.parametrize(("names", "stage"), [((), "optimise"), (("wide",), "backfill")])
def test_a_message_that_names_renditions_is_a_back_fill(names: tuple[str, ...], stage: str) -> None:
    message = ImageMessage(
        image_id="1", generation="v", attempt=1, queued_at_ms=1, renditions=names
    )
    container = Container({})
    parts = {"optimise": RecordingPart(), "backfill": RecordingPart()}
    # In the place where a built part is kept.
    vars(container).update(parts)
    container.convert(message)
    assert {name: part.calls for name, part in parts.items() if part.calls} == {
        stage: [((message,), {})]
    }
