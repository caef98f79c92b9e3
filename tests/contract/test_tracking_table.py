"""Updates and parcels, on the fake and on DynamoDB."""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chalicelib.aws.parcel_index import ParcelIndex
from chalicelib.aws.tracking_rows import parcel_in_stream
from chalicelib.aws.tracking_table import TrackingTable
from chalicelib.parcels import Location, ParcelStatus, Update, new_update_id
from tests.contract.conftest import SHARDS, Edges
from tests.fakes import FakeParcelIndex, FakeTrackingTable
from tests.polling import eventually

NOW = 1_795_000_000_000
DAY = 86_400_000
TODAY = NOW // DAY
LEASE = 60_000


@pytest.fixture
def both(side: str, request: pytest.FixtureRequest) -> tuple[TrackingTable, ParcelIndex]:
    if side == "fake":
        tracking = FakeTrackingTable()
        return tracking, FakeParcelIndex(tracking)
    edges: Edges = request.getfixturevalue("edges")
    table = edges.clients.table(edges.tracking_table())
    return TrackingTable(table=table, shards=SHARDS), ParcelIndex(table=table, shards=SHARDS)


@pytest.fixture
def table(both: tuple[TrackingTable, ParcelIndex]) -> TrackingTable:
    return both[0]


def update(status: str = "in_transit", *, at: int = NOW, **changes: Any) -> Update:
    made = Update(
        tracking_id="PX-1",
        update_id=new_update_id(at),
        timestamp=at,
        occurred_at=at,
        status=ParcelStatus(status),
        location=Location(lat=Decimal("40.7128"), lng=Decimal("-74.006")),
    )
    return replace(made, **changes)


def test_an_update_and_its_parcel_come_back_as_they_were_recorded(table: TrackingTable) -> None:
    sent = update(
        "delivered",
        metadata='{"a":1.0,"b":[null,"é"]}',
        image_id="an image",
        notify_email="a@b.example",
        location=Location(
            lat=Decimal("0.12345678901234567890123456789012345678"), lng=Decimal(-180)
        ),
    )
    recorded = table.record(sent, occurred_at=None)
    assert recorded.new
    assert table.history("PX-1", limit=10) == [recorded.update] == [sent]
    parcel = table.get("PX-1")
    assert parcel == recorded.parcel
    assert parcel is not None
    assert (parcel.status, parcel.location, parcel.change_seq) == ("delivered", sent.location, 1)
    assert (parcel.notify_email, parcel.image_id) == ("a@b.example", "an image")


def test_a_parcel_that_was_never_seen_has_nothing(table: TrackingTable) -> None:
    assert table.get("PX-1") is None
    assert table.history("PX-1", limit=10) == []
    table.check()


def test_a_place_that_is_taken_is_left_to_who_has_it(table: TrackingTable) -> None:
    """Defect 52: the second update of a millisecond overwrote the first."""
    stamps = [table.record(update(), occurred_at=None).update.timestamp for _ in range(25)]
    assert stamps[:20] == list(range(NOW, NOW + 20))
    assert len(set(stamps)) == 25
    history = table.history("PX-1", limit=100)
    assert [entry.timestamp for entry in history] == sorted(stamps, reverse=True)
    assert all(entry.occurred_at == entry.timestamp for entry in history)


def test_when_it_happened_stays_where_its_place_does_not(table: TrackingTable) -> None:
    table.record(update(), occurred_at=None)
    recorded = table.record(update(at=NOW), occurred_at=NOW - 7)
    assert (recorded.update.timestamp, recorded.update.occurred_at) == (NOW + 1, NOW - 7)


@pytest.mark.parametrize("taken", [0, 3, 22])
def test_recording_an_update_again_finds_it_and_writes_nothing(
    table: TrackingTable, taken: int
) -> None:
    for _ in range(taken):
        table.record(update(), occurred_at=None)
    sent = update("delivered")
    first = table.record(sent, occurred_at=None)
    later = table.record(update("in_transit", at=NOW + 5000), occurred_at=None)
    again = table.record(sent, occurred_at=None)
    assert (again.update, again.new) == (first.update, False)
    assert again.parcel == later.parcel == table.get("PX-1")
    assert len(table.history("PX-1", limit=100)) == taken + 2


def test_the_parcel_follows_the_order_of_events(table: TrackingTable) -> None:
    for number, (status, happened) in enumerate(
        [("in_transit", 2), ("pending", 1), ("delivered", 3), ("in_transit", 3), ("failed", 0)]
    ):
        table.record(update(status, at=NOW + number * 10), occurred_at=NOW + happened)
    parcel = table.get("PX-1")
    assert parcel is not None
    assert (parcel.status, parcel.occurred_at) == ("delivered", NOW + 3)
    assert (parcel.change_seq, parcel.version) == (2, 5)
    assert parcel.last_update_at == NOW + 40


