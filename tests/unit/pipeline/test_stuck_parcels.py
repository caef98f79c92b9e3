from collections.abc import Callable
from contextlib import suppress

import pytest

from chalicelib.errors import ServiceUnavailable
from chalicelib.flags import Config
from tests.fakes import Crash, Phase, crash, unavailable
from tests.unit.tracking_world import NOW, TrackingWorld

DAY = 86_400_000


@pytest.fixture
def world() -> TrackingWorld:
    return stuck_world()


def stuck_world() -> TrackingWorld:
    """One parcel that nothing was heard of for three days; two days are the limit."""
    world = TrackingWorld()
    world.config = Config(stuck_parcel_days=2)
    world.update(tracking_id="stuck")
    world.now += 3 * DAY
    return world


def reported(world: TrackingWorld) -> list[str]:
    return [detail["event_id"] for _, detail in world.bus.published]


def test_a_parcel_in_transit_without_an_update_for_days_is_reported(world: TrackingWorld) -> None:
    world.stuck_parcels()
    assert world.bus.published == [
        (
            "Parcel Stuck",
            {
                "event_id": f"stuck#{(NOW + 3 * DAY) // DAY}",
                "tracking_id": "stuck",
                "status": "in_transit",
                "last_update_at": NOW,
                "stuck_parcel_days": 2,
            },
        )
    ]


def test_it_is_off_by_default(world: TrackingWorld) -> None:
    world.config = Config()
    world.trail.calls.clear()
    world.stuck_parcels()
    assert (world.trail.calls, world.bus.published) == ([], [])


@pytest.mark.parametrize("status", ["pending", "delivered", "failed"])
def test_a_parcel_that_is_not_in_transit_is_not(world: TrackingWorld, status: str) -> None:
    world.update(status, tracking_id="stuck")
    world.now += 9 * DAY
    world.stuck_parcels()
    assert reported(world) == []


def test_any_update_counts_as_a_sign_of_life_even_a_late_one(world: TrackingWorld) -> None:
    world.update("pending", tracking_id="stuck", occurred_at=NOW - 1)
    assert world.parcel("stuck").status == "in_transit"
    world.now += 2 * DAY
    world.stuck_parcels()
    assert reported(world) == []
    world.now += 1
    world.stuck_parcels()
    assert len(reported(world)) == 1


def test_it_is_reported_once_a_day_however_often_it_is_looked_at(world: TrackingWorld) -> None:
    for _ in range(3):
        for _ in range(20):
            world.stuck_parcels()
            world.now += 300_000
        world.now += DAY - 20 * 300_000
    assert len(reported(world)) == len(set(reported(world))) == 3


def test_two_checks_at_once_report_it_once(world: TrackingWorld) -> None:
    world.trail.at_next("bus.publish", "before", world.stuck_parcels)
    world.stuck_parcels()
    assert len(reported(world)) == 1


def test_a_parcel_that_moved_on_while_it_was_looked_at_is_left_alone(
    world: TrackingWorld,
) -> None:
    world.trail.at_next("parcels.silent", "after", lambda: world.update(tracking_id="stuck"))
    world.stuck_parcels()
    assert reported(world) == []


@pytest.mark.parametrize("fault", [unavailable, crash])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_check_that_breaks_off_anywhere_is_made_good_by_the_next(
    fault: Callable[[], None], phase: Phase
) -> None:
    for number in range(10):
        world = stuck_world()
        world.trail.at(len(world.trail.calls) + number, phase, fault)
        with suppress(ServiceUnavailable, Crash):
            world.stuck_parcels()
        if not world.trail.fired:
            assert number == 4
            return
        for _ in range(3):
            world.now += 300_000
            world.stuck_parcels()
        # Between the event and the mark after it, exactly once is impossible: same id, twice.
        in_the_window = (number, phase) in {(2, "after"), (3, "before")}
        assert len(reported(world)) == 1 + in_the_window
        assert len(set(reported(world))) == 1
    raise AssertionError("the check never ends")
