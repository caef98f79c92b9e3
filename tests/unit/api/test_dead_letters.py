"""What was given up is listed page by page and sent back, one, some or all."""

import json
from typing import Any

import pytest

from chalicelib.api.answers import SCHEMAS
from chalicelib.api.cursors import Cursors
from chalicelib.api.dead_letters import DeadLettersApi
from chalicelib.api.http import Request
from chalicelib.api.schemas import DEAD_LETTERS_QUERY, MAX_REDRIVEN
from chalicelib.container import Container
from chalicelib.dead_letters import STEPS
from chalicelib.errors import InvalidCursor, InvalidRequest, UnsupportedMediaType
from chalicelib.images import Failure, Status
from chalicelib.pipeline.archive import keep
from tests.fakes import FakeQueue, FakeSecret
from tests.unit.mail_world import PARCEL
from tests.unit.pipeline.world import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def api(world: World) -> DeadLettersApi:
    container = Container({})
    vars(container).update(
        uploads=world.uploads,
        images=world.images,
        retries=world.retries,
        preprocessing_queue=world.preprocessing_queue,
        inference_queue=world.inference_queue,
        conversion_queue=world.conversion_queue,
        notification_queue=FakeQueue(world.trail, label="notification"),
        ingest=world.ingest,
        feedback=None,
    )
    return DeadLettersApi(letters=container.letters, cursors=Cursors(secret=FakeSecret().value))


def given_up(world: World) -> str:
    """An image whose preparation was given up."""
    image_id = world.create()
    world.deliver_event(world.upload(image_id).event())
    records = world.preprocessing_queue.receive(1)
    world.preprocessing_queue.removed([record["receiptHandle"] for record in records])
    world.bury({"Records": records}, step="preprocess", failed_status=Status.PREPROCESSING_FAILED)
    return image_id


def listed(api: DeadLettersApi, **query: str) -> Any:
    return api.list_letters(Request(method="GET", path="/dead-letters", query=query)).body


def redriven(api: DeadLettersApi, body: Any, content_type: str = "application/json") -> Any:
    request = Request(
        method="POST",
        path="/dead-letters/redrive",
        headers={"content-type": content_type},
        body=json.dumps(body).encode(),
    )
    return api.redrive(request).body


def archived(world: World) -> list[str]:
    return [key for key in world.uploads.objects if key.startswith("dead-letters/")]


def test_a_letter_is_shown_with_its_image_and_reason_and_without_its_body(
    world: World, api: DeadLettersApi
) -> None:
    image_id = given_up(world)
    keep(
        world.uploads,
        step="mail",
        letter_id="m1",
        body='{"email": "you@example.com"}',
        reason=Failure(code="given_up", message="No."),
        tracking_id=PARCEL.tracking_id,
    )
    mail, image = listed(api)["items"]
    assert image["image_id"] == image_id
    assert image["reason"]["code"] == "worker_lost"
    assert image["buried_at"] > 1_700_000_000
    assert (mail["step"], mail["tracking_id"]) == ("mail", PARCEL.tracking_id)
    assert "you@example.com" not in json.dumps([mail, image])
    assert listed(api, step="infer") == {"items": [], "next_cursor": None}


def test_letters_are_read_page_by_page(world: World, api: DeadLettersApi) -> None:
    images = {given_up(world) for _ in range(5)}
    seen: list[str] = []
    query: dict[str, str] = {"limit": "2", "step": "preprocess"}
    for _ in range(5):
        page = listed(api, **query)
        seen += [item["image_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert (len(seen), set(seen)) == (5, images)
    with pytest.raises(InvalidCursor):
        listed(api, step="infer", cursor=query["cursor"])


def test_one_letter_is_sent_back_and_heals_its_image(world: World, api: DeadLettersApi) -> None:
    images = [given_up(world) for _ in range(2)]
    letters = {item["image_id"]: item for item in listed(api)["items"]}
    chosen = letters[images[0]]["message_id"]
    body = {"step": "preprocess", "message_ids": [chosen, chosen, "nobody"]}
    assert redriven(api, body) == {
        "items": [
            {"message_id": chosen, "outcome": "sent"},
            {"message_id": "nobody", "outcome": "missing"},
        ],
        "next_cursor": None,
    }
    world.work()
    assert [world.row(image).status for image in images] == [
        Status.COMPLETED,
        Status.PREPROCESSING_FAILED,
    ]
    assert redriven(api, body)["items"][0]["outcome"] == "missing"
    assert len(archived(world)) == 1


def test_all_of_a_step_are_sent_back_some_a_request_and_what_is_kept_is_not_met_again(
    world: World, api: DeadLettersApi
) -> None:
    count = MAX_REDRIVEN + 3
    for number in range(count):
        keep(world.uploads, step="ingest", letter_id=f"{number:02}", body="no JSON", reason=None)
    first = redriven(api, {"step": "ingest"})
    assert len(first["items"]) == MAX_REDRIVEN
    second = redriven(api, {"step": "ingest", "cursor": first["next_cursor"]})
    assert (len(second["items"]), second["next_cursor"]) == (3, None)
    outcomes = {item["outcome"] for item in first["items"] + second["items"]}
    assert outcomes == {"unreadable"}
    assert len(archived(world)) == count


def test_a_letter_that_left_the_archive_between_two_pages_is_no_fault(
    world: World, api: DeadLettersApi
) -> None:
    for _ in range(3):
        given_up(world)
    page = listed(api, limit="1")
    world.uploads.delete(archived(world)[0])
    assert len(listed(api, limit="9", cursor=page["next_cursor"])["items"]) == 2


@pytest.mark.parametrize(
    ("query", "field"),
    [({"limit": "0"}, "limit"), ({"limit": "x"}, "limit"), ({"step": "cats"}, "step")],
)
def test_a_wrong_query_is_told(api: DeadLettersApi, query: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        listed(api, **query)
    assert [name for name, _ in caught.value.problems] == [field]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "step"),
        ({"step": "preprocessing"}, "step"),
        ({"step": "infer", "message_ids": []}, "message_ids"),
        ({"step": "infer", "message_ids": [1]}, "message_ids"),
        ({"step": "infer", "message_ids": ["x"] * (MAX_REDRIVEN + 1)}, "message_ids"),
        ({"step": "infer", "all": True}, "all"),
    ],
)
def test_a_wrong_request_sends_nothing(
    world: World, api: DeadLettersApi, body: Any, field: str
) -> None:
    given_up(world)
    with pytest.raises(InvalidRequest) as caught:
        redriven(api, body)
    assert [name for name, _ in caught.value.problems] == [field]
    assert len(archived(world)) == 1


def test_a_body_of_another_type_is_refused(api: DeadLettersApi) -> None:
    with pytest.raises(UnsupportedMediaType):
        redriven(api, {"step": "infer"}, content_type="text/plain")


def test_the_steps_are_those_that_letters_are_archived_under() -> None:
    steps = DEAD_LETTERS_QUERY["properties"]["step"]["enum"]
    assert set(steps) == set(STEPS.values())
    assert "outcome" in SCHEMAS["Redriven"]["properties"]["items"]["items"]["properties"]
