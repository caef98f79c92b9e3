"""``POST /track`` with a fault at every single call to AWS, then sent again.

The boundaries are enumerated, as for images: the n-th call fails, or its process dies, before or
after the call took effect.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.errors import ServiceUnavailable
from chalicelib.flags import Flags
from chalicelib.images import new_image_id
from tests.fakes import Crash, Phase, crash, unavailable
from tests.unit.tracking_world import NOW, PARCEL, UPDATE, TrackingWorld

FAULTS = pytest.mark.parametrize("fault", [unavailable, crash], ids=["unavailable", "crash"])
PHASES = pytest.mark.parametrize("phase", ["before", "after"])


def send_until_answered(world: TrackingWorld, body: Any) -> Any:
    """As a client does that was told nothing, or to come again: the same request, later."""
    for _ in range(3):
        try:
            return json.loads(world.send(body, key="k").text())
        except (ServiceUnavailable, Crash):
            world.now += 60_000
            for claim in world.claims.claims.values():
                claim.lease_until = 0
    raise AssertionError("the request is never answered")


@FAULTS
@PHASES
def test_a_fault_at_any_call_and_a_second_try_make_one_update(
    fault: Callable[[], None], phase: Phase
) -> None:
    for number in range(30):
        world = TrackingWorld()
        world.flags = Flags(enhanced_tracking=True)
        image = world.photo(new_image_id(), completed=True)
        # Its first place is taken, so that the walk to the next one is broken off as well.
        world.update("pending")
        before = len(world.trail.calls)
        world.trail.at(before + number, phase, fault)
        body = {**UPDATE, "status": "delivered", "image_id": image.image_id}
        answer = send_until_answered(world, body)
        assert [update.status for update in world.history()] == ["pending", "delivered"]
        assert answer["timestamp"] in world.tracking.updates[PARCEL]
        parcel = world.parcel()
        assert (parcel.status, parcel.change_seq, parcel.version) == ("delivered", 2, 2)
        assert parcel.update_timestamp == answer["timestamp"]
        assert parcel.image_id == image.image_id
        changes = [change.change_seq for change in world.tracking.changes]
        assert changes == [1, 2], "each change of status is written once"
        if not world.trail.fired:
            assert number >= 8
            return
        again = world.send(body, key="k")
        assert (json.loads(again.text()), again.headers["Idempotent-Replayed"]) == (answer, "true")
    raise AssertionError("a request never ends")


@FAULTS
@PHASES
def test_a_fault_at_any_call_of_a_batch_and_a_second_try_make_one_update_each(
    fault: Callable[[], None], phase: Phase
) -> None:
    body = {
        "updates": [
            {**UPDATE, "status": status, "tracking_id": name}
            for name, status in (("A", "pending"), ("B", "pending"), ("A", "delivered"))
        ]
    }
    for number in range(30):
        world = TrackingWorld()
        world.flags = Flags(batch_processing=True)
        world.trail.at(number, phase, fault)
        answer = send_until_answered(world, body)
        assert [result["status"] for result in answer["results"]] == [200, 200, 200]
        assert [update.status for update in world.history("A")] == ["pending", "delivered"]
        assert [update.status for update in world.history("B")] == ["pending"]
        assert (world.parcel("A").status, world.parcel("A").change_seq) == ("delivered", 2)
        if not world.trail.fired:
            assert number >= 8
            return
    raise AssertionError("a request never ends")


@pytest.mark.parametrize("call", ["tracking.get", "tracking.write", "tracking.update_at"])
@PHASES
def test_another_update_at_any_moment_is_kept_as_well_and_the_later_one_counts(
    call: str, phase: Phase
) -> None:
    """Both read the parcel; the write of one is between the other's read and write."""
    world = TrackingWorld()
    world.update("pending")
    world.trail.at_next(call, phase, lambda: world.update("delivered", occurred_at=NOW + 100))
    world.update("in_transit", occurred_at=NOW + 50)
    assert len(world.history()) == 3, "the other one came between"
    parcel = world.parcel()
    assert (parcel.status, parcel.version) == ("delivered", 3)
    assert parcel.change_seq in (2, 3)


def test_where_others_always_come_first_the_client_is_told_to_come_again() -> None:
    world = TrackingWorld()
    refused: list[str] = []

    def overtake() -> None:
        refused.append("once more")
        world.trail.at_next("tracking.write", "before", overtake)
        parcel = world.parcel()
        world.tracking.parcels[PARCEL] = replace(parcel, version=parcel.version + 1)

    world.update("pending")
    world.trail.at_next("tracking.write", "before", overtake)
    with pytest.raises(ServiceUnavailable, match="too many updates"):
        world.update("in_transit")
    assert len(refused) == 40
    assert len(world.history()) == 1
