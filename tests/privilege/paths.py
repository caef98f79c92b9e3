"""The paths of every function: each holds that it came to its end.

A path that a permission is needed for must notice when it is gone: where nobody outside sees what a
call does, it asks whether the call went through.
"""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path as File
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest

from chalicelib import messages
from chalicelib.addresses import address_hash, parcel_hash
from chalicelib.aws.check_log import Heartbeat
from chalicelib.batch import BatchFailed
from chalicelib.clock import now_ms
from chalicelib.image_events import events_of
from chalicelib.images import (
    ConversionStatus,
    Failure,
    Image,
    Prediction,
    Status,
    StoredCopy,
    derived_prefixes,
    model_input_key,
    new_image_id,
    source_key,
)
from chalicelib.messages import NotificationMessage, dead_letter_key, message_about
from chalicelib.models import ModelChoice
from chalicelib.notifications import Suppression
from chalicelib.parcels import ParcelStatus, Update, new_update_id
from chalicelib.pipeline.archive import keep
from chalicelib.unsubscribe_links import Subscriber, UnsubscribeLinks
from infrastructure.model_layer import ModelFiles, checked
from operations.models import publish
from tests.handlers.events import s3_record, sqs_event
from tests.privilege.trial import Trial
from tests.unit.inference import graphs
from tests.unit.mail_world import MESSAGE, PARCEL, record_of
from tests.unit.pipeline.world import PHOTO, photo
from tests.unit.pipeline.world import record_of as image_record_of
from tests.unit.test_image_events import COMPLETED

