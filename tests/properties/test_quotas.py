"""Callers who come together, in any order, with any faults: none gets more than its quota."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import InvalidRequest, QuotaExceeded
from tests.fakes import Crash, FakeQuotaTable, crash, unavailable
from tests.unit.pipeline.world import quota_of

SECONDS = 60
requests = st.tuples(
    st.sampled_from(["ann", "bob"]), st.integers(1, 4), st.integers(0, 30), st.integers(0, 2)
)


@given(st.integers(1, 6), st.lists(requests, max_size=40))
def test_no_caller_gets_more_than_its_quota_in_any_window(
    limit: int, asked: Sequence[tuple[str, int, int, int]]
) -> None:
    """Three processes share the table; time passes between the requests."""
    table, now = FakeQuotaTable(), [0]
    processes = [quota_of(table, limit, seconds=SECONDS, clock=lambda: now[0]) for _ in range(3)]
    got: Counter[tuple[str, int]] = Counter()
    for caller, cost, later, process in asked:
        now[0] += later
        window = (caller, now[0] // SECONDS)
        charge = partial(processes[process].charge, caller, cost)
        if cost > limit:
            with pytest.raises(InvalidRequest):
                charge()
        elif got[window] + cost > limit:
            with pytest.raises(QuotaExceeded) as caught:
                charge()
            # Neither too early nor too late.
            assert (now[0] + int(caught.value.headers["Retry-After"])) % SECONDS == 0
        else:
            charge()
            got[window] += cost


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["", "away", "lost", "dies"]))),
)
def test_a_fault_gives_a_process_no_more_than_one_quota_of_its_own(
    limit: int, asked: Sequence[tuple[int, str]]
) -> None:
    table = FakeQuotaTable()
    processes = [quota_of(table, limit, seconds=SECONDS, clock=lambda: 0) for _ in range(2)]
    got = 0
    for process, fault in asked:
        if fault == "away":
            table.trail.at_next("quota.spend", "before", unavailable)
        elif fault:
            table.trail.at_next("quota.spend", "after", crash if fault == "dies" else unavailable)
        try:
            processes[process].charge("ann")
        except (QuotaExceeded, Crash):
            continue
        got += 1
    assert sum(table.used.values()) <= limit
    assert got <= limit * (1 + len(processes))
