"""The routes under ``/images``, as the contract has them."""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image as Pillow

from chalicelib import messages
from chalicelib.api.cursors import Cursors
from chalicelib.api.http import Answer, Request
from chalicelib.clock import now_seconds
from chalicelib.errors import (
    BodyTooLarge,
    ImageNotFound,
    InvalidCursor,
    InvalidRequest,
    NotRetryable,
    ServiceUnavailable,
    UnsupportedMediaType,
)
from chalicelib.images import (
    INPUT_UNUSABLE,
    ConversionStatus,
    Failure,
    Image,
    Original,
    Output,
    Status,
    is_image_id,
    new_image_id,
    source_key,
)
from tests import images
from tests.fakes import Crash, Link, Tombstone, crash, unavailable
from tests.unit.pipeline.world import PHOTO, SETTINGS, Stored, World, first_message, photo

TRUNCATED = Failure(code="image_truncated", message="The end of the file is missing.")
UNKNOWN_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
MALFORMED_IDS = ["", " ", "x", "..", "a/b", "\x00", "é", "x" * 10_000, UNKNOWN_ID.upper()]


@pytest.fixture
def world() -> World:
    return World()


def request(
    body: bytes = b"", *, content_type: str | None = None, query: Mapping[str, str] | None = None
) -> Request:
    return Request(
        method="POST" if query is None else "GET",
        path="/images",
        headers={} if content_type is None else {"content-type": content_type},
        query=query or {},
        body=body,
    )


def json_request(body: Any) -> Request:
    return request(json.dumps(body).encode(), content_type="application/json")


def listed(world: World, **query: str) -> Answer:
    return world.api.list_images(request(query=query))


def shown(world: World, image_id: str) -> Any:
    """What a client gets, through JSON and back."""
    answer = world.api.get(image_id)
    assert answer.status == 200
    return json.loads(answer.text())


def put_row(world: World, **changes: Any) -> Image:
    image = replace(world.row(world.create()), **changes)
    world.images.rows[image.image_id] = image
    return image


