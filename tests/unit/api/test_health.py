from collections.abc import Callable, Mapping
from typing import Any

import pytest

from chalicelib.api.health import HealthApi
from chalicelib.errors import ServiceUnavailable

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