type Walk = Callable[[Trial], None]
FAULT = Failure(code="made_up", message="Made up.")
PREDICTION = Prediction(
    classes=("ship",), probabilities=(1.0,), model_name="means", model_version="1"
)
LONG_AGO_SECONDS = 100_000
TICK = {
    "version": "0", "account": "000000000000", "region": "us-east-1", "detail": {},
    "detail-type": "Scheduled Event", "source": "aws.events", "time": "2026-11-24T16:00:00Z",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa", "resources": [],
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Path:
    """One path of one function."""

    function: str
    walk: Walk

    def __str__(self) -> str:
        return f"{self.function}: {self.walk.__name__.lstrip('_').replace('_', ' ')}"


PATHS: list[Path] = []


def path(*functions: str) -> Callable[[Walk], Walk]:
    """A path of these functions."""

    def register(walk: Walk) -> Walk:
        PATHS.extend(Path(function=function, walk=walk) for function in functions)
        return walk

    return register


def message_of(image: Image, **changes: Any) -> str:
    """The message that an image needs to go on."""
    return messages.encode(replace(message_about(image, now_ms=now_ms()), **changes))


# --- The API: images ----------------------------------------------------------------------------


@path("api_handler")
def an_image_in_a_request_and_the_same_request_again(trial: Trial) -> None:
    key = uuid.uuid4().hex
    made = trial.ask("POST", "/images", body=PHOTO, content_type="image/jpeg", key=key)
    assert trial.keys(trial.owner.settings.uploads_bucket, made["image_id"])
    assert trial.owner.images.get(made["image_id"]).status is Status.QUEUED
    again = trial.ask("POST", "/images", body=PHOTO, content_type="image/jpeg", key=key)
    assert again == made


@path("api_handler")
def a_refused_request_gives_its_key_free(trial: Trial) -> None:
    key = uuid.uuid4().hex
    trial.ask("POST", "/images", body={"filename": ""}, key=key, expect=400)
    trial.ask("POST", "/images", body={"filename": "a.jpg"}, key=key)


@path("api_handler")
def what_a_caller_used_of_its_quota_is_known_to_all_processes(trial: Trial) -> None:
    table = trial.owner.clients.table(trial.owner.settings.idempotency_table)
    for row in table.scan()["Items"]:
        if str(row["idempotency_key"]).startswith("quota#"):
            table.delete_item(Key={"idempotency_key": row["idempotency_key"]})
    trial.ask("POST", "/images", body={}, QUOTA_REQUESTS="1")
    trial.ask("POST", "/images", body={}, expect=429, QUOTA_REQUESTS="1")


@path("api_handler")
def an_upload_by_form_and_by_link(trial: Trial) -> None:
    made = trial.ask("POST", "/images", body={"content_type": "image/jpeg"})
    trial.send_form(made["upload"], PHOTO)
    trial.open(made["upload_url"], "PUT", content=PHOTO)
    assert len(trial.keys(trial.owner.settings.uploads_bucket, made["image_id"])) == 2


@path("api_handler")
def an_image_with_all_its_links(trial: Trial) -> None:
    image_id = new_image_id()
    keys = {
        folder: f"{folder}/{image_id}/1/object" for folder in ("renditions", "formats", "results")
    }
    for key in keys.values():
        trial.owner.renditions.put(key, b"here", content_type="image/jpeg")

    def copy(folder: str) -> StoredCopy:
        return StoredCopy(key=keys[folder], content_type="image/jpeg", bytes=4, width=1, height=1)

    trial.owner.images.create(
        Image(
            image_id=image_id,
            status=Status.COMPLETED,
            conversion_status=ConversionStatus.COMPLETED,
            created_at_ms=now_ms(),
            updated_at_ms=now_ms(),
            renditions={"thumb": copy("renditions")},
            formats={"jpeg": copy("formats")},
            prediction=PREDICTION,
            results_key=keys["results"],
        )
    )
    shown = trial.ask("GET", f"/images/{image_id}")
    for url in (
        shown["renditions"]["thumb"]["url"],
        shown["formats"]["jpeg"]["url"],
        shown["results_url"],
    ):
        assert trial.open(url) == b"here"


@path("api_handler")
def lists_page_by_page(trial: Trial) -> None:
    images = [trial.image(Status.INFERENCE_FAILED, error=FAULT) for _ in range(3)]
    for query in ("limit=2", "limit=2&status=inference_failed"):
        first = trial.ask("GET", f"/images?{query}")
        second = trial.ask("GET", f"/images?{query}&cursor={first['next_cursor']}")
        shown = {item["image_id"] for item in (*first["items"], *second["items"])}
        assert {image.image_id for image in images} <= shown


@path("api_handler")
def the_first_cursor_makes_the_secret(trial: Trial) -> None:
    for _ in range(2):
        trial.image()
    ssm, name = trial.owner.clients.ssm, trial.owner.settings.signing_secret_parameter
    if ssm.get_parameters(Names=[name])["Parameters"]:
        ssm.delete_parameter(Name=name)
    assert trial.ask("GET", "/images?limit=1")["next_cursor"]


@path("api_handler")
def an_image_is_deleted_with_all_that_was_made_of_it(trial: Trial) -> None:
    image = trial.image(Status.COMPLETED)
    # A second upload, and what the pipeline left.
    trial.upload(image.image_id)
    leave_everything(trial, image.image_id)
    trial.ask("DELETE", f"/images/{image.image_id}")
    assert_nothing_is_left(trial, image.image_id, originals=True)


@path("api_handler")
def failed_images_are_taken_up_at_each_step(trial: Trial) -> None:
    early = trial.image(Status.PREPROCESSING_FAILED, error=FAULT)
    late = trial.image(Status.INFERENCE_FAILED, error=FAULT)
    copies = trial.image(Status.COMPLETED, ConversionStatus.FAILED)
    for image in (early, late, copies):
        trial.ask("POST", f"/images/{image.image_id}/retry", expect=202)
    assert any(early.image_id in body for body in trial.sent("preprocessing"))
    assert any(late.image_id in body for body in trial.sent("inference"))
    assert any(copies.image_id in body for body in trial.sent("conversion"))


@path("api_handler")
def an_image_is_asked_again_of_a_model_in_the_bucket(trial: Trial) -> None:
    publish(trial.owner, own_model())
    image = trial.image(Status.COMPLETED)
    url = f"/images/{image.image_id}/retry?model="
    trial.ask("POST", f"{url}means@1", expect=202)


@path("api_handler")
def a_model_that_is_not_there_is_refused(trial: Trial) -> None:
    image = trial.image(Status.COMPLETED)
    url = f"/images/{image.image_id}/retry?model="
    trial.ask("POST", f"{url}none@7", expect=400)


# --- The API: parcels and the service -----------------------------------------------------------


@path("api_handler")
def a_parcel_from_its_first_update_to_its_history(trial: Trial) -> None:
    photo = trial.image(Status.COMPLETED)
    parcel = f"PX-{uuid.uuid4()}"
    update = {
        "tracking_id": parcel,
        "status": "in_transit",
        "location": {"lat": 1.5, "lng": 2.5},
        "image_id": photo.image_id,
    }
    for _ in range(2):
        trial.ask("POST", "/track", body=update, expect=200)
    shown = trial.ask("GET", f"/status?tracking_id={parcel}")
    assert shown["count"] == 2
    assert shown["current"]["image"]["image_id"] == photo.image_id
    # By default there is none of it: the flag was read.
    assert "seconds_since_last_update" in shown["current"]


@path("api_handler")
def a_batch_is_as_long_as_the_configuration_says(trial: Trial) -> None:
    update = {"tracking_id": "PX", "status": "pending", "location": {"lat": 1, "lng": 2}}
    refused = trial.ask("POST", "/track", body={"updates": [update] * 3}, expect=400)
    assert "1 to 2" in refused["error"], refused


@path("api_handler")
def a_link_in_an_e_mail_unsubscribes(trial: Trial) -> None:
    who = Subscriber(address_hash=address_hash(f"{uuid.uuid4()}@a.example"), parcel_hash="p")
    links: UnsubscribeLinks = trial.owner._unsubscribe_links
    token = links.token(who)
    trial.ask("GET", f"/unsubscribe?token={token}")
    trial.ask(
        "POST",
        f"/unsubscribe?token={token}",
        body=b"scope=all",
        content_type="application/x-www-form-urlencoded",
        expect=200,
    )
    assert trial.owner.suppressions.reason_against(who.address_hash, "p")


@path("api_handler")
def everything_is_well(trial: Trial) -> None:
    assert trial.ask("GET", "/health")["status"] == "ok"


@path("api_handler")
def the_pages_and_the_description(trial: Trial) -> None:
    for place in ("/", "/docs", "/openapi.json"):
        assert trial.ask("GET", place)


def archived(trial: Trial, step: str, body: Any, message_id: str | None = None) -> str:
    """A dead letter; its message id."""
    message_id = message_id or str(uuid.uuid4())
    keep(trial.owner.uploads, step=step, letter_id=message_id, body=body, reason=FAULT)
    return message_id


def sent_back(trial: Trial, step: str, *message_ids: str) -> set[str]:
    """What became of letters that the API was asked to send back."""
    body = {"step": step, "message_ids": message_ids}
    answer = trial.ask("POST", "/dead-letters/redrive", body=body, expect=200)
    return {item["outcome"] for item in answer["items"]}


@path("api_handler")
def dead_letters_are_listed_and_those_of_an_image_sent_back(trial: Trial) -> None:
    image = trial.image(Status.INFERENCE_FAILED, error=FAULT)
    letter_id = archived(trial, "infer", message_of(image))
    listed = trial.ask("GET", "/dead-letters?step=infer&limit=100")["items"]
    assert letter_id in {item["message_id"] for item in listed}
    assert sent_back(trial, "infer", letter_id) == {"sent"}
    assert any(image.image_id in body for body in trial.sent("inference"))
    assert sent_back(trial, "infer", letter_id) == {"missing"}


@path("api_handler")
def a_dead_letter_of_each_other_kind_is_sent_back(trial: Trial) -> None:
    mail = replace(MESSAGE, tracking_id=f"PX-{uuid.uuid4()}")
    assert sent_back(trial, "mail", archived(trial, "mail", messages.encode(mail))) == {"sent"}
    assert any(mail.tracking_id in body for body in trial.sent("notification"))
    image = replace(COMPLETED, image_id=new_image_id())
    before = replace(image, status=Status.INFERENCING)
    record = json.loads(
        msgspec.json.encode(image_record_of(before, image, at_ms=now_ms()), enc_hook=str)
    )
    assert sent_back(trial, "announce", archived(trial, "announce", record)) == {"sent"}
    assert trial.went_through("sns:Publish")
    waiting = trial.image(Status.PENDING_UPLOAD, generation=None, source=None)
    _, version = trial.upload(waiting.image_id)
    event = json.dumps(told_by_s3(trial, source_key(waiting.image_id), version))
    assert sent_back(trial, "ingest", archived(trial, "ingest", event)) == {"sent"}
    assert trial.row(waiting).status is Status.QUEUED


# --- Ingest -------------------------------------------------------------------------------------


def told_by_s3(trial: Trial, key: str, version: str) -> dict[str, Any]:
    record = s3_record(key)
    record["s3"]["object"]["versionId"] = version
    record["s3"]["bucket"]["name"] = trial.owner.settings.uploads_bucket
    return {"Records": [record]}


@path("ingest")
def an_upload_to_a_link(trial: Trial) -> None:
    waiting = trial.image(Status.PENDING_UPLOAD, generation=None, source=None)
    _, version = trial.upload(waiting.image_id)
    trial.run(told_by_s3(trial, source_key(waiting.image_id), version))
    assert trial.row(waiting).status is Status.QUEUED
    assert any(waiting.image_id in body for body in trial.sent("preprocessing"))


@path("ingest")
def an_object_that_nobody_asked_for(trial: Trial) -> None:
    key = f"uploads/{uuid.uuid4()}.jpg"
    version = trial.owner.uploads.put(key, PHOTO, content_type="image/jpeg")
    assert version is not None
    trial.run(told_by_s3(trial, key, version))
    assert any(version in body for body in trial.sent("preprocessing"))


@path("ingest")
def a_link_that_is_used_after_its_image_was_deleted(trial: Trial) -> None:
    image = deleted(trial)
    _, version = trial.upload(image.image_id)
    trial.run(told_by_s3(trial, source_key(image.image_id), version))
    assert trial.keys(trial.owner.settings.uploads_bucket, image.image_id) == []


# --- Preprocess ---------------------------------------------------------------------------------


@path("preprocess")
def an_upload_is_prepared(trial: Trial) -> None:
    image = trial.image()
    trial.run(sqs_event([message_of(image)]))
    assert trial.row(image).status is Status.PREPROCESSED
    assert any(image.image_id in body for body in trial.sent("inference"))
    assert any(image.image_id in body for body in trial.sent("conversion"))
    assert trial.keys(trial.owner.settings.renditions_bucket, image.image_id)
    assert trial.keys(trial.owner.settings.uploads_bucket, f"processed/{image.image_id}")


@path("preprocess", "optimise")
def an_original_that_is_gone_is_told_from_one_that_is_out_of_reach(trial: Trial) -> None:
    image = trial.image(Status.QUEUED if trial.function == "preprocess" else Status.COMPLETED)
    assert image.source is not None
    trial.owner.uploads.delete(image.source.key, version_id=image.source.version_id)
    trial.run(sqs_event([message_of(image)]))
    row = trial.row(image)
    error = row.error if trial.function == "preprocess" else row.conversion_error
    assert error is not None
    assert error.code != "service_unavailable"


@path("preprocess")
def an_input_is_made_anew_for_a_model_in_the_bucket(trial: Trial) -> None:
    publish(trial.owner, own_model())
    image = trial.image(Status.PREPROCESSED)
    trial.run(sqs_event([message_of(image, model="means@1", remade=True)]))
    assert any(image.image_id in body for body in trial.sent("inference"))


@path("preprocess")
def a_model_is_chosen_while_the_service_runs(trial: Trial) -> None:
    with chosen(trial, ModelChoice(active="means@1")):
        image = trial.image()
        trial.run(sqs_event([message_of(image)]))
    shape = own_model().description.input_shape()
    assert trial.row(image).model_input_key == model_input_key(
        image.image_id, image.generation or "", shape.fingerprint
    )


@path("preprocess", "infer", "optimise")
def what_was_made_of_an_image_goes_where_it_was_deleted_meanwhile(trial: Trial) -> None:
    image = deleted(trial)
    leave_everything(trial, image.image_id)
    trial.run(sqs_event([message_of(image)]))
    # What lies in the uploads bucket is `preprocess`'s own, and goes where that finds out.
    assert_nothing_is_left(trial, image.image_id, uploads=trial.function == "preprocess")


QUEUES = {"preprocess": "preprocessing", "infer": "inference", "optimise": "conversion"}


@path(*QUEUES)
def a_failed_try_comes_again_soon_and_leaves_its_reason(trial: Trial) -> None:
    converts = trial.function == "optimise"
    image = trial.image(
        {
            "preprocess": Status.QUEUED,
            "infer": Status.PREPROCESSED,
            "optimise": Status.COMPLETED,
        }[trial.function]
    )
    event = trial.received(QUEUES[trial.function], message_of(image))
    with pytest.raises(BatchFailed), trial.failing("GetObject"):
        trial.run(event)
    row = trial.row(image)
    assert (row.conversion_last_error if converts else row.last_error) is not None
    assert trial.went_through("sqs:ChangeMessageVisibility")


@path("preprocess", "optimise")
def the_same_bytes_take_over_what_was_made_of_them(trial: Trial) -> None:
    later, _ = twins(trial)
    trial.run(sqs_event([message_of(later)]))
    row = trial.row(later)
    if trial.function == "preprocess":
        assert row.status is Status.COMPLETED
        assert trial.keys(trial.owner.settings.renditions_bucket, f"results/{later.image_id}")
    else:
        assert row.conversion_status is ConversionStatus.COMPLETED
    assert trial.went_through("s3:GetObject")


@path("preprocess", "optimise")
def what_would_be_taken_over_is_gone_by_now(trial: Trial) -> None:
    later, earlier = twins(trial)
    for folder in ("renditions", "formats"):
        trial.owner.renditions.delete_prefix(f"{folder}/{earlier.image_id}/")
    trial.run(sqs_event([message_of(later)]))
    row = trial.row(later)
    assert Status.QUEUED is not row.status
    assert trial.went_through("s3:ListBucket")


def twins(trial: Trial) -> tuple[Image, Image]:
    """An image whose bytes are those of another one that is done, and the other one."""
    body = photo(f"#{uuid.uuid4().hex[:6]}")
    earlier = trial.image(body=body)
    for work in (trial.owner.preprocess, trial.owner.infer, trial.owner.optimise):
        work(message_about(earlier, now_ms=now_ms()))
    status = Status.QUEUED if trial.function == "preprocess" else Status.COMPLETED
    return trial.image(status, body=body), trial.row(earlier)


# --- Infer --------------------------------------------------------------------------------------


@path("infer")
def an_image_is_classified(trial: Trial) -> None:
    with chosen(trial, ModelChoice(active="means@1")):
        image = trial.image(Status.PREPROCESSED)
        prepare(trial, image)
        trial.run(sqs_event([message_of(image)]))
    row = trial.row(image)
    assert row.status is Status.COMPLETED
    assert row.prediction is not None
    assert row.prediction.model_name == "means"
    assert trial.keys(trial.owner.settings.renditions_bucket, f"results/{image.image_id}")


@path("infer")
def an_image_without_an_input_is_sent_back(trial: Trial) -> None:
    image = trial.image(Status.PREPROCESSED)
    trial.run(sqs_event([message_of(image)]))
    assert any(image.image_id in body for body in trial.sent("preprocessing"))


@path("infer")
def of_a_batch_with_one_bad_message_the_good_one_is_removed(trial: Trial) -> None:
    image = trial.image(Status.COMPLETED)
    event = trial.received("inference", message_of(image), "no message")
    with pytest.raises(BatchFailed):
        trial.run(event)
    assert trial.owner.inference_queue.level().in_flight == 1


# --- Optimise -----------------------------------------------------------------------------------


@path("optimise")
def copies_at_full_size(trial: Trial) -> None:
    image = trial.image(Status.COMPLETED)
    trial.run(sqs_event([message_of(image)]))
    assert trial.row(image).conversion_status is ConversionStatus.COMPLETED
    assert trial.keys(trial.owner.settings.renditions_bucket, f"formats/{image.image_id}")


@path("optimise")
def a_rendition_of_an_image_that_is_older(trial: Trial) -> None:
    image = trial.image(Status.COMPLETED, ConversionStatus.COMPLETED)
    trial.run(sqs_event([message_of(image, renditions=("thumb",))]))
    assert "thumb" in trial.row(image).renditions


# --- Dead letters -------------------------------------------------------------------------------


@path("bury_preprocessing", "bury_inference", "bury_conversion")
def a_letter_about_an_image_is_kept_and_its_owner_told(trial: Trial) -> None:
    step, status = {
        "bury_preprocessing": ("preprocess", Status.PREPROCESSING),
        "bury_inference": ("infer", Status.INFERENCING),
        "bury_conversion": ("optimise", Status.COMPLETED),
    }[trial.function]
    image = trial.image(status, last_error=FAULT, conversion_last_error=FAULT)
    event = letter(message_of(image))
    trial.run(event)
    row = trial.row(image)
    assert FAULT in (row.error, row.conversion_error)
    assert_kept(trial, step, event)


@path("bury_ingest", "bury_feedback")
def a_letter_about_no_image_is_kept(trial: Trial) -> None:
    event = letter("{}")
    trial.run(event)
    assert_kept(trial, trial.function.removeprefix("bury_"), event)


@path("bury_notification")
def a_letter_about_an_e_mail_is_kept_and_its_row_says_why(trial: Trial) -> None:
    message = notification()
    trial.owner.notifications.note_fault(message, FAULT, now_ms=now_ms())
    event = letter(messages.encode(message))
    trial.run(event)
    assert_kept(trial, "mail", event)
    assert notification_row(trial, message)["state"] == "failed"
    assert trial.went_through("dynamodb:GetItem")


def letter(body: str) -> dict[str, Any]:
    event = sqs_event([body])
    event["Records"][0]["messageId"] = str(uuid.uuid4())
    return event


def assert_kept(trial: Trial, step: str, event: dict[str, Any]) -> None:
    record = event["Records"][0]
    kept = trial.owner.uploads.get(dead_letter_key(step, record["messageId"]))
    assert json.loads(kept.body)["body"] == record["body"]


# --- The check ----------------------------------------------------------------------------------


def look_after(trial: Trial, places: Mapping[str, str] | None = None) -> None:
    """One run of the check; where an earlier one broke off counts for nothing."""
    last = Heartbeat(at_ms=now_ms(), took_ms=1, places=places or {})
    trial.owner._check_log.write(last)
    trial.run(TICK)


@path("check")
def images_that_stand_still_are_sent_on_their_way(trial: Trial) -> None:
    queued = trial.image(Status.QUEUED, age_seconds=LONG_AGO_SECONDS)
    prepared = trial.image(Status.PREPROCESSED, age_seconds=LONG_AGO_SECONDS)
    copies = trial.image(Status.COMPLETED, age_seconds=LONG_AGO_SECONDS)
    look_after(trial)
    for image, queue in (
        (queued, "preprocessing"),
        (prepared, "inference"),
        (copies, "conversion"),
    ):
        assert any(image.image_id in body for body in trial.sent(queue)), queue
    assert trial.row(queued).requeues == 1


@path("check")
def an_upload_whose_event_was_lost_is_taken_in(trial: Trial) -> None:
    image = trial.image(
        Status.PENDING_UPLOAD, age_seconds=LONG_AGO_SECONDS, generation=None, source=None
    )
    look_after(trial)
    assert trial.row(image).status is Status.QUEUED


@path("check")
def a_lost_upload_of_an_image_that_is_just_being_deleted(trial: Trial) -> None:
    image = trial.image(
        Status.PENDING_UPLOAD, age_seconds=LONG_AGO_SECONDS, generation=None, source=None
    )

    def remove() -> None:
        trial.owner.images.begin_removal(image.image_id, now=1)

    trial.meanwhile("ListObjectVersions", image.image_id, remove)
    look_after(trial)
    assert trial.keys(trial.owner.settings.uploads_bucket, image.image_id) == []


@path("check")
def the_next_run_goes_on_where_the_last_one_stopped(trial: Trial) -> None:
    image = trial.image(Status.QUEUED, age_seconds=LONG_AGO_SECONDS)
    # Behind all images of the last shard.
    shards = trial.owner.settings.index_shards
    look_after(trial, places={Status.QUEUED.value: f"{shards - 1} 9"})
    assert trial.row(image).requeues == 0


@path("check")
def a_parcel_that_nothing_is_heard_of_is_reported(trial: Trial) -> None:
    tracking_id = f"PX-{uuid.uuid4()}"
    days_ago = now_ms() - 5 * 86_400_000
    trial.owner.tracking.record(
        Update(
            tracking_id=tracking_id,
            update_id=new_update_id(days_ago),
            timestamp=days_ago,
            occurred_at=days_ago,
            status=ParcelStatus.IN_TRANSIT,
            location=PARCEL.location,
        ),
        occurred_at=days_ago,
    )
    look_after(trial)
    row = trial.stage.admin("dynamodb").get_item(
        TableName=trial.owner.settings.tracking_table,
        Key={"tracking_id": {"S": tracking_id}, "timestamp": {"N": "0"}},
    )["Item"]
    assert "reported_day" in row


# --- Parcels' e-mails ---------------------------------------------------------------------------


def notification(**changes: Any) -> NotificationMessage:
    return replace(MESSAGE, **{"tracking_id": f"PX-{uuid.uuid4()}", **changes})


def notification_row(trial: Trial, message: NotificationMessage) -> dict[str, Any]:
    row: dict[str, Any] = trial.owner.notifications.table.get_item(
        Key={"notification_id": message.notification_id}
    ).get("Item", {})
    return row


@path("announce")
def an_end_of_an_image_is_published(trial: Trial) -> None:
    image = replace(COMPLETED, image_id=new_image_id())
    before = replace(image, status=Status.INFERENCING)
    trial.run({"Records": [image_record_of(before, image, at_ms=now_ms())]})
    (event,) = events_of(before, image)
    row = trial.owner.announce.announcements.table.get_item(Key={"event_id": event.event_id})
    assert row["Item"]["state"] == "published"
    assert trial.went_through("sns:Publish")


@path("announce")
def a_record_of_an_image_that_cannot_be_read_is_kept(trial: Trial) -> None:
    event_id = uuid.uuid4().hex
    trial.run({"Records": [{"eventID": event_id}]})
    assert event_id.encode() in trial.owner.uploads.get(dead_letter_key("announce", event_id)).body


@path("notify")
def a_change_of_a_parcel_is_queued(trial: Trial) -> None:
    parcel = replace(PARCEL, tracking_id=f"PX-{uuid.uuid4()}")
    trial.run({"Records": [record_of(parcel, at_ms=now_ms())]})
    assert any(parcel.tracking_id in body for body in trial.sent("notification"))


@path("notify")
def a_record_that_cannot_be_read_is_kept(trial: Trial) -> None:
    event_id = uuid.uuid4().hex
    trial.run({"Records": [{"eventID": event_id}]})
    assert event_id.encode() in trial.owner.uploads.get(dead_letter_key("notify", event_id)).body


@path("mail")
def an_e_mail_with_its_photo(trial: Trial) -> None:
    key = f"renditions/{uuid.uuid4()}/thumb.jpg"
    trial.owner.renditions.put(key, PHOTO, content_type="image/jpeg")
    assert_mailed_with(trial, key)


@path("mail")
def an_e_mail_whose_photo_is_gone(trial: Trial) -> None:
    assert_mailed_with(trial, f"renditions/{uuid.uuid4()}/gone.jpg")


def assert_mailed_with(trial: Trial, key: str) -> None:
    thumb = StoredCopy(key=key, content_type="image/jpeg", bytes=1, width=1, height=1)
    photo = trial.image(Status.COMPLETED, renditions={"thumb": thumb})
    message = notification(image_id=photo.image_id)
    trial.run(sqs_event([messages.encode(message)]))
    assert notification_row(trial, message)["state"] == "sent"


@path("mail")
def the_first_e_mail_makes_the_secret(trial: Trial) -> None:
    ssm, name = trial.owner.clients.ssm, trial.owner.settings.signing_secret_parameter
    if ssm.get_parameters(Names=[name])["Parameters"]:
        ssm.delete_parameter(Name=name)
    message = notification()
    trial.run(sqs_event([messages.encode(message)]))
    assert notification_row(trial, message)["state"] == "sent"


@path("mail")
def a_photo_that_is_not_ready_is_waited_for(trial: Trial) -> None:
    photo = trial.image(Status.QUEUED)
    event = trial.received("notification", messages.encode(notification(image_id=photo.image_id)))
    queue = trial.owner.notification_queue
    trial.run(event)
    # It is hidden for some seconds.
    assert queue.level().waiting + trial.delayed("notification") == 1


@path("mail")
def nothing_is_sent_to_who_does_not_want_it(trial: Trial) -> None:
    message = notification(email=f"{uuid.uuid4().hex}@recipient.example")
    trial.owner.suppressions.add(
        address_hash(message.email), Suppression.UNSUBSCRIBED, parcel_hash=None, now=1
    )
    trial.run(sqs_event([messages.encode(message)]))
    assert notification_row(trial, message)["state"] == "suppressed"


@path("mail")
def an_e_mail_that_could_not_be_sent_comes_again_soon(trial: Trial) -> None:
    event = trial.received("notification", "no message")
    with pytest.raises(BatchFailed):
        trial.run(event)
    assert trial.went_through("sqs:ChangeMessageVisibility")


@path("feedback")
def an_address_that_bounced_is_suppressed(trial: Trial) -> None:
    address = f"{uuid.uuid4().hex}@recipient.example"
    bounce = {"bounceType": "Permanent", "bouncedRecipients": [{"emailAddress": address}]}
    trial.run(sqs_event([json.dumps({"eventType": "Bounce", "bounce": bounce})]))
    assert trial.owner.suppressions.reason_against(address_hash(address), parcel_hash("PX"))


# --- What paths need ----------------------------------------------------------------------------


@cache
def own_model() -> ModelFiles:
    """A model that is nothing like the built-in one, and quickly loaded."""
    with TemporaryDirectory() as folder:
        body = graphs.graph(layout="NHWC", dtype="uint8")
        graphs.package(File(folder), body, changes={"normalise": ...})
        return checked(File(folder))


@contextmanager
def chosen(trial: Trial, choice: ModelChoice) -> Iterator[None]:
    """A choice of models that lasts for the block."""
    publish(trial.owner, own_model())
    ssm, name = trial.owner.clients.ssm, trial.owner.settings.models_parameter
    ssm.put_parameter(
        Name=name, Value=msgspec.json.encode(choice).decode(), Type="String", Overwrite=True
    )
    try:
        yield
    finally:
        ssm.delete_parameter(Name=name)


def prepare(trial: Trial, image: Image) -> None:
    """Put what the model of `own_model` sees where `infer` looks for it."""
    shape = own_model().description.input_shape()
    key = model_input_key(image.image_id, image.generation or "", shape.fingerprint)
    body = graphs.ppm((255, 0, 0), size=(shape.width, shape.height))
    trial.owner.uploads.put(key, body, content_type="image/x-portable-pixmap")


def deleted(trial: Trial) -> Image:
    """An image that was deleted while a message about it was under way."""
    image = trial.image()
    trial.owner.images_api.delete(image.image_id)
    return image


def leave_everything(trial: Trial, image_id: str) -> None:
    """Put something everywhere where something is made of an image."""
    for prefix in derived_prefixes(image_id):
        store = trial.owner.uploads if prefix.startswith("processed/") else trial.owner.renditions
        store.put(f"{prefix}1/object", b"left", content_type="image/jpeg")


def assert_nothing_is_left(
    trial: Trial, image_id: str, *, uploads: bool = True, originals: bool = False
) -> None:
    settings = trial.owner.settings
    left = trial.keys(settings.renditions_bucket, image_id)
    if uploads:
        left += trial.keys(settings.uploads_bucket, f"processed/{image_id}")
    if originals:
        left += trial.keys(settings.uploads_bucket, source_key(image_id))
    assert left == []
