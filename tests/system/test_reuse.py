"""The same bytes again, on the deployed stack."""

from typing import Any

import httpx

from tests.polling import eventually
from tests.system.conftest import RENDITIONS_BUCKET, SECONDS, Service, photo


def sent(service: Service, body: bytes, **fields: Any) -> dict[str, Any]:
    answer = service.api.post("/images", json=fields).json()
    httpx.put(answer["upload_url"], content=body).raise_for_status()
    return service.finished(answer["image_id"])


def test_the_same_bytes_again_take_over_what_was_made_and_keep_it(service: Service) -> None:
    body = photo()
    first = sent(service, body)

    def taken_over() -> dict[str, Any] | None:
        """The index lags behind its table."""
        image = sent(service, body)
        # The copies at full size are a branch of their own.
        return image if "inferencing" not in image["timings_ms"] else None

    second = eventually(taken_over, seconds=SECONDS, what="the index has the first image")
    for name in ("results", "info", "conversion_status", "status"):
        assert second[name] == first[name]
    assert service.api.delete(f"/images/{first['image_id']}").status_code == 204
    again = service.image(second["image_id"])
    copies = {**again["renditions"], **again["formats"]}
    assert copies.keys() == {**first["renditions"], **first["formats"]}.keys()
    for copy in copies.values():
        assert len(httpx.get(copy["url"]).raise_for_status().content) == copy["bytes"]
    document = httpx.get(again["results_url"]).raise_for_status().json()
    assert document["image_id"] == second["image_id"]
    assert service.api.delete(f"/images/{second['image_id']}").status_code == 204
    assert service.keys(RENDITIONS_BUCKET, second["image_id"]) == []


def test_a_request_may_have_it_worked_out(service: Service) -> None:
    body = photo()
    sent(service, body)
    assert "inferencing" in sent(service, body, reuse=False)["timings_ms"]