class TestCreateWithALink:
    @pytest.mark.parametrize(
        "asked",
        [
            request(),
            request(b"  \n"),
            request(content_type="application/json"),
            request(content_type="text/plain"),
            json_request({}),
            json_request(
                dict.fromkeys(["filename", "content_type", "image_base64", "outputs", "metadata"])
            ),
        ],
        ids=["no body", "blank", "no JSON", "no text", "empty object", "nulls"],
    )
    def test_a_request_for_nothing_special_gets_an_id_and_two_links(
        self, world: World, asked: Request
    ) -> None:
        answer = world.api.create(asked)
        body = json.loads(answer.text())
        image_id = body["image_id"]
        key = source_key(image_id)
        assert answer.status == 201
        assert is_image_id(image_id)
        assert body == {
            "image_id": image_id,
            "status": "pending_upload",
            "upload_url": f"https://uploads.test/{key}?put",
            "upload": {
                "url": "https://uploads.test/",
                "fields": {"key": key, "Content-Type": "image/*"},
            },
            "expires_in": SETTINGS.upload_link_seconds,
            "links": {"self": f"/images/{image_id}"},
        }
        assert answer.headers["Location"] == f"/images/{image_id}"

    def test_the_links_are_bounded_in_size_and_time_and_lead_to_a_key_of_our_own(
        self, world: World
    ) -> None:
        """Defect 17: a link without a bound on size and type, for an hour."""
        world.api.create(json_request({"filename": "../../etc/x.png"}))
        key = source_key(world.only_row.image_id)
        assert world.uploads.links == [
            Link(
                method="POST",
                key=key,
                expires_in=900,
                content_type="image/png",
                max_bytes=SETTINGS.max_upload_bytes,
            ),
            Link(method="PUT", key=key, expires_in=900),
        ]

    def test_the_row_is_there_before_the_link_and_says_when_the_link_runs_out(
        self, world: World
    ) -> None:
        """Defect 25: rows of links that were never used stayed for ever."""
        before = now_seconds()
        world.api.create(request())
        assert world.trail.calls[0] == "images.create"
        expires_at = world.only_row.link_expires_at
        assert expires_at is not None
        assert before + 900 <= expires_at <= now_seconds() + 900
        assert world.sent == []

    @pytest.mark.parametrize("keep", [None, [], ["camera"], ["camera", "camera"]])
    def test_the_camera_is_kept_and_shown_only_where_it_was_asked_for(
        self, world: World, keep: list[str] | None
    ) -> None:
        exif = Pillow.Exif()
        exif[0x0110], exif[0x013B] = "Box 1", "Ada Owner"
        encoded = base64.b64encode(images.encoded(images.marker(), "JPEG", exif=exif)).decode()
        answer = world.api.create(json_request({"image_base64": encoded, "keep": keep}))
        world.run_event(event_of(world, answer))
        original = shown(world, answer.body["image_id"])["original"]
        assert original.get("camera") == ({"model": "Box 1"} if keep else None)
        assert "Ada" not in json.dumps(original)

    def test_what_was_said_of_the_file_is_kept_and_shown(self, world: World) -> None:
        answer = world.api.create(
            json_request(
                {
                    "filename": "Été + 1.JPG",
                    "content_type": "image/webp",
                    "outputs": ["formats", "predictions", "formats"],
                    "metadata": {"album": "summer", "note": "", "ü": "✓"},
                }
            )
        )
        image_id = answer.body["image_id"]
        body = shown(world, image_id)
        assert body["original"] == {"filename": "Été + 1.JPG", "content_type": "image/webp"}
        assert body["metadata"] == {"album": "summer", "note": "", "ü": "✓"}
        assert world.only_row.outputs == (Output.PREDICTIONS, Output.FORMATS)
        assert answer.body["upload"]["fields"]["Content-Type"] == "image/webp"

    @pytest.mark.parametrize(
        ("filename", "content_type"),
        [("a.JPG", "image/jpeg"), ("a.tar.png", "image/png"), ("a.pdf", None), ("a", None)],
    )
    def test_the_type_of_the_link_is_guessed_from_the_name(
        self, world: World, filename: str, content_type: str | None
    ) -> None:
        world.api.create(json_request({"filename": filename}))
        assert world.uploads.links[0].content_type == content_type

    @pytest.mark.parametrize(
        ("outputs", "conversion"),
        [
            (None, "pending"),
            (["predictions"], "skipped"),
            (["renditions", "predictions"], "skipped"),
            (["formats"], "pending"),
        ],
    )
    def test_a_conversion_that_is_not_asked_for_is_skipped(
        self, world: World, outputs: list[str] | None, conversion: str
    ) -> None:
        answer = world.api.create(json_request({"outputs": outputs}))
        assert shown(world, answer.body["image_id"])["conversion_status"] == conversion

    def test_what_the_answer_says_is_what_the_row_says(self, world: World) -> None:
        """Defect 14: the answer said pending_upload and the row queued."""
        for asked in (request(), request(PHOTO, content_type="image/jpeg")):
            answer = world.api.create(asked)
            assert answer.body["status"] == shown(world, answer.body["image_id"])["status"]

    def test_every_request_without_a_key_makes_an_image_of_its_own(self, world: World) -> None:
        ids = {world.api.create(request()).body["image_id"] for _ in range(5)}
        assert len(ids) == len(world.images.rows) == 5

    def test_a_fault_is_not_passed_off_as_an_answer(self, world: World) -> None:
        """Defect 15: a bare except hid AccessDenied behind a 201."""
        for call in ("images.create", "uploads.upload_form"):
            world.trail.at_next(call, "before", unavailable)
            with pytest.raises(ServiceUnavailable):
                world.api.create(request())


