"""Who is killed, and in which order: the crash-test without its stage."""

import time
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.crash import TRIES, Series, Trap, Traps, take_turns
from tests.chaos.proxy import Act, Call


def call(operation: str, text: str = "", *, pid: int = 1, function: str = "Infer") -> Call:
    return Call(function=function, operation=operation, pid=pid, text=text)


def trap(name: str, point: str | None = None, **more: Any) -> Trap:
    return Trap(names=(name,), function="Infer", point=point, act=Act.KILL_BEFORE, **more)


def set_all(*all_of_them: Trap) -> Traps:
    traps = Traps()
    for one in all_of_them:
        traps.set(one)
    return traps


def test_whoever_makes_the_call_for_the_image_is_killed_once() -> None:
    done: list[str] = []
    mine = trap("a", "GetItem 2", before=lambda: done.append("before"))
    mine.first = lambda: done.append("first")
    traps = set_all(mine)
    acts = [
        traps.judge(call("GetItem", "b")),
        traps.judge(call("GetItem", "a", function="Mail")),
        traps.judge(call("GetItem", "a")),
        # Another process counts for itself.
        traps.judge(call("GetItem", "a", pid=2)),
        traps.judge(call("GetItem", "a")),
        traps.judge(call("GetItem", "a")),
    ]
    assert acts == [Act.PASS] * 4 + [Act.KILL_BEFORE, Act.PASS]
    assert done == ["first", "before"]
    assert mine.fired.is_set()
    assert mine.seen["Infer"] == ["GetItem", "GetItem 2"]


def test_a_call_that_names_nobody_is_about_whom_its_process_last_named() -> None:
    old, new = trap("old", "PUT results"), trap("new", "PUT results")
    traps = set_all(old, new)
    traps.judge(call("UpdateItem", "old"))
    assert traps.judge(call("PUT results")) is Act.KILL_BEFORE
    assert (old.fired.is_set(), new.fired.is_set()) == (True, False)
    # What goes on about one that is over is not taken for another one's.
    assert traps.judge(call("PUT results")) is Act.PASS


def test_what_a_process_asks_before_it_names_anybody_is_about_the_last_that_was_set() -> None:
    old, new = trap("old", "GetParameter"), trap("new", "GetParameter")
    traps = set_all(old, new)
    assert traps.judge(call("GetParameter", pid=7)) is Act.KILL_BEFORE
    assert (old.fired.is_set(), new.fired.is_set()) == (False, True)


def test_a_scout_sees_the_calls_of_all_functions_and_kills_nobody() -> None:
    scout = Trap(names=("a",))
    traps = set_all(scout)
    assert traps.judge(call("GetItem", "a")) is Act.PASS
    assert traps.judge(call("POST email", "a", function="Mail")) is Act.PASS
    assert dict(scout.seen) == {"Infer": ["GetItem"], "Mail": ["POST email"]}


@dataclass
class FakeRun:
    """Kills at each call at the first try, but for those that never come."""

    deadline: float
    absent: str = ""
    order: list[str] = field(default_factory=list)

    def kill(self, series: Series) -> None:
        point = series.open[0]
        series.tries[point] += 1
        self.order.append(series.path)
        if point != self.absent:
            series.killed.append(point)


def series(path: str, *calls: str) -> Series:
    one = Series(path=path, function="Infer", act=Act.KILL_AFTER)
    one.saw(calls)
    return one


def turns(wanted: list[Series], *, seconds: float = 60, absent: str = "") -> list[str]:
    run: Any = FakeRun(time.monotonic() + seconds, absent)
    take_turns(run, wanted, lanes=1)
    order: list[str] = run.order
    return order


def test_the_series_take_turns_so_that_a_short_one_is_not_behind_a_long_one() -> None:
    wanted = [series("long", "1", "2", "3"), series("short", "1"), series("other", "1", "2")]
    assert turns(wanted) == ["long", "short", "other", "long", "other", "long"]
    assert [one.missing for one in wanted] == [[], [], []]


def test_a_call_that_never_comes_is_given_up_and_missing() -> None:
    wanted = [series("one", "1", "2")]
    assert len(turns(wanted, absent="2")) == 1 + TRIES
    assert wanted[0].missing == ["2"]


def test_what_there_is_no_time_for_is_missing() -> None:
    wanted = [series("one", "1")]
    assert turns(wanted, seconds=-1) == []
    assert wanted[0].missing == ["1"]


def test_what_only_one_of_two_scouts_saw_is_tried_and_not_demanded() -> None:
    one = series("one", "1", "2", "3")
    one.saw(["1", "3", "4"])
    assert one.certain == {"1", "3"}
    assert set(turns([one], absent="2")) == {"one"}
    assert (one.killed, one.missing, one.chances) == (["1", "3", "4"], [], ["2"])
