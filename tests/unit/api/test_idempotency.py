"""`Idempotency-Key` on ``POST /images``."""

import json
from typing import Any

import pytest

from chalicelib.api.http import Request
from chalicelib.errors import (
    IdempotencyInProgress,
    IdempotencyKeyReused,
    InvalidRequest,
    ServiceUnavailable,
    UnsupportedMediaType,
)
from chalicelib.images import Status, source_key
from tests.fakes import Crash, Phase, crash, unavailable
from tests.unit.pipeline.world import PHOTO, Stored, World


@pytest.fixture
def world() -> World:
    return World()


def keyed(
    body: bytes = b"",
    *,
    key: str = "key-1",
    content_type: str = "application/json",
    method: str = "POST",
    path: str = "/images",
) -> Request:
    return Request(
        method=method,
        path=path,
        headers={"idempotency-key": key, "content-type": content_type},
        body=body,
    )


def the_worker_is_dead(world: World) -> None:
    """So much time passes that whoever held a claim cannot be at work any more."""
    for row in world.claims.claims.values():
        row.lease_until = 0


def test_the_same_request_gets_the_first_answer_again(world: World) -> None:
    first = world.api.create(keyed(b'{"filename": "a.jpg"}'))
    again = world.api.create(keyed(b'{"filename": "a.jpg"}'))
    assert (again.status, json.loads(again.text())) == (201, json.loads(first.text()))
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers == {**first.headers, "Idempotent-Replayed": "true"}
    assert len(world.images.rows) == 1


def test_an_image_in_the_body_is_stored_once(world: World) -> None:
    for _ in range(3):
        answer = world.api.create(keyed(PHOTO, content_type="image/jpeg"))
    assert answer.body["status"] == "queued"
    [versions] = world.uploads.versions.values()
    assert len(versions) == 1


@pytest.mark.parametrize(
    "other",
    [
        keyed(b'{"filename": "b.jpg"}'),
        keyed(b'{"filename": "a.jpg"} '),
        keyed(),
        keyed(b'{"filename": "a.jpg"}', content_type="image/png"),
    ],
)
def test_the_same_key_with_another_request_is_refused(world: World, other: Request) -> None:
    world.api.create(keyed(b'{"filename": "a.jpg"}'))
    with pytest.raises(IdempotencyKeyReused) as caught:
        world.api.create(other)
    assert (caught.value.status, caught.value.code) == (409, "idempotency_key_reused")
    assert len(world.images.rows) == 1


def test_the_same_key_on_another_route_is_another_key(world: World) -> None:
    world.api.create(keyed())
    world.api.idempotency.run(
        keyed(path="/track"), lambda _: world.api.create(Request(method="POST", path="/images"))
    )
    assert len(world.images.rows) == 2


def test_other_keys_and_no_key_make_other_images(world: World) -> None:
    world.api.create(keyed())
    world.api.create(keyed(key="key-2"))
    for _ in range(2):
        world.api.create(Request(method="POST", path="/images"))
    assert len(world.images.rows) == 4


@pytest.mark.parametrize("key", ["", " ", " a", "a ", "a\tb", "é", "\x00", "a\x7f", "x" * 129])
def test_a_key_that_is_not_of_1_to_128_printable_characters_is_refused(
    world: World, key: str
) -> None:
    with pytest.raises(InvalidRequest, match="Idempotency-Key"):
        world.api.create(keyed(key=key))
    assert world.trail.calls == []


@pytest.mark.parametrize("key", ["a", "x" * 128, "a b", "~!@#$%^&*()", "'; DROP TABLE images"])
def test_other_keys_are_taken(world: World, key: str) -> None:
    assert world.api.create(keyed(key=key)).status == 201
    assert world.api.create(keyed(key=key)).headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (keyed(b"{"), InvalidRequest),
        (keyed(b'{"colour": 1}'), InvalidRequest),
        (keyed(b"<svg/>", content_type="image/png"), UnsupportedMediaType),
    ],
)
def test_a_refused_request_frees_its_key(
    world: World, refused: Request, error: type[Exception]
) -> None:
    for _ in range(2):
        with pytest.raises(error):
            world.api.create(refused)
    assert world.api.create(keyed(b"{}")).status == 201
    assert len(world.images.rows) == 1


def test_a_second_request_during_the_first_is_told_to_wait(world: World) -> None:
    caught: list[IdempotencyInProgress] = []

    def meanwhile() -> None:
        with pytest.raises(IdempotencyInProgress) as info:
            world.api.create(keyed())
        caught.append(info.value)

    world.trail.at_next("images.create", "before", meanwhile)
    world.api.create(keyed())
    assert (caught[0].status, caught[0].code) == (409, "idempotency_in_progress")
    assert 1 <= int(caught[0].headers["Retry-After"]) <= 36
    assert len(world.images.rows) == 1


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("fault", [unavailable, crash])
@pytest.mark.parametrize(
    "asked", [keyed(), keyed(PHOTO, content_type="image/jpeg")], ids=["link", "image"]
)
def test_a_fault_at_any_call_and_a_second_try_make_one_image(
    asked: Request, fault: Any, phase: Phase
) -> None:
    for number in range(20):
        world = World()
        world.trail.at(number, phase, fault)
        try:
            answer = world.api.create(asked)
        except (ServiceUnavailable, Crash):
            the_worker_is_dead(world)
            answer = world.api.create(asked)
        if not world.trail.fired:
            assert number >= 5
            return
        image_id = answer.body["image_id"]
        assert list(world.images.rows) == [image_id]
        again = world.api.create(asked)
        assert again.body == json.loads(answer.text())
        if asked.body:
            for version in list(world.uploads.versions[source_key(image_id)]):
                world.deliver_event(
                    Stored(
                        key=source_key(image_id),
                        version_id=version.version_id,
                        size_bytes=len(PHOTO),
                    ).event()
                )
            world.work()
            assert world.row(image_id).status is Status.COMPLETED
            assert len(world.preprocessing_queue.sent) == 1
            assert len(world.results) == 1
    raise AssertionError("a request never ends")


def test_after_a_fault_the_request_may_come_again_at_once_and_makes_no_second_image(
    world: World,
) -> None:
    world.trail.at_next("images.create", "before", unavailable)
    with pytest.raises(ServiceUnavailable):
        world.api.create(keyed())
    assert world.api.create(keyed()).status == 201
    assert len(world.images.rows) == 1