class TestCreateWithTheImage:
    @pytest.mark.parametrize(
        "asked",
        [
            request(PHOTO, content_type="image/jpeg"),
            request(PHOTO, content_type="IMAGE/PNG; x=y"),
            request(PHOTO, content_type="image/*"),
            json_request({"image_base64": base64.b64encode(PHOTO).decode()}),
            json_request({"image_base64": base64.encodebytes(PHOTO).decode()}),
            json_request(
                {"image_base64": "data:image/png;base64," + base64.b64encode(PHOTO).decode()}
            ),
            json_request({"image_base64": "data:;base64," + base64.b64encode(PHOTO).decode()}),
        ],
        ids=["bytes", "other type", "any type", "base64", "lines", "data URL", "bare data URL"],
    )
    def test_an_image_in_the_body_is_stored_as_it_is_and_queued(
        self, world: World, asked: Request
    ) -> None:
        answer = world.api.create(asked)
        image_id = answer.body["image_id"]
        assert answer.status == 201
        assert json.loads(answer.text()) == {
            "image_id": image_id,
            "status": "queued",
            "links": {"self": f"/images/{image_id}"},
        }
        [version] = world.uploads.versions[source_key(image_id)]
        assert version.stored is not None
        assert (version.stored.body, version.stored.content_type) == (PHOTO, "image/jpeg")
        body = shown(world, image_id)
        assert body["status"] == "queued"
        assert body["original"] == {"content_type": "image/jpeg", "bytes": len(PHOTO)}

    def test_the_event_of_the_bucket_and_nothing_else_sends_the_message(self, world: World) -> None:
        """Defect 1: a POST with the image made two preprocess and two inference messages."""
        answer = world.api.create(request(PHOTO, content_type="image/jpeg"))
        assert world.sent == []
        world.ingest(event_of(world, answer))
        assert len(world.preprocessing_queue.sent) == 1
        world.work()
        assert world.only_row.status is Status.COMPLETED
        assert len(world.inference_queue.sent) == 1

    def test_a_pipeline_that_is_quicker_than_the_answer_is_not_taken_back(
        self, world: World
    ) -> None:
        """Defect 13: `queued` was written over `completed`."""

        def meanwhile() -> None:
            [key] = world.uploads.versions
            [version] = world.uploads.versions[key]
            world.run(Stored(key=key, version_id=version.version_id, size_bytes=len(PHOTO)))

        world.trail.at_next("uploads.put", "after", meanwhile)
        answer = world.api.create(request(PHOTO, content_type="image/jpeg"))
        assert answer.body["status"] == "queued"
        assert world.only_row.status is Status.COMPLETED
        world.assert_statuses_never_went_back()
        assert len(world.preprocessing_queue.sent) == 1

    @pytest.mark.parametrize(
        "body",
        [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<!doctype html>", b"%PDF-1.7", b"GIF8"],
    )
    @pytest.mark.parametrize("in_json", [True, False])
    def test_a_file_is_judged_by_its_bytes_and_nothing_is_left_of_it(
        self, world: World, body: bytes, in_json: object
    ) -> None:
        """Defect 16: the content was not looked at, and everything was called .jpg."""
        asked = request(body, content_type="image/jpeg")
        if in_json:
            encoded = base64.b64encode(body).decode()
            asked = json_request(
                {"image_base64": encoded, "content_type": "image/jpeg", "filename": "a.jpg"}
            )
        with pytest.raises(UnsupportedMediaType) as caught:
            world.api.create(asked)
        assert caught.value.status == 415
        assert "image/jpeg" in caught.value.public_message
        assert world.images.rows == {}
        assert world.uploads.versions == {}

    @pytest.mark.parametrize(
        "content_type", ["text/plain", "multipart/form-data", "application/xml"]
    )
    def test_a_body_of_another_type_is_refused(self, world: World, content_type: str) -> None:
        with pytest.raises(UnsupportedMediaType, match=content_type):
            world.api.create(request(b"{}", content_type=content_type))

    @pytest.mark.parametrize(
        "asked",
        [
            request(PHOTO.ljust(SETTINGS.max_body_bytes + 1), content_type="image/jpeg"),
            json_request(
                {
                    "image_base64": base64.b64encode(
                        PHOTO.ljust(SETTINGS.max_body_bytes + 1)
                    ).decode()
                }
            ),
            json_request({"image_base64": "?" * 2 * SETTINGS.max_body_bytes}),
        ],
        ids=["bytes", "base64", "no base64"],
    )
    def test_an_image_over_the_limit_is_refused(self, world: World, asked: Request) -> None:
        """Defect 16: no limit to the body."""
        with pytest.raises(BodyTooLarge) as caught:
            world.api.create(asked)
        assert (caught.value.status, caught.value.code) == (413, "image_too_large")
        assert str(SETTINGS.max_body_bytes) in caught.value.public_message
        assert world.images.rows == {}
        assert world.uploads.versions == {}

    def test_an_image_just_within_the_limit_is_taken(self, world: World) -> None:
        body = PHOTO.ljust(SETTINGS.max_body_bytes)
        encoded = base64.b64encode(body).decode()
        for asked in (
            request(body, content_type="image/jpeg"),
            json_request({"image_base64": encoded}),
        ):
            assert world.api.create(asked).status == 201

    @pytest.mark.parametrize(
        "text", ["", "   ", "!!!!", "abc", "data:image/png,abc", "data:image/png;base64,", "é"]
    )
    def test_what_is_no_base64_of_an_image_is_refused(self, world: World, text: str) -> None:
        """Defect 15: invalid base64 was answered with 201."""
        with pytest.raises(InvalidRequest) as caught:
            world.api.create(json_request({"image_base64": text}))
        assert "image" in caught.value.public_message
        assert world.images.rows == {}

    def test_an_empty_body_that_is_called_an_image_is_refused(self, world: World) -> None:
        with pytest.raises(InvalidRequest, match="empty"):
            world.api.create(request(content_type="image/png"))

    def test_a_fault_while_storing_is_raised(self, world: World) -> None:
        """Defect 15: a bare except hid AccessDenied."""
        world.trail.at_next("uploads.put", "before", unavailable)
        with pytest.raises(ServiceUnavailable):
            world.api.create(request(PHOTO, content_type="image/jpeg"))


class TestWrongFields:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("filename", ""),
            ("filename", "x" * 256),
            ("filename", 5),
            ("filename", "a\nb.jpg"),
            ("filename", "\x7f"),
            ("filename", ["a"]),
            ("content_type", "text/html"),
            ("content_type", "image/"),
            ("content_type", "image/png; charset=x"),
            ("content_type", "image/png\r\nX: y"),
            ("content_type", "image/" + "x" * 200),
            ("content_type", True),
            ("image_base64", 5),
            ("image_base64", {}),
            ("outputs", []),
            ("outputs", "predictions"),
            ("outputs", ["everything"]),
            ("outputs", [None]),
            ("outputs", {"predictions": True}),
            ("keep", "camera"),
            ("keep", ["gps"]),
            ("keep", ["camera", None]),
            ("keep", {"camera": True}),
            ("focal_point", {"x": 0.5}),
            ("focal_point", {"x": 0.5, "y": 1.1}),
            ("focal_point", [0.5, 0.5]),
            ("metadata", []),
            ("metadata", "x"),
            ("metadata", {"a": 1}),
            ("metadata", {"a": None}),
            ("metadata", {"": "a"}),
            ("metadata", {"a": {"b": "c"}}),
            ("metadata", {"a": "x" * 2041}),
            ("metadata", {"a": "ü" * 1100}),
            ("metadata", {str(n): "x" for n in range(300)}),
            ("colour", "red"),
            ("", "x"),
        ],
    )
    def test_a_wrong_field_is_named(self, world: World, field: str, value: Any) -> None:
        with pytest.raises(InvalidRequest) as caught:
            world.api.create(json_request({field: value}))
        assert (caught.value.status, caught.value.code) == (400, "invalid_request")
        assert caught.value.public_message.startswith((field, f"{field!r}"))
        assert world.images.rows == {}

    def test_all_wrong_fields_are_named_at_once(self, world: World) -> None:
        with pytest.raises(InvalidRequest) as caught:
            world.api.create(
                json_request(
                    {
                        "filename": 1,
                        "content_type": 2,
                        "image_base64": 3,
                        "outputs": 4,
                        "metadata": 5,
                        "colour": 6,
                    }
                )
            )
        message = caught.value.public_message
        for field in ("filename", "content_type", "image_base64", "outputs", "metadata", "colour"):
            assert field in message

    def test_the_name_of_an_unknown_field_is_not_repeated_at_any_length(self, world: World) -> None:
        with pytest.raises(InvalidRequest) as caught:
            world.api.create(json_request({"x" * 10_000: 1}))
        assert len(caught.value.public_message) < 200

    def test_metadata_of_just_the_limit_is_taken(self, world: World) -> None:
        metadata = {"a": "x" * 2040}
        assert len(json.dumps(metadata, separators=(",", ":"))) == 2048
        assert world.api.create(json_request({"metadata": metadata})).status == 201

    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b"nonsense",
            b'{"filename": "\xff"}',
            b'{"metadata": {"a": NaN}}',
            b'{"filename": Infinity}',
            b"[]",
            b'"text"',
            b"1",
            b"null",
            b"true",
            b"[" * 100_000,
            b'{"filename": "a.jpg"} trailing',
            b'{"filename": "\\ud800"}',
            b'{"metadata": {"a": "\\ud800"}}',
        ],
        ids=lambda body: repr(body[:30]),
    )
    def test_a_body_that_is_no_json_object_is_refused(self, world: World, body: bytes) -> None:
        """Defect 15: invalid JSON was answered with 201."""
        with pytest.raises(InvalidRequest) as caught:
            world.api.create(request(body, content_type="application/json"))
        assert "JSON" in caught.value.public_message
        assert world.images.rows == {}