def test_pages_go_back_from_where_the_last_one_ended(table: TrackingTable) -> None:
    for number in range(7):
        table.record(update(at=NOW + number), occurred_at=None)
        table.record(update(at=NOW + number, tracking_id="other"), occurred_at=None)
    first = table.history("PX-1", limit=3)
    second = table.history("PX-1", limit=3, before=first[-1].timestamp)
    third = table.history("PX-1", limit=3, before=second[-1].timestamp)
    stamps = [entry.timestamp - NOW for entry in [*first, *second, *third]]
    assert stamps == [6, 5, 4, 3, 2, 1, 0]
    assert table.history("PX-1", limit=3, before=NOW) == []


# --- Both sides of the index ------------------------------------------------------------------


def claim(index: ParcelIndex, tracking_id: str = "PX-1", **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "before_ms": NOW + 1,
        "day": TODAY,
        "now_ms": NOW + 2 * DAY,
        "lease_ms": LEASE,
        **changes,
    }
    return index.claim_report(tracking_id, ParcelStatus.IN_TRANSIT, **arguments)


def test_only_parcels_of_the_status_that_were_silent_are_found(
    both: tuple[TrackingTable, ParcelIndex],
) -> None:
    table, index = both
    for name, status, at in (
        ("old", "in_transit", NOW),
        ("older", "in_transit", NOW - 10),
        ("new", "in_transit", NOW + 1),
        ("done", "delivered", NOW - 10),
    ):
        table.record(update(status, at=at, tracking_id=name), occurred_at=None)
    assert set(index.silent(ParcelStatus.IN_TRANSIT, before_ms=NOW + 1)) == {"old", "older"}
    table.record(update("delivered", at=NOW + 5, tracking_id="old"), occurred_at=None)
    assert set(index.silent(ParcelStatus.IN_TRANSIT, before_ms=NOW + 9)) == {"older", "new"}


def test_a_report_is_taken_on_once_until_its_lease_runs_out_and_once_a_day(
    both: tuple[TrackingTable, ParcelIndex],
) -> None:
    table, index = both
    parcel = table.record(update(), occurred_at=None).parcel
    now = NOW + 2 * DAY
    assert claim(index) == parcel
    assert claim(index) is None
    assert claim(index, now_ms=now + LEASE) is None
    assert claim(index, now_ms=now + LEASE + 1) == parcel
    index.settle_report("PX-1", day=TODAY)
    assert claim(index, now_ms=now + 10 * LEASE) is None
    assert claim(index, now_ms=now + 10 * LEASE, day=TODAY + 1) == parcel
    assert table.get("PX-1") == parcel, "a report changes nothing that an update made"


def test_a_report_is_refused_where_the_index_was_behind(
    both: tuple[TrackingTable, ParcelIndex],
) -> None:
    table, index = both
    assert claim(index) is None
    table.record(update("delivered"), occurred_at=None)
    assert claim(index) is None
    table.record(update("in_transit", at=NOW + 5), occurred_at=None)
    assert claim(index) is None
    assert claim(index, before_ms=NOW + 6) is not None


def test_an_update_ends_a_silence_and_its_report(
    both: tuple[TrackingTable, ParcelIndex],
) -> None:
    table, index = both
    table.record(update(), occurred_at=None)
    claim(index)
    index.settle_report("PX-1", day=TODAY)
    table.record(update(at=NOW + 5), occurred_at=None)
    assert claim(index, before_ms=NOW + 6) is not None


# --- DynamoDB alone ---------------------------------------------------------------------------


@pytest.fixture
def real(edges: Edges) -> TrackingTable:
    return TrackingTable(table=edges.clients.table(edges.tracking_table()), shards=SHARDS)


@contextmanager
def overtaken_by(table: TrackingTable, other: Update) -> Iterator[None]:
    """In the block, the other update is recorded between the next one's read and its write."""
    events = table.table.meta.client.meta.events

    def overtake(**_: object) -> None:
        events.unregister("before-call.dynamodb.TransactWriteItems", overtake)
        table.record(other, occurred_at=None)

    events.register("before-call.dynamodb.TransactWriteItems", overtake)
    yield


