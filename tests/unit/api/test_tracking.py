"""``POST /track`` and ``GET /status``, as the contract has them."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from chalicelib.api.http import Request, error_answer
from chalicelib.errors import (
    DarkroomError,
    IdempotencyKeyReused,
    ImageNotFound,
    InvalidCursor,
    InvalidRequest,
    ServiceUnavailable,
    UnsupportedMediaType,
)
from chalicelib.flags import Config, Flags
from chalicelib.images import new_image_id
from tests.fakes import unavailable
from tests.unit.tracking_world import NOW, PARCEL, UPDATE, TrackingWorld, asked, tracked

ENHANCED = Flags(enhanced_tracking=True)
BATCH = Flags(batch_processing=True)


@pytest.fixture
def world() -> TrackingWorld:
    return TrackingWorld()


def wrong_fields(world: TrackingWorld, body: Any) -> list[str]:
    """The fields that an answer of 400 names."""
    return list(refused(lambda: world.send(body)))


def refused(work: Callable[[], Any]) -> dict[str, str]:
    """The problems that an answer of 400 names, through JSON and back."""
    with pytest.raises(InvalidRequest) as caught:
        work()
    answer = json.loads(error_answer(caught.value, "r").text())
    assert set(answer) == {"error", "code", "request_id", "errors"}
    assert answer["code"] == "invalid_request"
    for entry in answer["errors"]:
        assert set(entry) == {"field", "message"}
        assert f"{entry['field']} {entry['message']}" in answer["error"]
    return {entry["field"]: entry["message"] for entry in answer["errors"]}


class TestTrack:
    def test_an_update_is_kept_and_answered_with_its_timestamp(self, world: TrackingWorld) -> None:
        """Defect 49: every request with a fraction in it ended in 500."""
        assert world.update() == {
            "message": "The update was stored.",
            "tracking_id": PARCEL,
            "timestamp": NOW,
            "occurred_at": NOW,
        }
        [update] = world.history()
        assert (update.location.lat, update.location.lng) == (
            Decimal("40.7128"),
            Decimal("-74.006"),
        )

    def test_two_updates_in_one_millisecond_are_both_kept(self, world: TrackingWorld) -> None:
        """Defect 52: the second overwrote the first."""
        stamps = [world.update(metadata={"n": n})["timestamp"] for n in range(5)]
        assert stamps == [NOW, NOW + 1, NOW + 2, NOW + 3, NOW + 4]
        assert [update.metadata for update in world.history()] == [f'{{"n":{n}}}' for n in range(5)]

    def test_even_a_crowded_second_has_room(self, world: TrackingWorld) -> None:
        stamps = {world.update()["timestamp"] for _ in range(45)}
        assert len(stamps) == len(world.history()) == 45
        assert all(NOW <= stamp < NOW + 1100 for stamp in stamps)

    def test_updates_of_other_parcels_share_a_millisecond(self, world: TrackingWorld) -> None:
        assert [world.update(tracking_id=f"P{n}")["timestamp"] for n in range(3)] == [NOW] * 3

    def test_when_it_happened_may_be_said(self, world: TrackingWorld) -> None:
        assert world.update(occurred_at=NOW - 5000)["occurred_at"] == NOW - 5000
        [update] = world.history()
        assert (update.timestamp, update.occurred_at) == (NOW, NOW - 5000)

    def test_null_counts_as_not_given(self, world: TrackingWorld) -> None:
        world.update(occurred_at=None, metadata=None, image_id=None, notify_email=None)
        [update] = world.history()
        assert (update.occurred_at, update.metadata, update.image_id) == (NOW, None, None)

    @pytest.mark.parametrize(
        "body",
        [
            *(b"null", b"", b"{", b"[]", b"1", b'"x"', b"\xff", b"[" * 100_000),
            json.dumps({**UPDATE, "location": {"lat": float("nan"), "lng": 1}}).encode(),
            json.dumps({**UPDATE, "location": {"lat": float("inf"), "lng": 1}}).encode(),
            b'{"tracking_id": "\\ud800", "status": "pending", "location": {"lat": 1, "lng": 1}}',
        ],
    )
    def test_a_body_that_is_no_json_object_is_400(self, world: TrackingWorld, body: bytes) -> None:
        """Defect 53: null and no JSON ended in 500."""
        assert wrong_fields(world, body) == ["body"]

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"tracking_id": 7}, "tracking_id"),
            ({"tracking_id": ""}, "tracking_id"),
            ({"tracking_id": "x" * 101}, "tracking_id"),
            ({"tracking_id": "a\nb"}, "tracking_id"),
            ({"tracking_id": None}, "tracking_id"),
            ({"status": "lost"}, "status"),
            ({"status": "DELIVERED"}, "status"),
            ({"status": None}, "status"),
            ({"status": ["pending"]}, "status"),
            ({"location": 5}, "location"),
            ({"location": None}, "location"),
            ({"location": []}, "location"),
            ({"location": {"lat": 1}}, "location.lng"),
            ({"location": {"lat": "1", "lng": 1}}, "location.lat"),
            ({"location": {"lat": "x", "lng": 1}}, "location.lat"),
            ({"location": {"lat": 1, "lng": None}}, "location.lng"),
            ({"location": {"lat": True, "lng": 1}}, "location.lat"),
            ({"location": {"lat": 90.000001, "lng": 1}}, "location.lat"),
            ({"location": {"lat": 1, "lng": -180.5}}, "location.lng"),
            ({"location": {"lat": 1, "lng": 1, "alt": 1}}, "location.alt"),
            ({"metadata": "x"}, "metadata"),
            ({"metadata": [1]}, "metadata"),
            ({"metadata": {"a": "x" * 2048}}, "metadata"),
            ({"metadata": {"": 1}}, "metadata"),
            ({"metadata": {"a": {"b": {"c": {"d": {"e": {}}}}}}}, "metadata"),
            ({"metadata": {"a": [[[[[1]]]]]}}, "metadata"),
            ({"metadata": {"a": [{"": 1}]}}, "metadata"),
            ({"image_id": 3}, "image_id"),
            ({"notify_email": "x"}, "notify_email"),
            ({"notify_email": "a@b.example\r\nBcc: c@d.example"}, "notify_email"),
            ({"occurred_at": "now"}, "occurred_at"),
            ({"occurred_at": 1.5}, "occurred_at"),
            ({"occurred_at": True}, "occurred_at"),
            ({"occurred_at": NOW // 1000}, "occurred_at"),
            ({"occurred_at": NOW * 1000}, "occurred_at"),
            ({"occurred_at": -1}, "occurred_at"),
            ({"occurred_at": NOW + 300_001}, "occurred_at"),
            ({"timestamp": NOW}, "timestamp"),
            ({"notify_mail": "a@b.example"}, "notify_mail"),
        ],
    )
    def test_a_wrong_field_is_named_by_its_path(
        self, world: TrackingWorld, changes: Any, field: str
    ) -> None:
        """Defects 53 and 54: wrong types were 500, or stored."""
        assert wrong_fields(world, {**UPDATE, **changes}) == [field]
        assert world.tracking.updates == {}

    @pytest.mark.parametrize(
        "number", ["1e400", "-1e400", "1e-400", "0." + "1" * 39, "1" * 39, "0e-1000", "1e999999"]
    )
    def test_a_number_that_cannot_be_kept_exactly_is_refused(
        self, world: TrackingWorld, number: str
    ) -> None:
        for body, field in (
            (f'"location": {{"lat": {number}, "lng": 1}}', "location.lat"),
            (f'"location": {{"lat": 1, "lng": 1}}, "metadata": {{"n": [{number}]}}', "metadata"),
        ):
            text = f'{{"tracking_id": "P", "status": "pending", {body}}}'
            assert wrong_fields(world, text.encode()) == [field]

    def test_every_problem_is_reported_at_once(self, world: TrackingWorld) -> None:
        problems = refused(
            lambda: world.send(
                {"status": 1, "location": {"lat": 91}, "metadata": {"": 1}, "colour": "red"}
            )
        )
        assert set(problems) == {
            *("tracking_id", "status", "location.lat", "location.lng", "metadata", "colour"),
        }

    def test_bounds_are_inside(self, world: TrackingWorld) -> None:
        world.update(location={"lat": 90, "lng": -180}, tracking_id="x" * 100)
        world.update(location={"lat": -90.0, "lng": 180.0}, tracking_id="é 🪲 '; DROP TABLE")
        world.update(occurred_at=NOW + 300_000, metadata={"a": {"b": {"c": {"d": 1}}}})

    def test_another_type_of_body_is_415(self, world: TrackingWorld) -> None:
        for content_type in ("text/plain", "application/x-www-form-urlencoded", "image/png"):
            request = Request(
                method="POST", path="/track", headers={"content-type": content_type}, body=b"{}"
            )
            with pytest.raises(UnsupportedMediaType):
                world.api.track(request)

    def test_a_photo_has_to_exist(self, world: TrackingWorld) -> None:
        for image_id in (new_image_id(), "nonsense", "../x"):
            with pytest.raises(ImageNotFound) as caught:
                world.update(image_id=image_id)
            assert (caught.value.status, caught.value.code) == (404, "image_not_found")
        assert world.tracking.updates == {}
        image = world.photo(new_image_id(), completed=False)
        world.update(image_id=image.image_id)
        assert world.parcel().image_id == image.image_id

    def test_a_fault_is_not_passed_off_as_an_answer(self, world: TrackingWorld) -> None:
        for call in ("tracking.get", "tracking.write"):
            world.trail.at_next(call, "before", unavailable)
            with pytest.raises(ServiceUnavailable):
                world.update()
        assert world.tracking.updates.get(PARCEL, {}) == {}


class TestIdempotencyKey:
    def test_the_same_request_is_one_update(self, world: TrackingWorld) -> None:
        """Defect 55: a client's second try made a second row."""
        first = world.send(UPDATE, key="k")
        world.now += 1000
        again = world.send(UPDATE, key="k")
        assert again.body == json.loads(first.text())
        assert again.headers["Idempotent-Replayed"] == "true"
        assert len(world.history()) == 1
        assert world.parcel().change_seq == 1

    def test_the_key_of_another_request_is_refused(self, world: TrackingWorld) -> None:
        world.send(UPDATE, key="k")
        with pytest.raises(IdempotencyKeyReused):
            world.send({**UPDATE, "status": "delivered"}, key="k")
        assert len(world.history()) == 1

    def test_without_a_key_each_request_is_an_update(self, world: TrackingWorld) -> None:
        world.send(UPDATE)
        world.send(UPDATE)
        assert len(world.history()) == 2

    def test_a_refused_request_frees_its_key(self, world: TrackingWorld) -> None:
        for _ in range(2):
            with pytest.raises(InvalidRequest):
                world.send({}, key="k")
        assert world.send(UPDATE, key="k").status == 200


