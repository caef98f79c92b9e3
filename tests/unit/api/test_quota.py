"""How much one caller may ask for."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from chalicelib.api.http import Request, error_answer
from chalicelib.api.quota import OwnCounts
from chalicelib.container import Container
from chalicelib.errors import InvalidRequest, NotRetryable, QuotaExceeded, ServiceUnavailable
from chalicelib.flags import Flags
from chalicelib.images import Status
from tests.fakes import Crash, FakeQuotaTable, Phase, Trail, crash, unavailable
from tests.unit.pipeline.world import PHOTO, SETTINGS, World, quota_of
from tests.unit.tracking_world import UPDATE, TrackingWorld, tracked

NOW = 1_795_000_000
ANN, BOB = "address 203.0.113.7", "key abc123"


def asked(caller: str = ANN, *, key: str | None = None, body: bytes = b"{}") -> Request:
    return Request(
        method="POST",
        path="/images",
        headers={} if key is None else {"idempotency-key": key},
        body=body,
        caller=caller,
    )


def used(world: World | TrackingWorld) -> int:
    return sum(world.quotas.used.values())


# --- The windows ----------------------------------------------------------------------------


def test_one_more_than_the_quota_is_refused_until_the_next_window() -> None:
    now = [NOW]
    table = FakeQuotaTable()
    quota = quota_of(table, 3, seconds=60, clock=lambda: now[0])
    for _ in range(3):
        quota.charge(ANN)
    with pytest.raises(QuotaExceeded) as caught:
        quota.charge(ANN)
    assert (caught.value.status, caught.value.code) == (429, "quota_exceeded")
    # The window ends with the minute, and 1,795,000,000 is 40 s into one.
    assert caught.value.headers == {"Retry-After": "20"}
    quota.charge(BOB)
    now[0] += 19
    with pytest.raises(QuotaExceeded, match="ask again in 1 seconds"):
        quota.charge(ANN)
    now[0] += 1
    quota.charge(ANN)


def test_the_answer_is_an_error_as_any_other_with_when_to_ask_again() -> None:
    answer = error_answer(QuotaExceeded(20, requests=3, seconds=60), "r-1")
    assert answer.status == 429
    assert answer.headers == {"Retry-After": "20"}
    assert set(answer.body) == {"error", "code", "request_id"}
    assert answer.body["code"] == "quota_exceeded"


def test_no_row_holds_an_address_and_each_ends_after_its_window() -> None:
    table = FakeQuotaTable()
    quota_of(table, 3, seconds=60, clock=lambda: NOW).charge(ANN)
    ((key, expires_at),) = table.expires_at.items()
    assert "203" not in key.partition("#")[0]
    assert expires_at > NOW + 20
    other = FakeQuotaTable()
    quota_of(other, 3, seconds=60, clock=lambda: NOW, secret=lambda: "another").charge(ANN)
    # Without the secret nobody can try all four billion addresses.
    assert set(other.used) != set(table.used)


def test_what_counts_as_more_than_one_never_fits_half() -> None:
    table = FakeQuotaTable()
    quota = quota_of(table, 5, clock=lambda: NOW)
    quota.charge(ANN, 3)
    with pytest.raises(QuotaExceeded):
        quota.charge(ANN, 3)
    quota.charge(ANN, 2)
    with pytest.raises(InvalidRequest, match="counts as 6 requests, and 5 are allowed"):
        quota.charge(BOB, 6)


# --- Without DynamoDB -----------------------------------------------------------------------


def gone() -> str:
    raise ServiceUnavailable("SSM is away")


def test_without_its_table_or_secret_each_process_counts_by_itself_and_says_so(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    table = FakeQuotaTable(Trail())

    def away() -> None:
        table.trail.at_next("quota.spend", "before", away)
        unavailable()

    table.trail.at_next("quota.spend", "before", away)
    for quota in (
        quota_of(table, 2, clock=lambda: NOW),
        quota_of(FakeQuotaTable(), 2, clock=lambda: NOW, secret=gone),
    ):
        quota.charge(ANN)
        quota.charge(ANN)
        with pytest.raises(QuotaExceeded):
            quota.charge(ANN)
        quota.charge(BOB)
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert sum(line.get("QuotaUncounted", [0])[0] for line in lines) == 4
        assert [record.levelname for record in caplog.records] == ["ERROR"] * 4
        caplog.clear()


def test_its_own_counts_begin_anew_with_each_window_and_forget_the_first_of_too_many() -> None:
    own = OwnCounts()
    assert own.spend(ANN, 1, begins=0, limit=1)
    assert not own.spend(ANN, 1, begins=0, limit=1)
    assert own.spend(ANN, 1, begins=60, limit=1)
    for number in range(10_000):
        own.spend(str(number), 1, begins=60, limit=1)
    assert len(own.used) == 10_000
    assert own.spend(ANN, 1, begins=60, limit=1)


# --- The routes -------------------------------------------------------------------------------


def test_images_count_for_their_caller_and_what_is_refused_counts_for_nobody() -> None:
    world = World().with_quota(2)
    for wrong in (b"{", b'{"colour": 1}'):
        with pytest.raises(InvalidRequest):
            world.api.create(asked(body=wrong))
    assert used(world) == 0
    for _ in range(2):
        world.api.create(asked())
    with pytest.raises(QuotaExceeded):
        world.api.create(asked())
    assert len(world.images.rows) == 2
    assert world.api.create(asked(BOB)).status == 201


def test_the_first_answer_again_costs_nothing() -> None:
    world = World().with_quota(1)
    first = world.api.create(asked(key="k"))
    again = world.api.create(asked(key="k"))
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.body == json.loads(first.text())
    assert used(world) == 1


def test_a_request_that_was_refused_for_its_quota_may_come_again_with_its_key() -> None:
    now = [NOW]
    world = World().with_quota(1, clock=lambda: now[0])
    world.api.create(asked())
    with pytest.raises(QuotaExceeded):
        world.api.create(asked(key="k"))
    now[0] += 3600
    assert world.api.create(asked(key="k")).status == 201


def test_a_retry_counts_once_it_is_one() -> None:
    world = World().with_quota(1)
    image_id = world.completed()
    with pytest.raises(NotRetryable):
        world.api.retry(image_id, caller=ANN)
    assert used(world) == 0
    for _ in range(2):
        world.images.rows[image_id] = replace(
            world.row(image_id), status=Status.PREPROCESSING_FAILED
        )
        if not used(world):
            assert world.api.retry(image_id, caller=ANN).status == 202
        else:
            with pytest.raises(QuotaExceeded):
                world.api.retry(image_id, caller=ANN)
    assert len(world.preprocessing_queue.sent) == 2


def test_reading_and_deleting_are_free() -> None:
    world = World().with_quota(1)
    image_id = world.api.create(asked()).body["image_id"]
    for _ in range(3):
        world.api.get(image_id)
        world.api.list_images(Request(method="GET", path="/images", caller=ANN))
    world.api.delete(image_id)
    assert used(world) == 1


def test_updates_of_parcels_count_each_also_in_a_batch() -> None:
    world = TrackingWorld().with_quota(5)
    world.flags = Flags(batch_processing=True)
    world.update()
    with pytest.raises(InvalidRequest):
        world.send({**UPDATE, "status": "lost"})
    batch: list[Any] = [UPDATE, UPDATE, {"tracking_id": "no status"}]
    assert world.send({"updates": batch}).body["stored"] == 2
    assert used(world) == 3
    with pytest.raises(QuotaExceeded):
        world.send({"updates": [UPDATE] * 3})
    assert len(world.history()) == 3
    with pytest.raises(InvalidRequest, match="send fewer at once"):
        world.send({"updates": [UPDATE] * 6})
    assert world.send({"updates": [{"tracking_id": "no status"}]}).status == 200
    assert used(world) == 3
    world.status()
    assert world.send({"updates": [UPDATE] * 2}).body["stored"] == 2


# --- Faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("fault", [unavailable, crash])
@pytest.mark.parametrize("body", [b"{}", PHOTO], ids=["link", "image"])
def test_a_fault_at_any_call_makes_one_image_and_never_more_than_the_quota(
    body: bytes, fault: Callable[[], None], phase: Phase
) -> None:
    """A request that came again may have counted twice, and no other makes up for it."""
    request = replace(
        asked(key="k", body=body),
        headers={
            "idempotency-key": "k",
            "content-type": "application/json" if body == b"{}" else "image/jpeg",
        },
    )
    for number in range(20):
        world = World().with_quota(2)
        world.trail.at(number, phase, fault)
        try:
            world.api.create(request)
        except (ServiceUnavailable, Crash):
            for row in world.claims.claims.values():
                row.lease_until = 0
            world.api.create(request)
        if not world.trail.fired:
            assert number >= 6
            return
        assert len(world.images.rows) == 1
        broken = world.trail.calls[number]
        assert world.api.quota is not None
        counted = used(world)
        # Of a count that was not answered this process keeps one of its own.
        assert 1 <= counted + sum(world.api.quota.own.used.values()) <= 2, broken
        made = 0
        for _ in range(4):
            try:
                world.api.create(asked())
            except QuotaExceeded:
                continue
            made += 1
        assert made == 2 - counted, broken
    raise AssertionError("a request never ends")


@pytest.mark.parametrize("phase", ["before", "after"])
def test_an_update_that_broke_off_at_its_count_is_stored_once(phase: Phase) -> None:
    world = TrackingWorld().with_quota(2)
    world.trail.at_next("quota.spend", phase, crash)
    with pytest.raises(Crash):
        world.api.track(tracked(UPDATE, key="k"))
    for row in world.claims.claims.values():
        row.lease_until = 0
    assert world.api.track(tracked(UPDATE, key="k")).status == 200
    assert len(world.history()) == 1
    assert used(world) == (1 if phase == "before" else 2)


# --- The setting -----------------------------------------------------------------------------


def test_there_is_a_quota_only_where_one_is_set() -> None:
    texts = {
        name.upper(): str(value)
        for name, value in asdict(SETTINGS).items()
        if isinstance(value, str) and value
    }
    assert Container({**texts, "STAGE": "local"}).images_api.quota is None
    container = Container({**texts, "STAGE": "local", "QUOTA_REQUESTS": "7", "QUOTA_SECONDS": "60"})
    quota = container.images_api.quota
    assert quota is not None
    assert (quota.requests, quota.seconds) == (7, 60)
    assert container.tracking_api.quota is quota