class TestGet:
    def test_a_new_image_shows_what_is_known_and_nothing_else(self, world: World) -> None:
        image_id = world.create()
        assert shown(world, image_id) == {
            "image_id": image_id,
            "status": "pending_upload",
            "conversion_status": "pending",
            "created_at": 1_795_000_000,
            "last_updated": 1_795_000_000,
            "attempts": 1,
            "links": {"self": f"/images/{image_id}"},
            "original": {"filename": "cat.jpg"},
        }

    def test_a_completed_image_shows_its_predictions(self, world: World) -> None:
        """Defect 4: Decimal is no JSON, and every GET was a 500."""
        image_id = world.completed()
        body = shown(world, image_id)
        row = world.row(image_id)
        assert body["status"] == "completed"
        assert body["results"] == {
            "classes": ["ship", "truck"],
            "probabilities": [0.7, 0.2],
            "confidence": 0.7,
        }
        assert (body["top_prediction"], body["confidence"]) == ("ship", 0.7)
        assert body["model"] == {"name": "test", "version": "1", "sha256": "0" * 64}
        assert body["results_url"] == f"https://renditions.test/{row.results_key}?get"
        small = row.renditions["small"]
        assert body["renditions"] == {
            "small": {
                "url": f"https://renditions.test/{small.key}?get",
                "width": 4,
                "height": 3,
                "bytes": small.bytes,
                "content_type": "image/png",
                "encoding_ms": small.encoding_ms,
            }
        }
        assert list(body["formats"]) == ["webp", "jpeg"]
        webp = row.formats["webp"]
        assert body["formats"]["webp"] == {
            "url": f"https://renditions.test/{webp.key}?get",
            "width": 40,
            "height": 30,
            "bytes": webp.bytes,
            "content_type": "image/webp",
            "quality": 85,
            "encoder": webp.encoder,
            "encoding_ms": webp.encoding_ms,
            "bytes_saved": len(PHOTO) - webp.bytes,
        }
        assert world.renditions.links == [
            Link(method="GET", key=key, expires_in=60, content_type=content_type)
            for key, content_type in (
                (small.key, "image/png"),
                (webp.key, "image/webp"),
                (row.formats["jpeg"].key, "image/jpeg"),
                (row.results_key or "", "application/json"),
            )
        ]
        assert body["original"]["width"] == 40
        assert set(body["timings_ms"]) == {
            "queued",
            "preprocessing",
            "inferencing",
            "conversion",
        }
        assert "error" not in body

    def test_the_link_of_a_completed_image_leads_to_its_document(self, world: World) -> None:
        row = world.row(world.completed())
        document = json.loads(world.renditions.objects[row.results_key or ""])
        assert document["image_id"] == row.image_id

    def test_a_failed_image_says_why_in_two_ways(self, world: World) -> None:
        image = put_row(world, status=Status.PREPROCESSING_FAILED, error=TRUNCATED, attempt=3)
        body = shown(world, image.image_id)
        assert body["error"] == {"code": TRUNCATED.code, "message": TRUNCATED.message}
        assert body["attempts"] == 3

    def test_the_fault_of_a_try_that_may_still_be_healed_is_not_shown(self, world: World) -> None:
        """Defect 5: internals were shown to clients."""
        image = put_row(world, status=Status.PREPROCESSING, last_error=TRUNCATED)
        assert "error" not in shown(world, image.image_id)

    def test_a_retried_image_does_not_show_the_predictions_of_before(self, world: World) -> None:
        done = world.row(world.completed())
        world.images.rows[done.image_id] = replace(done, status=Status.PREPROCESSED)
        assert "results" not in shown(world, done.image_id)

    @pytest.mark.parametrize("image_id", [UNKNOWN_ID, *MALFORMED_IDS])
    def test_an_id_that_is_not_there_is_not_found(self, world: World, image_id: str) -> None:
        """Defect 27: an empty id was a 500, and ids were not checked."""
        with pytest.raises(ImageNotFound) as caught:
            world.api.get(image_id)
        assert (caught.value.status, caught.value.code) == (404, "image_not_found")

    @pytest.mark.parametrize("image_id", MALFORMED_IDS)
    def test_a_malformed_id_is_not_even_looked_up(self, world: World, image_id: str) -> None:
        for ask in (world.api.get, world.api.retry, world.api.delete):
            with pytest.raises(ImageNotFound):
                ask(image_id)
        assert world.trail.calls == []