def test_many_updates_at_once_are_all_kept_and_all_counted(
    real: TrackingTable, edges: Edges
) -> None:
    statuses = itertools.cycle(["pending", "in_transit", "failed", "delivered"])
    # Each has a place of its own, so that only the parcel itself can keep them apart.
    sent = [update(next(statuses), at=NOW + number) for number in range(24)]
    barrier = threading.Barrier(6)

    def record(part: list[Update]) -> None:
        # A client of its own for each thread, as each Lambda function has.
        table = TrackingTable(
            table=edges.table_elsewhere(real.table.name), shards=SHARDS, wait=real.wait
        )
        barrier.wait()
        for each in part:
            table.record(each, occurred_at=None)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(record, [sent[start::6] for start in range(6)]))
    history = real.history("PX-1", limit=100)
    assert {entry.update_id for entry in history} == {each.update_id for each in sent}
    parcel = real.get("PX-1")
    assert parcel is not None
    assert parcel.version == 24
    latest = max(history, key=lambda entry: (entry.occurred_at, entry.status.rank))
    assert (parcel.status, parcel.update_timestamp) == (latest.status, latest.timestamp)


def test_an_update_between_the_read_and_the_write_of_another_is_taken_into_account(
    real: TrackingTable,
) -> None:
    """Without the version the parcel would be written as if nothing had come in between."""
    real.record(update("pending"), occurred_at=None)
    with overtaken_by(real, update("delivered", at=NOW + 100)):
        recorded = real.record(update("in_transit", at=NOW + 50), occurred_at=None)
    assert recorded.new
    parcel = real.get("PX-1")
    assert parcel == recorded.parcel
    assert parcel is not None
    assert (parcel.status, parcel.change_seq, parcel.version) == ("delivered", 2, 3)
    assert len(real.history("PX-1", limit=10)) == 3


def test_the_first_update_of_a_parcel_between_the_read_and_the_write_of_another_is_not_lost(
    real: TrackingTable,
) -> None:
    with overtaken_by(real, update("delivered", at=NOW + 100)):
        real.record(update("in_transit", at=NOW + 50), occurred_at=None)
    parcel = real.get("PX-1")
    assert parcel is not None
    assert (parcel.status, parcel.change_seq, parcel.version) == ("delivered", 1, 2)


def test_a_write_whose_answer_was_lost_is_recognised(real: TrackingTable) -> None:
    """The SDK sends a transaction again under the same token; without one, we find our own row."""
    sent = update("delivered")
    with overtaken_by(real, sent):
        recorded = real.record(sent, occurred_at=None)
    assert not recorded.new
    assert len(real.history("PX-1", limit=10)) == 1
    assert recorded.parcel.version == 1


def test_silent_parcels_are_read_page_by_page_to_the_end(
    real: TrackingTable,
) -> None:
    """A page of an index's query is 1 MB; here it is made as short as one entry."""
    names = {f"P{number}" for number in range(40)}
    for name in names:
        real.record(update(tracking_id=name), occurred_at=None)
    pages: list[int] = []

    def shorten(params: dict[str, Any], **_: object) -> None:
        params["Limit"] = 3
        pages.append(1)

    events = real.table.meta.client.meta.events
    events.register("provide-client-params.dynamodb.Query", shorten)
    try:
        index = ParcelIndex(table=real.table, shards=SHARDS)
        found = list(index.silent(ParcelStatus.IN_TRANSIT, before_ms=NOW + 1))
    finally:
        events.unregister("provide-client-params.dynamodb.Query", shorten)
    assert sorted(found) == sorted(names)
    assert len(pages) > 40 / 3


def test_the_stream_tells_a_change_of_status_from_everything_else(
    real: TrackingTable, edges: Edges
) -> None:
    """What `notify` goes by: the parcel's own item, with a higher ``change_seq`` than before."""
    index = ParcelIndex(table=real.table, shards=SHARDS)
    real.record(update("in_transit"), occurred_at=None)
    real.record(update("in_transit", at=NOW + 1), occurred_at=None)
    claim(index, before_ms=NOW + 9)
    index.settle_report("PX-1", day=TODAY)
    real.record(update("pending", at=NOW + 2), occurred_at=NOW - 1)
    real.record(update("delivered", at=NOW + 3), occurred_at=None)

    def changes() -> list[tuple[int | None, int]] | None:
        streams = edges.admin("dynamodbstreams")
        arn = real.table.meta.client.describe_table(TableName=real.table.name)["Table"][
            "LatestStreamArn"
        ]
        records: list[Any] = []
        for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
            iterator = streams.get_shard_iterator(
                StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            records += streams.get_records(ShardIterator=iterator)["Records"]
        seen = []
        for record in records:
            new = parcel_in_stream(record["dynamodb"].get("NewImage"))
            old = parcel_in_stream(record["dynamodb"].get("OldImage"))
            if new is not None and (old is None or new.change_seq > old.change_seq):
                seen.append((None if old is None else old.change_seq, new.change_seq))
        return seen if len(records) >= 10 else None

    assert eventually(changes, seconds=30, what="the stream has all records") == [(None, 1), (1, 2)]
