"""Uploads are taken in, whatever S3 says about them, and however often."""

from dataclasses import replace
from typing import Any

import pytest

from chalicelib.errors import ServiceUnavailable
from chalicelib.images import (
    Kept,
    Original,
    Source,
    Status,
    image_id_of_object,
    is_image_id,
    new_image_id,
    source_key,
)
from chalicelib.pipeline.ingest import filename_of, read_record
from tests.fakes import Tombstone, unavailable
from tests.unit.pipeline.world import BUCKET, PHOTO, Stored, World, first_message


def test_an_upload_to_a_link_is_queued_once(world: World) -> None:
    image_id = world.create()
    upload = world.upload(image_id)
    world.ingest(upload.event())
    row = world.row(image_id)
    assert row.status is Status.QUEUED
    assert row.generation == upload.version_id
    assert row.source == Source(key=upload.key, version_id=upload.version_id)
    assert row.original == Original(filename="cat.jpg", bytes=len(PHOTO))
    [message] = world.sent
    assert message == replace(first_message(row), queued_at_ms=message.queued_at_ms)
    assert message.attempt == 1


def test_what_is_kept_of_an_object_that_nobody_announced_is_a_setting(world: World) -> None:
    keeping = replace(world.ingest, keep=(Kept.CAMERA,))
    keeping(world.store("uploads/one.jpg").event())
    assert world.only_row.keep == (Kept.CAMERA,)
    asked = world.create()
    keeping(world.upload(asked).event())
    assert world.row(asked).keep == (), "the request has said what is kept"


def test_the_row_is_queued_before_the_message_is_sent(world: World) -> None:
    """Defect 13: `queued`, written after the message, overwrites what the worker wrote."""
    world.ingest(world.upload(world.create()).event())
    assert world.trail.calls == ["images.accept", "preprocessing.send"]


@pytest.mark.parametrize(
    ("key", "filename"),
    [
        ("uploads/my photo.jpg", "my photo.jpg"),
        ("uploads/a+b.png", "a+b.png"),
        ("uploads/日本/ümläut ✓.webp", "ümläut ✓.webp"),
        ("uploads/PHOTO.JPEG", "PHOTO.JPEG"),
        ("uploads/100%2Fdone.jpg", "100%2Fdone.jpg"),
        ("uploads/a/b/../c.jpg", "c.jpg"),
        ("uploads/no-extension", "no-extension"),
        ("uploads/line\nbreak.jpg", "linebreak.jpg"),
    ],
)
def test_an_object_under_any_key_is_found_again_by_its_worker(
    world: World, key: str, filename: str
) -> None:
    """Defect 9: a key with spaces or plus signs ends in NoSuchKey."""
    world.run(world.store(key))
    row = world.only_row
    assert row.status is Status.COMPLETED
    assert row.source is not None
    assert row.source.key == key
    assert row.original.filename == filename


@pytest.mark.parametrize(
    "raw_key", ["uploads%2Fmy+photo.jpg", "uploads/my+photo.jpg", "uploads/my%20photo.jpg"]
)
def test_a_key_is_understood_in_every_way_that_it_may_be_encoded(
    world: World, raw_key: str
) -> None:
    upload = world.store("uploads/my photo.jpg")
    world.ingest({"Records": [upload.record(raw_key=raw_key)]})
    assert world.only_row.source == Source(key=upload.key, version_id=upload.version_id)


def test_keys_that_differ_only_in_folder_or_extension_are_different_images(world: World) -> None:
    """Defect 10: the id was the name before the first dot, so they overwrote one another."""
    keys = ["uploads/a/x.jpg", "uploads/b/x.jpg", "uploads/a/x.png", "uploads/a/x.y.jpg"]
    for key in keys:
        world.run(world.store(key))
    assert len(world.images.rows) == len(keys)
    assert all(is_image_id(image_id) for image_id in world.images.rows)
    assert len(world.results) == len(keys)


def test_a_new_version_of_a_direct_upload_is_an_image_of_its_own(world: World) -> None:
    world.run(world.store("uploads/x.jpg"))
    world.run(world.store("uploads/x.jpg"))
    assert len(world.images.rows) == 2


def test_a_direct_upload_has_the_id_of_its_bucket_key_and_version(world: World) -> None:
    upload = world.store("uploads/x.jpg")
    world.ingest(upload.event())
    assert world.only_row.image_id == image_id_of_object(
        BUCKET, upload.key, upload.version_id or ""
    )
    assert world.only_row.created_at_ms > 0


