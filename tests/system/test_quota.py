"""A quota on the local stack: callers at once, over HTTP."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest

from local.api import api_process
from local.aws import wait_until_answering
from tests.conftest import Deployed, free_port

QUOTA = 5


@pytest.fixture(scope="module")
def limited(deployed: Deployed) -> Iterator[httpx.Client]:
    """Another API of the same stack, with a quota."""
    places = replace(deployed.places, port=free_port())
    process = api_process(places)
    process = replace(
        process,
        # Long enough that no test is at the end of one.
        environ={**process.environ, "QUOTA_REQUESTS": str(QUOTA), "QUOTA_SECONDS": "2592000"},
        log=places.logs / "api-with-quota.log",
        record=places.folder / "api-with-quota.pid",
    )
    process.start()
    try:
        wait_until_answering(
            f"{places.api_url}/openapi.json", process, accept=lambda status: status == 200
        )
        with httpx.Client(base_url=places.api_url, timeout=60) as api:
            yield api
    finally:
        process.stop()


def test_of_many_at_once_so_many_get_through_as_may_and_the_rest_are_told_when_to_come(
    limited: httpx.Client, deployed: Deployed
) -> None:
    def create(_: int) -> httpx.Response:
        # A connection each, so that they come together.
        return httpx.post(f"{limited.base_url}/images", timeout=60)

    with ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(create, range(12)))
    assert Counter(answer.status_code for answer in answers) == {201: QUOTA, 429: 12 - QUOTA}
    for answer in answers:
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
        if answer.status_code == 429:
            assert answer.json()["code"] == "quota_exceeded"
            assert 0 < int(answer.headers["Retry-After"]) <= 2_592_000
    update = {"tracking_id": "PX-quota", "status": "pending", "location": {"lat": 1, "lng": 2}}
    assert limited.post("/track", json=update).status_code == 429
    image_id = next(a.json()["image_id"] for a in answers if a.status_code == 201)
    assert limited.get(f"/images/{image_id}").status_code == 200
    rows = deployed.aws("dynamodb").scan(TableName="darkroom-local-idempotency")["Items"]
    (row,) = (row for row in rows if row["idempotency_key"]["S"].startswith("quota#"))
    assert row["used"] == {"N": str(QUOTA)}
    assert "127.0.0.1" not in str(row)
    # The other API of the same table has none.
    assert deployed.api.post("/images").status_code == 201
