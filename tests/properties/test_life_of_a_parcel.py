"""Parcels under any updates in any order."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.api import exact
from chalicelib.aws.tracking_rows import item_of_parcel, item_of_update, parcel_of, update_of
from chalicelib.parcels import Location, Parcel, ParcelStatus, Update, taken_in
from tests.unit.tracking_world import NOW, PARCEL, UPDATE, TrackingWorld, asked

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
degrees = st.decimals(-90, 90, allow_nan=False).filter(exact.is_storable)
places = st.builds(Location, lat=degrees, lng=degrees)
statuses = st.sampled_from(ParcelStatus)
# Few times, so that updates meet at one of them.
times = st.integers(NOW, NOW + 5)
updates = st.builds(
    Update,
    tracking_id=st.just(PARCEL),
    update_id=texts,
    timestamp=st.integers(NOW, NOW + 100),
    occurred_at=times,
    status=statuses,
    location=places,
    metadata=st.none() | texts,
    image_id=st.none() | texts,
    notify_email=st.none() | texts,
)
histories = st.lists(updates, min_size=1, max_size=8)


def states(history: Sequence[Update]) -> list[Parcel]:
    """How a parcel stands after each of its updates."""
    parcel: Parcel | None = None
    made = []
    for update in history:
        parcel = taken_in(parcel, update)
        made.append(parcel)
    return made


@given(histories, st.randoms())
def test_the_same_updates_in_any_order_give_the_same_current_status(
    history: list[Update], random: object
) -> None:
    shuffled = list(history)
    random.shuffle(shuffled)  # type: ignore[attr-defined] # hypothesis' own Random
    one, other = states(history)[-1], states(shuffled)[-1]
    assert (one.status, one.occurred_at) == (other.status, other.occurred_at)
    assert one.last_update_at == other.last_update_at
    latest = max((update.occurred_at, update.status.rank) for update in history)
    assert (one.occurred_at, one.status.rank) == latest


@given(histories)
def test_whatever_comes_late_the_current_status_never_goes_back(history: list[Update]) -> None:
    for before, after in pairwise(states(history)):
        assert after.occurred_at >= before.occurred_at
        if after.status is not before.status:
            assert after.change_seq == before.change_seq + 1
            assert after.occurred_at > before.occurred_at or after.status.rank > before.status.rank
            if before.status.final and not after.status.final:
                assert after.occurred_at > before.occurred_at
        else:
            assert after.change_seq == before.change_seq


@given(histories)
def test_an_update_that_is_taken_in_twice_changes_nothing_the_second_time(
    history: list[Update],
) -> None:
    last = states(history)[-1]
    for update in history:
        again = taken_in(last, update)
        assert (again.status, again.change_seq) == (last.status, last.change_seq)


@given(updates)
def test_an_update_and_a_parcel_are_kept_as_they_are(update: Update) -> None:
    assert update_of(item_of_update(update)) == update
    parcel = taken_in(None, update)
    assert parcel_of(item_of_parcel(parcel, shards=4)) == parcel


@given(st.lists(statuses, min_size=1, max_size=30), st.integers(1, 12), st.data())
def test_pages_are_complete_without_gaps_or_duplicates(
    sent: list[ParcelStatus], limit: int, data: st.DataObject
) -> None:
    world = TrackingWorld()
    stamps = []
    for status in sent:
        world.now += data.draw(st.integers(0, 2))
        stamps.append(world.update(status)["timestamp"])
    seen: list[int] = []
    query = {"limit": str(limit)}
    while True:
        page = world.status(**query)
        assert page["count"] == len(page["updates"]) <= limit
        seen += [update["timestamp"] for update in page["updates"]]
        if page["next_key"] is None:
            break
        query["last_key"] = page["next_key"]
    assert seen == sorted(stamps, reverse=True)
    assert len(set(seen)) == len(sent)


@given(degrees, degrees, st.dictionaries(texts, degrees | st.integers(), max_size=5))
def test_numbers_make_the_round_trip(
    lat: Decimal, lng: Decimal, metadata: dict[str, Decimal | int]
) -> None:
    metadata = {name: value for name, value in metadata.items() if exact.is_storable(value)}
    body = {**UPDATE, "location": {"lat": lat, "lng": lng}, "metadata": metadata}
    world = TrackingWorld()
    if len(exact.write(metadata).encode()) > 2048:
        return
    world.send(exact.write(body).encode())
    shown = exact.read(world.api.status(asked(tracking_id=PARCEL)).text())["updates"][0]
    assert shown["location"] == {"lat": lat, "lng": lng}
    assert exact.write(shown["metadata"]) == exact.write(metadata)


@given(st.permutations([("pending", 1), ("in_transit", 2), ("delivered", 3), ("in_transit", 0)]))
def test_however_its_life_arrives_the_parcel_ends_delivered(
    order: list[tuple[str, int]],
) -> None:
    world = TrackingWorld()
    for status, at in order:
        world.update(status, occurred_at=NOW - 10 + at)
    assert world.status()["current"]["status"] == "delivered"
    assert world.status()["count"] == 4
    changes = [change.change_seq for change in world.tracking.changes]
    assert changes == sorted(changes)
    assert world.parcel().status is ParcelStatus.DELIVERED