def test_a_key_like_ours_that_was_never_given_out_is_a_direct_upload(world: World) -> None:
    """Defect 10: ids can be forged by the name of a file."""
    forged = new_image_id()
    world.run(world.store(source_key(forged)))
    assert world.only_row.image_id != forged
    assert world.only_row.status is Status.COMPLETED


def test_every_record_of_an_event_is_taken_in(world: World) -> None:
    """Defect 11: only the first record was used."""
    image_ids = [world.create() for _ in range(3)]
    world.ingest({"Records": [world.upload(image_id).record() for image_id in image_ids]})
    assert [message.image_id for message in world.sent] == image_ids


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_broken_record_costs_the_others_nothing(world: World, position: int) -> None:
    """Defect 8: one bad record aborts the batch."""
    image_ids = [world.create() for _ in range(2)]
    records = [world.upload(image_id).record() for image_id in image_ids]
    records.insert(position, {"eventName": "ObjectCreated:Put", "s3": {}})
    with pytest.raises(ExceptionGroup) as caught:
        world.ingest({"Records": records})
    assert len(caught.value.exceptions) == 1
    assert [message.image_id for message in world.sent] == image_ids


def test_a_fault_of_one_record_costs_the_others_nothing_and_is_made_good_later(
    world: World,
) -> None:
    """Defect 7: the fault was put down to another record's image."""
    image_ids = [world.create() for _ in range(3)]
    event = {"Records": [world.upload(image_id).record() for image_id in image_ids]}
    world.trail.at(2, "before", unavailable)
    with pytest.raises(ExceptionGroup) as caught:
        world.ingest(event)
    assert caught.group_contains(ServiceUnavailable)
    assert [message.image_id for message in world.sent] == [image_ids[0], image_ids[2]]
    assert world.row(image_ids[1]).status is Status.PENDING_UPLOAD
    world.ingest(event)
    world.work()
    assert {world.row(i).status for i in image_ids} == {Status.COMPLETED}
    assert len(world.results) == 3


@pytest.mark.parametrize(
    "event",
    [
        {
            "Service": "Amazon S3",
            "Event": "s3:TestEvent",
            "Time": "2026-01-01T00:00:00.000Z",
            "Bucket": BUCKET,
            "RequestId": "1",
            "HostId": "2",
        },
        {"Records": []},
        {},
        {"Records": [{"eventName": "ObjectRemoved:Delete"}]},
        {"Records": [{"eventName": "ReducedRedundancyLostObject"}]},
        {"Records": [{"eventName": "ObjectTagging:Put", "s3": {}}]},
        {"Records": [{}]},
    ],
)
def test_an_event_that_tells_of_no_upload_is_done_with(world: World, event: Any) -> None:
    """Defect 6: S3's test event was retried into the dead letters."""
    world.ingest(event)
    assert world.trail.calls == []


@pytest.mark.parametrize(
    "name",
    [
        "ObjectCreated:Put",
        "ObjectCreated:Post",
        "ObjectCreated:Copy",
        "ObjectCreated:CompleteMultipartUpload",
    ],
)
def test_every_way_of_creating_an_object_counts(world: World, name: str) -> None:
    upload = world.upload(world.create())
    world.ingest({"Records": [upload.record(name=name)]})
    assert len(world.sent) == 1


@pytest.mark.parametrize(
    "key", ["x.jpg", "processed/x/1/model-input.ppm", "dead-letters/x.json", "Uploads/x.jpg"]
)
def test_an_object_outside_the_uploads_is_ignored(world: World, key: str) -> None:
    world.ingest(world.store(key).event())
    assert world.trail.calls == []


def test_a_folder_marker_is_ignored(world: World) -> None:
    world.ingest(world.store("uploads/holiday/", b"").event())
    assert world.trail.calls == []


def test_an_empty_upload_is_taken_in_and_rejected_as_empty(world: World) -> None:
    world.run(world.store("uploads/empty.jpg", b""))
    assert world.only_row.status is Status.PREPROCESSING_FAILED
    assert world.only_row.error is not None
    assert world.only_row.error.code == "image_empty"


