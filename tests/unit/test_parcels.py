from dataclasses import replace
from decimal import Decimal

import pytest

from chalicelib.parcels import (
    Location,
    Parcel,
    ParcelStatus,
    Update,
    change_id,
    distance_m,
    new_update_id,
    part_of,
    received_at,
    shard_of,
    taken_in,
)

HERE = Location(lat=Decimal("40.7128"), lng=Decimal("-74.006"))
THERE = Location(lat=Decimal("51.5074"), lng=Decimal("-0.1278"))
T = 1_795_000_000_000


def update(
    status: str, occurred_at: int, *, timestamp: int | None = None, **more: object
) -> Update:
    made = Update(
        tracking_id="P",
        update_id=f"{status}-{occurred_at}",
        timestamp=occurred_at if timestamp is None else timestamp,
        occurred_at=occurred_at,
        status=ParcelStatus(status),
        location=HERE,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def after(*updates: Update) -> Parcel:
    parcel: Parcel | None = None
    for each in updates:
        parcel = taken_in(parcel, each)
    assert parcel is not None
    return parcel


def test_the_first_update_says_how_the_parcel_stands() -> None:
    parcel = after(update("pending", T, notify_email="a@b.test", image_id="i"))
    assert parcel == Parcel(
        tracking_id="P",
        status=ParcelStatus.PENDING,
        location=HERE,
        occurred_at=T,
        update_timestamp=T,
        status_changed_at=T,
        change_seq=1,
        version=1,
        last_update_at=T,
        notify_email="a@b.test",
        notify_email_at=T,
        image_id="i",
        image_at=T,
    )
    assert change_id(parcel) == "P#1"


def test_an_update_that_happened_later_moves_the_parcel_on() -> None:
    parcel = after(update("pending", T), update("in_transit", T + 1, location=THERE))
    assert (parcel.status, parcel.location) == (ParcelStatus.IN_TRANSIT, THERE)
    assert (parcel.occurred_at, parcel.status_changed_at, parcel.change_seq) == (T + 1, T + 1, 2)


@pytest.mark.parametrize("late", ["pending", "in_transit", "failed", "delivered"])
@pytest.mark.parametrize("now", ["pending", "in_transit", "failed", "delivered"])
def test_a_late_message_never_turns_a_status_back(now: str, late: str) -> None:
    """Defect 55, and what users of such systems complain of: delivered turned back."""
    before = after(update(now, T))
    parcel = after(update(now, T), update(late, T - 1, timestamp=T + 5, location=THERE))
    assert parcel == replace(before, version=2, last_update_at=T + 5)


@pytest.mark.parametrize("final", ["delivered", "failed"])
@pytest.mark.parametrize("open_", ["pending", "in_transit"])
def test_what_is_final_is_reopened_by_a_later_event_alone(final: str, open_: str) -> None:
    assert after(update(final, T), update(open_, T - 1)).status == final
    assert after(update(final, T), update(open_, T)).status == final
    reopened = after(update(final, T), update(open_, T + 1))
    assert (reopened.status, reopened.change_seq) == (open_, 2)


def test_at_the_same_time_the_status_that_is_further_along_counts() -> None:
    order = ["pending", "in_transit", "failed", "delivered"]
    for lower in order:
        for higher in order[order.index(lower) :]:
            for first, second in ((lower, higher), (higher, lower)):
                assert after(update(first, T), update(second, T)).status == higher


def test_repeating_a_status_moves_the_place_and_changes_nothing_else() -> None:
    parcel = after(update("in_transit", T), update("in_transit", T + 9, location=THERE))
    assert (parcel.location, parcel.occurred_at) == (THERE, T + 9)
    assert (parcel.status_changed_at, parcel.change_seq) == (T, 1)


def test_every_return_to_a_status_is_a_change_of_its_own() -> None:
    names = [
        change_id(after(*[update(s, T + n) for n, s in enumerate(seen)]))
        for seen in (["failed"], ["failed", "in_transit"], ["failed", "in_transit", "failed"])
    ]
    assert names == ["P#1", "P#2", "P#3"]


def test_the_address_and_the_photo_are_those_given_last_in_the_order_of_events() -> None:
    parcel = after(
        update("pending", T, notify_email="old@b.test"),
        update("in_transit", T + 2, notify_email="new@b.test", image_id="new"),
        update("in_transit", T + 1, notify_email="late@b.test", image_id="late"),
        update("delivered", T + 3),
    )
    assert (parcel.notify_email, parcel.notify_email_at) == ("new@b.test", T + 2)
    assert (parcel.image_id, parcel.image_at) == ("new", T + 2)


def test_a_late_update_may_still_be_the_first_to_give_an_address() -> None:
    parcel = after(update("in_transit", T), update("pending", T - 1, notify_email="a@b.test"))
    assert (parcel.status, parcel.notify_email) == (ParcelStatus.IN_TRANSIT, "a@b.test")


def test_the_time_of_a_request_stands_in_its_id() -> None:
    ids = {new_update_id(T) for _ in range(100)}
    assert len(ids) == 100
    assert {received_at(update_id) for update_id in ids} == {T}


def test_the_parts_of_a_request_are_a_millisecond_apart_and_always_the_same() -> None:
    whole = new_update_id(T)
    parts = [part_of(whole, number) for number in range(3)]
    assert [received_at(part) for part in parts] == [T, T + 1, T + 2]
    assert parts == [part_of(whole, number) for number in range(3)]
    assert len({whole, *parts}) == 4


@pytest.mark.parametrize(
    ("one", "other", "metres"),
    [
        (("0", "0"), ("0", "0"), 0),
        # A quarter of a great circle of the mean radius, and half of one.
        (("0", "0"), ("0", "90"), 10_007_557),
        (("90", "0"), ("-90", "0"), 20_015_115),
        (("0", "-179.5"), ("0", "179.5"), 111_195),
        (("51.5007", "-0.1246"), ("40.6892", "-74.0445"), 5_574_840),
        (("52.0000000", "4.0000000"), ("52.0000001", "4.0000000"), 0.011119),
    ],
)
def test_the_distance_is_that_along_the_surface(
    one: tuple[str, str], other: tuple[str, str], metres: float
) -> None:
    a, b = (Location(lat=Decimal(lat), lng=Decimal(lng)) for lat, lng in (one, other))
    assert distance_m(a, b) == pytest.approx(metres, rel=1e-3)
    assert distance_m(a, b) == pytest.approx(distance_m(b, a))


def test_parcels_are_spread_over_all_shards() -> None:
    assert {shard_of(f"P{number}", 4) for number in range(100)} == {0, 1, 2, 3}