class TestStatus:
    def test_a_parcel_is_shown_as_it_was_reported(self, world: TrackingWorld) -> None:
        """Defect 50: an answer with a number in it ended in 500."""
        world.update(metadata={"courier": "Zoë", "weight": 1.5}, notify_email="a@b.example")
        assert world.status() == {
            "tracking_id": PARCEL,
            "current": {
                "status": "in_transit",
                "location": {"lat": 40.7128, "lng": -74.006},
                "timestamp": NOW,
                "occurred_at": NOW,
                "status_changed_at": NOW,
            },
            "updates": [
                {
                    "timestamp": NOW,
                    "occurred_at": NOW,
                    "status": "in_transit",
                    "location": {"lat": 40.7128, "lng": -74.006},
                    "metadata": {"courier": "Zoë", "weight": 1.5},
                }
            ],
            "count": 1,
            "next_key": None,
        }

    def test_numbers_come_back_as_they_were_sent(self, world: TrackingWorld) -> None:
        numbers = '"lat": 40.7128, "lng": -0.12345678901234567890123456789012345678'
        metadata = '{"one":1,"one point":1.0,"zeros":0.100,"big":123456789012345678901234567890}'
        world.send(
            f'{{"tracking_id": "{PARCEL}", "status": "pending", "location": {{{numbers}}},'
            f' "metadata": {metadata}}}'.encode()
        )
        text = world.api.status(asked(tracking_id=PARCEL)).text()
        assert f'"metadata":{metadata}' in text
        assert '{"lat":40.7128,"lng":-0.12345678901234567890123456789012345678}' in text

    def test_an_id_that_was_never_seen_has_no_updates(self, world: TrackingWorld) -> None:
        assert world.status("nobody") == {
            "tracking_id": "nobody",
            "current": None,
            "updates": [],
            "count": 0,
            "next_key": None,
        }

    def test_the_history_is_newest_first_by_when_it_came_and_shows_when_it_happened(
        self, world: TrackingWorld
    ) -> None:
        world.update("delivered")
        world.now += 10
        world.update("in_transit", occurred_at=NOW - 60_000)
        shown = world.status()
        assert [(u["status"], u["timestamp"], u["occurred_at"]) for u in shown["updates"]] == [
            ("in_transit", NOW + 10, NOW - 60_000),
            ("delivered", NOW, NOW),
        ]
        assert shown["current"]["status"] == "delivered"
        assert shown["current"]["timestamp"] == NOW

    def test_pages_follow_one_another_without_gaps_or_duplicates(
        self, world: TrackingWorld
    ) -> None:
        sent = [world.update(metadata={"n": n})["timestamp"] for n in range(25)]
        seen: list[int] = []
        key: str | None = None
        sizes = []
        for _ in range(3):
            page = world.status(**({} if key is None else {"last_key": key}))
            assert page["count"] == len(page["updates"])
            sizes.append(page["count"])
            seen += [update["timestamp"] for update in page["updates"]]
            key = page["next_key"]
        assert key is None
        assert sizes == [10, 10, 5]
        assert seen == sorted(sent, reverse=True)

    def test_a_page_that_is_exactly_full_is_the_last(self, world: TrackingWorld) -> None:
        for _ in range(4):
            world.update()
        assert world.status(limit="4")["next_key"] is None
        assert world.status(limit="3")["next_key"] is not None

    @pytest.mark.parametrize(
        "limit", ["0", "-5", "101", "abc", "", "1.5", "1e1", "٣", "9" * 400, " 1"]
    )
    def test_a_wrong_limit_is_400(self, world: TrackingWorld, limit: str) -> None:
        """Defect 53."""
        problems = refused(lambda: world.status(limit=limit))
        assert problems == {"limit": "must be a whole number from 1 to 100"}

    def test_all_wrong_parameters_are_named_at_once(self, world: TrackingWorld) -> None:
        assert set(refused(lambda: world.api.status(asked(limit="0")))) == {"limit", "tracking_id"}
        assert set(refused(lambda: world.status(""))) == {"tracking_id"}

    def test_a_key_is_good_for_its_parcel_alone_and_only_as_it_was_given_out(
        self, world: TrackingWorld
    ) -> None:
        """Defect 53, and threat 12: a key of one parcel showed another, and garbage was 500."""
        for _ in range(3):
            world.update()
            world.update(tracking_id="other")
        key = world.status(limit="1")["next_key"]
        assert world.status(limit="1", last_key=key)["count"] == 1
        with pytest.raises(InvalidCursor):
            world.status("other", last_key=key)
        for garbage in ("", "x", '{"tracking_id": "other"}', key[:-1], key + "A", "null"):
            with pytest.raises(InvalidCursor):
                world.status(last_key=garbage)
        for place in range(len(key)):
            flipped = key[:place] + ("A" if key[place] != "A" else "B") + key[place + 1 :]
            with pytest.raises(InvalidCursor):
                world.status(last_key=flipped)

    def test_the_address_is_shown_to_nobody(self, world: TrackingWorld) -> None:
        world.update(notify_email="secret@b.example")
        assert "secret" not in world.api.status(asked(tracking_id=PARCEL)).text()