@pytest.mark.parametrize("version_id", [None, "", "null"])
def test_a_bucket_without_versions_tells_them_apart_by_their_etag(version_id: str | None) -> None:
    record = Stored(key="uploads/x.jpg", version_id=version_id, size_bytes=5).record()
    upload = read_record(record)
    assert upload is not None
    assert upload.version_id is None
    assert upload.generation == "0123456789abcdef0123456789abcdef"


def test_an_upload_to_a_bucket_without_versions_is_completed() -> None:
    world = World(versioned=False)
    image_id = world.create()
    world.run(world.upload(image_id))
    assert world.row(image_id).status is Status.COMPLETED
    assert world.row(image_id).source == Source(key=source_key(image_id), version_id=None)


def test_an_event_that_comes_twice_makes_one_row_and_one_result(world: World) -> None:
    """Defect 1: one upload, two preprocess and two inference messages."""
    upload = world.store("uploads/x.jpg")
    world.ingest(upload.event())
    world.ingest(upload.event())
    world.work()
    assert world.only_row.status is Status.COMPLETED
    assert len(world.results) == 1
    assert len(world.inference_queue.sent) == 1
    assert len(world.classifier.seen) == 1


def test_an_event_that_comes_after_completion_changes_and_sends_nothing(world: World) -> None:
    """Defect 12: a replay takes completed back and sends another message."""
    image_id = world.create()
    upload = world.upload(image_id)
    world.run(upload)
    row, sent = world.row(image_id), world.sent
    world.ingest(upload.event())
    assert world.row(image_id) == row
    assert world.sent == sent


def test_an_event_that_comes_while_the_worker_is_busy_sends_nothing(world: World) -> None:
    image_id = world.create()
    upload = world.upload(image_id)
    world.ingest(upload.event())
    world.images.start(first_message(world.row(image_id)), Status.PREPROCESSING, now_ms=5)
    world.ingest(upload.event())
    assert len(world.sent) == 1
    assert world.row(image_id).status is Status.PREPROCESSING


def test_of_a_link_that_is_used_twice_the_first_version_counts(world: World) -> None:
    image_id = world.create()
    first = world.upload(image_id)
    world.ingest(first.event())
    second = world.upload(image_id, b"something else")
    world.ingest(second.event())
    world.work()
    assert world.row(image_id).status is Status.COMPLETED
    assert world.row(image_id).generation == first.version_id
    assert len(world.preprocessing_queue.sent) == 1


def test_the_version_whose_event_comes_first_counts_and_alone_is_read(world: World) -> None:
    image_id = world.create()
    first, second = world.upload(image_id, b"no image"), world.upload(image_id)
    world.ingest(second.event())
    world.ingest(first.event())
    world.work()
    assert world.row(image_id).status is Status.COMPLETED
    assert world.row(image_id).generation == second.version_id


@pytest.mark.parametrize("versioned", [True, False])
def test_an_upload_to_the_link_of_a_deleted_image_is_removed(*, versioned: bool) -> None:
    world = World(versioned=versioned)
    image_id = world.create()
    world.api.delete(image_id)
    upload = world.upload(image_id)
    world.ingest(upload.event())
    assert world.uploads.objects == {}
    assert not any(
        version.stored for versions in world.uploads.versions.values() for version in versions
    )
    assert isinstance(world.images.rows[image_id], Tombstone)
    assert world.sent == []


def test_the_late_event_of_a_deleted_direct_upload_does_not_bring_it_back(world: World) -> None:
    upload = world.store("uploads/x.jpg")
    world.run(upload)
    world.api.delete(world.only_row.image_id)
    world.ingest(upload.event())
    [row] = world.images.rows.values()
    assert isinstance(row, Tombstone)
    assert world.uploads.objects == {}
    assert len(world.sent) == 2


def test_a_later_version_of_a_deleted_direct_upload_is_a_new_image(world: World) -> None:
    world.run(world.store("uploads/x.jpg"))
    world.api.delete(world.only_row.image_id)
    world.run(world.store("uploads/x.jpg"))
    statuses = [row.status for row in world.images.rows.values() if not isinstance(row, Tombstone)]
    assert statuses == [Status.COMPLETED]


def test_a_name_to_show_has_no_control_characters_and_an_end() -> None:
    assert filename_of("uploads/a\x1b[31m\u202e.jpg") == "a[31m.jpg"
    assert filename_of("uploads/" + "x" * 1000) == "x" * 255
    assert filename_of("uploads/\n") is None
    assert filename_of("uploads/folder/") == "folder"