class TestList:
    @pytest.fixture
    def rows(self, world: World) -> list[Image]:
        """Thirty images, newest first; pairs share their millisecond, every third is completed."""
        images = [
            put_row(
                world,
                created_at_ms=1_795_000_000_000 + n // 2,
                status=Status.COMPLETED if n % 3 == 0 else Status.QUEUED,
            )
            for n in range(30)
        ]
        return sorted(images, key=lambda i: (i.created_at_ms, i.image_id), reverse=True)

    def ids(self, answer: Answer) -> list[str]:
        return [item["image_id"] for item in json.loads(answer.text())["items"]]

    def test_a_list_is_newest_first_and_has_25_images_by_default(
        self, world: World, rows: list[Image]
    ) -> None:
        answer = listed(world)
        assert answer.status == 200
        assert self.ids(answer) == [image.image_id for image in rows[:25]]
        assert answer.body["items"][0] == world.api.get(rows[0].image_id).body
        rest = listed(world, cursor=answer.body["next_cursor"])
        assert self.ids(rest) == [image.image_id for image in rows[25:]]
        assert rest.body["next_cursor"] is None

    @pytest.mark.parametrize("status", [None, "completed", "queued"])
    @pytest.mark.parametrize("limit", [1, 4, 7, 100])
    def test_all_pages_together_are_everything_once(
        self, world: World, rows: list[Image], status: str | None, limit: int
    ) -> None:
        query = {"limit": str(limit)} | ({} if status is None else {"status": status})
        seen: list[str] = []
        answer = listed(world, **query)
        seen += self.ids(answer)
        while answer.body["next_cursor"] is not None:
            answer = listed(world, **query, cursor=answer.body["next_cursor"])
            seen += self.ids(answer)
        assert seen == [i.image_id for i in rows if status in (None, i.status.value)]

    def test_an_image_that_comes_in_between_shifts_no_page(
        self, world: World, rows: list[Image]
    ) -> None:
        first = listed(world, limit="10")
        put_row(world, created_at_ms=1_795_000_001_000)
        second = listed(world, limit="10", cursor=first.body["next_cursor"])
        assert self.ids(second) == [image.image_id for image in rows[10:20]]

    def test_an_empty_list_has_no_next_page(self, world: World) -> None:
        assert listed(world).body == {"items": [], "next_cursor": None}

    def test_deleted_images_are_not_listed(self, world: World, rows: list[Image]) -> None:
        world.api.delete(rows[0].image_id)
        assert rows[0].image_id not in self.ids(listed(world))

    @pytest.mark.parametrize("limit", ["1", "100", "007"])
    def test_limits_within_the_bounds_are_taken(self, world: World, limit: str) -> None:
        assert listed(world, limit=limit).status == 200

    @pytest.mark.parametrize(
        "limit", ["0", "101", "-1", "", "abc", "1.5", "1e1", " 5", "٣", "9" * 5000, "0x10", "+5"]
    )
    def test_other_limits_are_refused(self, world: World, limit: str) -> None:
        with pytest.raises(InvalidRequest, match="limit"):
            listed(world, limit=limit)

    @pytest.mark.parametrize("status", ["", "failed", "Completed", "pending", "completed "])
    def test_a_status_outside_the_vocabulary_is_refused(self, world: World, status: str) -> None:
        """Defect 28: the vocabulary of statuses was free."""
        with pytest.raises(InvalidRequest, match="status must be one of pending_upload"):
            listed(world, status=status)

    def test_every_status_of_the_contract_can_be_asked_for(self, world: World) -> None:
        for status in Status:
            assert listed(world, status=status.value).body["items"] == []

    def test_a_cursor_with_any_character_changed_is_refused(
        self, world: World, rows: list[Image]
    ) -> None:
        cursor = listed(world, limit="5").body["next_cursor"]
        for place, character in enumerate(cursor):
            other = "A" if character != "A" else "B"
            with pytest.raises(InvalidCursor) as caught:
                listed(world, limit="5", cursor=cursor[:place] + other + cursor[place + 1 :])
            assert (caught.value.status, caught.value.code) == (400, "invalid_cursor")

    @pytest.mark.parametrize("cursor", ["", "x", ".", "é", "a.b.c", "e30.x", "\x00", "1" * 9999])
    def test_what_is_no_cursor_is_refused(self, world: World, cursor: str) -> None:
        with pytest.raises(InvalidCursor):
            listed(world, cursor=cursor)

    def test_the_cursor_of_another_query_is_refused(self, world: World, rows: list[Image]) -> None:
        of_all = listed(world, limit="5").body["next_cursor"]
        of_queued = listed(world, limit="5", status="queued").body["next_cursor"]
        for query in (
            {"cursor": of_all, "status": "queued"},
            {"cursor": of_queued},
            {"cursor": of_queued, "status": "completed"},
        ):
            with pytest.raises(InvalidCursor):
                listed(world, limit="5", **query)

    def test_the_cursor_of_another_service_is_refused(
        self, world: World, rows: list[Image]
    ) -> None:
        foreign = Cursors(secret=lambda: "another secret").seal("images?status=", "9")
        with pytest.raises(InvalidCursor):
            listed(world, cursor=foreign)

    def test_the_size_of_the_pages_may_change_on_the_way(
        self, world: World, rows: list[Image]
    ) -> None:
        cursor = listed(world, limit="3").body["next_cursor"]
        answer = listed(world, limit="9", cursor=cursor)
        assert self.ids(answer) == [image.image_id for image in rows[3:12]]