class TestProofOfDelivery:
    def test_the_photo_is_shown_as_far_as_it_is_known(self, world: TrackingWorld) -> None:
        image_id = new_image_id()
        world.photo(image_id, completed=False)
        world.update("delivered", image_id=image_id)
        waiting = {
            "image_id": image_id,
            "status": "queued",
            "links": {"self": f"/images/{image_id}"},
        }
        shown = world.status()
        assert shown["updates"][0]["image"] == shown["current"]["image"] == waiting
        world.photo(image_id, completed=True)
        shown = world.status()
        assert shown["updates"][0]["image_id"] == image_id
        assert (
            shown["updates"][0]["image"]
            == shown["current"]["image"]
            == {
                **waiting,
                "status": "completed",
                "thumb": {
                    "url": f"https://renditions.test/renditions/{image_id}/thumb.jpg?get",
                    "width": 150,
                    "height": 150,
                    "bytes": 6123,
                    "content_type": "image/jpeg",
                },
                "top_prediction": "parcel",
                "confidence": 0.75,
            }
        )

    def test_the_photos_of_a_page_are_read_together(self, world: TrackingWorld) -> None:
        for _ in range(5):
            image_id = new_image_id()
            world.photo(image_id, completed=True)
            world.update(image_id=image_id)
        world.trail.calls.clear()
        shown = world.status()
        assert all("image" in update for update in shown["updates"])
        assert sorted(world.trail.calls) == ["images.find", "tracking.get", "tracking.history"]

    def test_a_photo_that_was_deleted_leaves_its_id(self, world: TrackingWorld) -> None:
        image_id = new_image_id()
        world.photo(image_id, completed=True)
        world.update(image_id=image_id)
        del world.images.rows[image_id]
        [update] = world.status()["updates"]
        assert update["image_id"] == image_id
        assert "image" not in update


