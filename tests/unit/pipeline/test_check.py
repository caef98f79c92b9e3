import pytest

from chalicelib.aws.check_log import Heartbeat
from chalicelib.errors import ServiceUnavailable
from chalicelib.images import Image
from chalicelib.pipeline.check import Check, CheckFailed, Part, Round
from tests.fakes import Crash, FakeCheckLog, crash, unavailable


class Clock:
    """Advances only when it is told to."""

    def __init__(self) -> None:
        self.ms = 1_795_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def log() -> FakeCheckLog:
    return FakeCheckLog()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def check(log: FakeCheckLog, clock: Clock, **parts: Part) -> Check:
    return Check(parts=parts, log=log, seconds=40, now_ms=clock)


def test_every_part_is_done_whatever_becomes_of_the_others(log: FakeCheckLog, clock: Clock) -> None:
    done: list[str] = []

    def broken(_: Round) -> None:
        done.append("broken")
        raise ServiceUnavailable("made to fail")

    with pytest.raises(CheckFailed, match="not done: broken"):
        check(
            log, clock, broken=broken, a=lambda _: done.append("a"), b=lambda _: done.append("b")
        )()
    assert done == ["broken", "a", "b"]
    assert log.known is not None
    assert log.known.not_done == ("broken",)


def test_a_run_is_recorded_with_what_it_found(
    log: FakeCheckLog, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    def part(this: Round) -> None:
        this.count("cats")
        this.count("cats", 2)
        clock.ms += 1500

    check(log, clock, part=part)()
    assert log.known == Heartbeat(at_ms=clock.ms, took_ms=1500, found={"cats": 3})
    assert '"Heartbeat":[1.0]' in capsys.readouterr().out


def test_a_run_that_dies_leaves_no_heartbeat(log: FakeCheckLog, clock: Clock) -> None:
    def dies(_: Round) -> None:
        crash()

    with pytest.raises(Crash):
        check(log, clock, dies=dies)()
    assert log.known is None


def test_a_run_that_cannot_be_recorded_fails(log: FakeCheckLog, clock: Clock) -> None:
    log.trail.at_next("check_log.write", "before", unavailable)
    with pytest.raises(ServiceUnavailable):
        check(log, clock)()


def test_a_run_that_cannot_learn_where_the_last_one_stopped_begins_anew(
    log: FakeCheckLog, clock: Clock
) -> None:
    log.known = Heartbeat(at_ms=1, took_ms=1, places={"list": "7"})
    log.trail.at_next("check_log.last", "before", unavailable)
    seen = walk(log, clock, pages=2)
    assert seen == [None, "1"]


def walk(log: FakeCheckLog, clock: Clock, *, pages: int, page_ms: int = 0) -> list[str | None]:
    """Run a check that goes through a list; the places that it read from."""
    places: list[str | None] = []

    def read(after: str | None) -> tuple[list[Image], str | None]:
        places.append(after)
        clock.ms += page_ms
        number = int(after or "0") + 1
        return [], None if number == pages else str(number)

    def part(this: Round) -> None:
        for page in this.pages("list", read):
            assert page == []

    check(log, clock, part=part)()
    return places


def test_a_run_out_of_time_stops_and_the_next_goes_on_there(
    log: FakeCheckLog, clock: Clock
) -> None:
    first = walk(log, clock, pages=6, page_ms=15_000)
    assert first == [None, "1", "2"]
    assert walk(log, clock, pages=6, page_ms=15_000) == ["3", "4", "5"]
    assert log.known is not None
    assert log.known.places == {}
    assert walk(log, clock, pages=1) == [None], "and then it begins again"


def test_a_part_that_takes_long_leaves_time_to_the_others(log: FakeCheckLog, clock: Clock) -> None:
    left: list[int] = []

    def greedy(this: Round) -> None:
        clock.ms = this.deadline_ms

    def last(this: Round) -> None:
        left.append(this.deadline_ms - clock.ms)

    check(log, clock, a=greedy, b=greedy, c=greedy, last=last)()
    assert left == [10_000]