class TestRetry:
    @pytest.mark.parametrize(
        ("failed", "error", "status", "queue"),
        [
            (Status.PREPROCESSING_FAILED, TRUNCATED, "queued", "preprocessing"),
            (Status.INFERENCE_FAILED, TRUNCATED, "preprocessed", "inference"),
            (Status.INFERENCE_FAILED, INPUT_UNUSABLE, "queued", "preprocessing"),
        ],
    )
    def test_a_retry_begins_with_the_step_that_failed(
        self, world: World, failed: Status, error: Failure, status: str, queue: str
    ) -> None:
        image = put_row(world, status=failed, error=error, generation="v1")
        answer = world.api.retry(image.image_id)
        assert answer.status == 202
        assert json.loads(answer.text()) == {
            "image_id": image.image_id,
            "status": status,
            "conversion_status": "pending",
            "attempts": 2,
            "links": {"self": f"/images/{image.image_id}"},
        }
        [message] = world.sent
        assert message == replace(
            first_message(image, attempt=2), queued_at_ms=message.queued_at_ms
        )
        # From `queued` on, `preprocess` sends the copies on their way.
        again = [] if status == "queued" else [messages.encode(message)]
        assert world.conversion_queue.sent == again
        assert world.trail.calls[-2:] == [f"{queue}.send", "images.retry"]
        row = world.row(image.image_id)
        assert (row.status, row.attempt, row.error) == (status, 2, None)

    @pytest.mark.parametrize("status", [s for s in Status if not s.failed])
    def test_where_nothing_failed_there_is_nothing_to_retry(
        self, world: World, status: Status
    ) -> None:
        """Defect 28: `'failed' in status` decided on a retry."""
        image = put_row(world, status=status, generation="v1")
        with pytest.raises(NotRetryable) as caught:
            world.api.retry(image.image_id)
        assert (caught.value.status, caught.value.code) == (409, "not_retryable")
        assert status.value in caught.value.public_message
        assert world.row(image.image_id) == image
        assert world.sent == []

    def test_a_second_retry_finds_nothing_failed(self, world: World) -> None:
        image = put_row(world, status=Status.PREPROCESSING_FAILED, generation="v1")
        world.api.retry(image.image_id)
        with pytest.raises(NotRetryable):
            world.api.retry(image.image_id)
        assert len(world.sent) == 1

    def test_two_retries_that_race_open_one_attempt(self, world: World) -> None:
        image = failed_image(world)
        answers: list[Answer] = []

        def meanwhile() -> None:
            answers.append(world.api.retry(image.image_id))

        world.trail.at_next("preprocessing.send", "after", meanwhile)
        answers.append(world.api.retry(image.image_id))
        assert [answer.body["attempts"] for answer in answers] == [2, 2]
        world.work()
        row = world.row(image.image_id)
        assert (row.status, row.attempt) == (Status.COMPLETED, 2)
        assert len(world.results) == 1
        assert len(world.classifier.seen) == 1

    def test_a_crash_between_the_message_and_the_row_loses_nothing(self, world: World) -> None:
        image = failed_image(world)
        world.trail.at_next("images.retry", "before", crash)
        with pytest.raises(Crash):
            world.api.retry(image.image_id)
        assert world.row(image.image_id).status is Status.PREPROCESSING_FAILED
        world.work()
        row = world.row(image.image_id)
        assert (row.status, row.attempt, row.error) == (Status.COMPLETED, 2, None)
        assert row.conversion_status is ConversionStatus.COMPLETED

    def test_a_worker_that_is_quicker_than_the_row_is_not_taken_back(self, world: World) -> None:
        image = failed_image(world)
        world.trail.at_next("preprocessing.send", "after", world.work)
        answer = world.api.retry(image.image_id)
        assert (answer.body["status"], answer.body["attempts"]) == ("completed", 2)
        assert world.row(image.image_id).status is Status.COMPLETED
        world.assert_statuses_never_went_back()

    def test_a_message_that_cannot_be_sent_leaves_the_image_failed(self, world: World) -> None:
        image = failed_image(world)
        world.trail.at_next("preprocessing.send", "before", unavailable)
        with pytest.raises(ServiceUnavailable):
            world.api.retry(image.image_id)
        assert world.row(image.image_id) == image
        assert world.api.retry(image.image_id).status == 202

    def test_an_unknown_or_deleted_image_cannot_be_retried(self, world: World) -> None:
        image = failed_image(world)
        world.api.delete(image.image_id)
        for image_id in (image.image_id, new_image_id()):
            with pytest.raises(ImageNotFound):
                world.api.retry(image_id)