class TestEnhancedTracking:
    def test_answers_say_how_far_and_how_long_the_last_step_was(self, world: TrackingWorld) -> None:
        world.flags = ENHANCED
        first = world.update(location={"lat": 0, "lng": 0})
        assert "distance_m" not in first
        world.now += 1500
        second = world.update(location={"lat": 0, "lng": 1})
        step = {"distance_m": 111_195.1, "seconds_since_last_update": 1.5}
        assert {name: second[name] for name in step} == step
        world.now += 2500
        shown = world.status()
        assert {name: shown["updates"][0][name] for name in step} == step
        assert "distance_m" not in shown["updates"][1]
        assert shown["current"]["seconds_since_last_update"] >= 0

    def test_the_oldest_update_of_a_page_follows_one_of_the_next(
        self, world: TrackingWorld
    ) -> None:
        world.flags = ENHANCED
        for lng in range(3):
            world.update(location={"lat": 0, "lng": lng})
        [update] = world.status(limit="1")["updates"]
        assert update["distance_m"] == 111_195.1

    def test_without_the_flag_there_is_nothing_of_it(self, world: TrackingWorld) -> None:
        world.update()
        assert "seconds_since_last_update" not in world.update()
        assert "seconds_since_last_update" not in json.dumps(world.status())


class TestBatch:
    def test_many_updates_get_a_result_each(self, world: TrackingWorld) -> None:
        world.flags = BATCH
        answer = world.send(
            {
                "updates": [
                    UPDATE,
                    {**UPDATE, "tracking_id": "P2"},
                    {"status": "lost"},
                    {**UPDATE, "image_id": new_image_id()},
                    5,
                    {**UPDATE, "status": "delivered"},
                ]
            }
        )
        assert answer.status == 200
        body = json.loads(answer.text())
        assert (body["message"], body["stored"]) == ("3 of 6 updates were stored.", 3)
        results = body["results"]
        assert [result["status"] for result in results] == [200, 200, 400, 404, 400, 200]
        assert results[0] == {
            "status": 200,
            "message": "The update was stored.",
            "tracking_id": PARCEL,
            "timestamp": NOW,
            "occurred_at": NOW,
        }
        assert {entry["field"] for entry in results[2]["errors"]} == {
            *("tracking_id", "status", "location"),
        }
        assert results[3]["code"] == "image_not_found"
        assert [entry["field"] for entry in results[4]["errors"]] == ["body"]
        assert world.parcel().status == "delivered"
        assert len(world.history()) == 2

    def test_updates_of_one_parcel_are_taken_in_their_order(self, world: TrackingWorld) -> None:
        world.flags = BATCH
        statuses = ["pending", "in_transit", "delivered", "in_transit"] * 25
        world.send({"updates": [{**UPDATE, "status": status} for status in statuses]})
        assert [update.status for update in world.history()] == statuses
        assert world.parcel().status == "in_transit"
        assert world.parcel().change_seq == 100

    @pytest.mark.parametrize("updates", [[], None, {}, 5, "x", [UPDATE] * 101])
    def test_a_wrong_list_is_refused_as_a_whole(self, world: TrackingWorld, updates: Any) -> None:
        world.flags = BATCH
        assert wrong_fields(world, {"updates": updates}) == ["updates"]
        assert world.tracking.updates == {}

    def test_the_configuration_may_lower_the_number(self, world: TrackingWorld) -> None:
        world.flags, world.config = BATCH, Config(max_batch_updates=2)
        assert world.send({"updates": [UPDATE] * 2}).body["stored"] == 2
        assert wrong_fields(world, {"updates": [UPDATE] * 3}) == ["updates"]

    def test_without_the_flag_it_is_refused_with_the_reason(self, world: TrackingWorld) -> None:
        problems = refused(lambda: world.send({"updates": [UPDATE]}))
        assert "batch_processing" in problems["updates"]
        assert world.tracking.updates == {}

    def test_one_that_meets_a_fault_is_told_so_and_the_others_are_kept(
        self, world: TrackingWorld
    ) -> None:
        world.flags = BATCH
        world.trail.at_next("tracking.write", "before", unavailable)
        answer = world.send({"updates": [UPDATE, {**UPDATE, "tracking_id": "P2"}]})
        assert [result["status"] for result in answer.body["results"]] == [503, 200]

    def test_with_a_key_a_fault_leaves_the_whole_to_be_sent_again_and_nothing_twice(
        self, world: TrackingWorld
    ) -> None:
        world.flags = BATCH
        body = {"updates": [{**UPDATE, "tracking_id": name} for name in ("A", "B", "C")]}
        world.trail.at(5, "before", unavailable)
        with pytest.raises(ServiceUnavailable):
            world.send(body, key="k")
        assert len(world.tracking.parcels) in (1, 2)
        world.now += 60_000
        answer = world.send(body, key="k")
        assert [result["status"] for result in answer.body["results"]] == [200] * 3
        assert [len(world.history(name)) for name in ("A", "B", "C")] == [1] * 3

    def test_the_photos_of_a_batch_are_read_together(self, world: TrackingWorld) -> None:
        world.flags = BATCH
        images = [world.photo(new_image_id(), completed=False).image_id for _ in range(3)]
        world.send({"updates": [{**UPDATE, "image_id": image_id} for image_id in images]})
        assert world.trail.calls.count("images.find") == 1


def test_neither_the_body_nor_the_address_nor_credentials_are_logged(
    world: TrackingWorld, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Defect 56: the whole event went into the log, with its Authorization header."""
    request = tracked(
        {**UPDATE, "metadata": {"note": "private-note"}, "notify_email": "secret@b.example"}
    )
    request = Request(
        method="POST",
        path="/track",
        headers={**request.headers, "authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE"},
        body=request.body,
    )
    with caplog.at_level("DEBUG"):
        world.api.track(request)
        with pytest.raises(DarkroomError):
            world.send({"tracking_id": "private-note"})
    written = capsys.readouterr().out + "".join(str(vars(record)) for record in caplog.records)
    assert PARCEL in written
    for secret in ("private-note", "secret@", "AKIDEXAMPLE"):
        assert secret not in written


def test_an_update_is_counted_once_and_a_late_one_as_such(
    world: TrackingWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.send({**UPDATE, "status": "delivered"}, key="a")
    world.send({**UPDATE, "status": "delivered"}, key="a")
    world.send({**UPDATE, "occurred_at": NOW - 1})
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert [line["TrackingUpdateStored"] for line in lines] == [[1.0], [1.0]]
    assert [line.get("TrackingUpdateLate") for line in lines] == [None, [1.0]]
