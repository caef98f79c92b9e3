from collections.abc import Callable, Mapping
from typing import Any

import pytest

from chalicelib.api.health import CheckFacts, HealthApi, QueueFacts
from chalicelib.aws.check_log import Heartbeat
from chalicelib.errors import ServiceUnavailable
from tests.fakes import FakeCheckLog, FakeQueue

type Check = Callable[[], Mapping[str, Any] | None]


def well() -> None:
    return None


def waiting() -> Mapping[str, Any]:
    return {"waiting": 3}


def down() -> None:
    raise ServiceUnavailable("table darkroom-prod-images throttled")


def test_where_all_is_well_the_answer_is_200_with_every_check() -> None:
    answer = HealthApi(checks={"images_table": well, "queue": waiting}).get()
    assert answer.status == 200
    assert answer.body == {
        "status": "ok",
        "checks": {"images_table": {"status": "ok"}, "queue": {"status": "ok", "waiting": 3}},
    }


@pytest.mark.parametrize(
    ("checks", "failing"),
    [
        ({"table": down, "bucket": well}, ["table"]),
        ({"table": well, "bucket": down}, ["bucket"]),
        ({"table": down, "bucket": down}, ["table", "bucket"]),
    ],
)
def test_what_is_down_is_named_and_the_rest_is_still_asked(
    checks: Mapping[str, Check], failing: list[str]
) -> None:
    answer = HealthApi(checks=checks).get()
    assert answer.status == 503
    assert answer.body["status"] == "degraded"
    assert answer.body["failing"] == failing
    assert set(answer.body["checks"]) == {"table", "bucket"}
    for name, result in answer.body["checks"].items():
        assert result["status"] == ("failing" if name in failing else "ok")


def test_why_something_is_down_stays_inside() -> None:
    assert "darkroom-prod" not in HealthApi(checks={"table": down}).get().text()


def test_every_request_asks_anew() -> None:
    asked: list[int] = []
    api = HealthApi(checks={"table": lambda: asked.append(1)})
    api.get()
    api.get()
    assert len(asked) == 2


def test_a_queue_is_shown_with_what_waits_is_worked_on_and_was_given_up() -> None:
    queue, letters = FakeQueue(), FakeQueue()
    for body in ("one", "two", "three"):
        queue.send(body)
    queue.receive(1)
    letters.send("dead")
    assert QueueFacts(queue=queue, dead_letters=letters)() == {
        "waiting": 2,
        "in_flight": 1,
        "dead_letters": 1,
    }


def check_facts(
    heartbeat: Heartbeat | None, *, now_ms: int, overdue_after: int | None = 3
) -> Mapping[str, Any]:
    log = FakeCheckLog()
    log.known = heartbeat
    return CheckFacts(log=log, overdue_after=overdue_after, now_ms=lambda: now_ms)()


RAN = Heartbeat(at_ms=1_795_000_000_000, took_ms=31, found={"requeued_queued": 2})


def test_the_check_is_shown_with_what_it_found() -> None:
    assert check_facts(RAN, now_ms=RAN.at_ms + 900_000) == {
        "last_run": 1_795_000_000,
        "took_ms": 31,
        "found": {"requeued_queued": 2},
    }


def test_the_parts_of_the_check_that_failed_are_named() -> None:
    ran = Heartbeat(at_ms=5, took_ms=1, not_done=("stuck_parcels",))
    assert check_facts(ran, now_ms=6)["not_done"] == ["stuck_parcels"]


def test_a_check_that_has_not_run_for_three_intervals_is_failing() -> None:
    facts = check_facts(RAN, now_ms=RAN.at_ms + 900_001)
    answer = HealthApi(checks={"check": lambda: facts}).get()
    assert (answer.status, answer.body["failing"]) == (503, ["check"])
    assert answer.body["checks"]["check"]["last_run"] == 1_795_000_000


def test_a_new_stack_is_well_and_so_is_one_that_sleeps() -> None:
    assert check_facts(None, now_ms=RAN.at_ms) == {"last_run": None}
    assert "status" not in check_facts(RAN, now_ms=RAN.at_ms * 2, overdue_after=None)