class TestDelete:
    def test_the_record_the_original_and_everything_made_of_it_are_gone(self, world: World) -> None:
        image_id = world.completed()
        for folder in ("renditions", "formats"):
            world.renditions.put(f"{folder}/{image_id}/g/x.jpg", b"x", content_type="image/jpeg")
        world.upload(image_id)
        answer = world.api.delete(image_id)
        assert (answer.status, answer.body, answer.text()) == (204, None, "")
        assert world.uploads.versions == {}
        assert world.renditions.versions == {}
        with pytest.raises(ImageNotFound):
            world.api.get(image_id)

    def test_only_that_image_is_removed(self, world: World) -> None:
        image_ids = [world.completed() for _ in range(2)]
        objects = len(world.uploads.objects), len(world.renditions.objects)
        world.api.delete(image_ids[0])
        assert (len(world.uploads.objects), len(world.renditions.objects)) == (
            objects[0] // 2,
            objects[1] // 2,
        )
        assert shown(world, image_ids[1])["status"] == "completed"

    def test_an_object_put_straight_into_the_bucket_is_removed_with_its_image(
        self, world: World
    ) -> None:
        world.run(world.store("uploads/my photo.jpg"))
        other = world.store("uploads/my photo 2.jpg")
        world.api.delete(world.only_row.image_id)
        assert list(world.uploads.objects) == [other.key]
        assert world.renditions.objects == {}

    def test_an_image_without_an_upload_is_removed(self, world: World) -> None:
        image_id = world.create()
        assert world.api.delete(image_id).status == 204
        assert isinstance(world.images.rows[image_id], Tombstone)

    def test_a_second_deletion_finds_nothing(self, world: World) -> None:
        image_id = world.completed()
        world.api.delete(image_id)
        with pytest.raises(ImageNotFound):
            world.api.delete(image_id)

    def test_an_unknown_image_cannot_be_deleted_and_leaves_no_trace(self, world: World) -> None:
        with pytest.raises(ImageNotFound):
            world.api.delete(new_image_id())
        assert world.images.rows == {}

    def test_a_deletion_that_is_broken_off_is_taken_up_by_the_next(self, world: World) -> None:
        image_id = world.completed()
        world.trail.at_next("renditions.delete_prefix", "before", unavailable)
        with pytest.raises(ServiceUnavailable):
            world.api.delete(image_id)
        with pytest.raises(ImageNotFound):
            world.api.get(image_id)
        assert world.api.delete(image_id).status == 204
        assert world.renditions.versions == world.uploads.versions == {}


def failed_image(world: World) -> Image:
    """An image whose original was away for a while."""
    image_id = world.create()
    upload = world.upload(image_id, photo("navy"))
    stored = world.uploads.versions.pop(upload.key)
    world.run(upload)
    world.uploads.versions[upload.key] = stored
    image = world.row(image_id)
    assert image.status is Status.PREPROCESSING_FAILED
    assert image.original == Original(filename="cat.jpg", bytes=upload.size_bytes)
    return image


def event_of(world: World, answer: Answer) -> Any:
    """The event of the object that a request stored."""
    key = source_key(answer.body["image_id"])
    version = world.uploads.versions[key][-1]
    return Stored(key=key, version_id=version.version_id, size_bytes=len(PHOTO)).event()
