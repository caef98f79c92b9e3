"""Every way in, from the upload to the predictions."""

import base64
import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.polling import eventually
from tests.system.conftest import UPLOADS_BUCKET, Service, photo


def assert_complete(image: dict[str, Any], *, size: tuple[int, int] = (320, 240)) -> None:
    """All that the contract promises of a completed image."""
    assert image["status"] == "completed", image
    results = image["results"]
    assert len(results["classes"]) == len(results["probabilities"]) == 5
    assert results["probabilities"] == sorted(results["probabilities"], reverse=True)
    assert 0 < sum(results["probabilities"]) <= 1.00001
    assert image["top_prediction"] == results["classes"][0]
    assert image["confidence"] == results["confidence"] == results["probabilities"][0]
    assert image["model"]["name"]
    assert image["model"]["version"]
    assert (image["original"]["width"], image["original"]["height"]) == size
    assert len(image["original"]["sha256"]) == 64
    steps = {"queued", "preprocessing", "inferencing", "conversion"}
    assert set(image["timings_ms"]) == steps
    assert image["attempts"] == 1
    assert "error" not in image
    for name, dimensions in {"standard": (800, 600), "thumb": (150, 150)}.items():
        copy = image["renditions"][name]
        assert (copy["width"], copy["height"]) == dimensions
        fetched = httpx.get(copy["url"])
        assert fetched.headers["content-type"] == copy["content_type"] == "image/jpeg"
        assert "immutable" in fetched.headers["cache-control"]
        assert len(fetched.content) == copy["bytes"]
        with Image.open(io.BytesIO(fetched.content)) as opened:
            assert opened.size == dimensions
            # The canvas is white around a picture that is smaller than it.
            assert name == "thumb" or opened.convert("RGB").getpixel((5, 5)) == (255, 255, 255)
    assert_copies(image, size=size)
    document = httpx.get(image["results_url"])
    assert document.headers["content-type"] == "application/json"
    assert document.json()["classes"] == results["classes"]


def assert_copies(image: dict[str, Any], *, size: tuple[int, int]) -> None:
    """Each copy at full size can be fetched, and is what the record says that it is."""
    assert image["conversion_status"] == "completed", image
    assert "conversion_error" not in image
    assert set(image["formats"]) == {"webp", "jpeg", "png"}
    for name, copy in image["formats"].items():
        assert (copy["width"], copy["height"]) == size
        assert copy["bytes_saved"] == image["original"]["bytes"] - copy["bytes"]
        assert copy["encoding_ms"] >= 0
        assert copy["encoder"]
        fetched = httpx.get(copy["url"])
        assert fetched.headers["content-type"] == copy["content_type"] == f"image/{name}"
        assert fetched.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert len(fetched.content) == copy["bytes"]
        with Image.open(io.BytesIO(fetched.content)) as opened:
            assert (opened.format, opened.size) == (name.upper(), size)


def test_a_form_upload_is_classified(service: Service) -> None:
    body = photo()
    created = service.api.post("/images", json={"filename": "cat.jpg", "metadata": {"order": "7"}})
    assert created.status_code == 201
    answer = created.json()
    assert answer["status"] == "pending_upload"
    assert service.image(answer["image_id"])["status"] == "pending_upload"
    sent = httpx.post(
        answer["upload"]["url"],
        data=answer["upload"]["fields"],
        files={"file": ("cat.jpg", body, "image/jpeg")},
    )
    assert sent.status_code == 204, sent.text
    image = service.finished(answer["image_id"])
    assert_complete(image)
    assert image["metadata"] == {"order": "7"}
    assert image["original"]["filename"] == "cat.jpg"
    assert image["original"]["bytes"] == len(body)


def test_a_put_to_the_upload_url_is_classified(service: Service) -> None:
    answer = service.api.post("/images").json()
    assert httpx.put(answer["upload_url"], content=photo(kind="PNG")).status_code == 200
    image = service.finished(answer["image_id"])
    assert_complete(image)
    assert image["original"]["content_type"] == "image/png"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_raw_bytes_of_every_type_are_classified(service: Service, kind: str) -> None:
    answer = service.api.post(
        "/images", content=photo(kind=kind), headers={"Content-Type": f"image/{kind.lower()}"}
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["status"] == "queued"
    assert "upload" not in answer.json()
    assert service.image(answer.json()["image_id"])["status"] != "pending_upload"
    assert_complete(service.finished(answer.json()["image_id"]))


def test_base64_is_classified_once(service: Service) -> None:
    """Defect 1: the object's event and a message of the API's own made two of everything."""
    encoded = base64.b64encode(photo()).decode()
    answer = service.api.post("/images", json={"image_base64": encoded, "filename": "b.jpg"})
    assert answer.json()["status"] == "queued"
    image_id = answer.json()["image_id"]
    assert_complete(service.finished(image_id))
    assert len(service.keys(UPLOADS_BUCKET, f"processed/{image_id}/")) == 1


@pytest.mark.parametrize(
    "name",
    [
        "with space.jpg",
        "plus+and%20percent.jpg",
        "Käfer-日本-🪲.JPG",
        "UPPER.JPEG",
        "no-extension",
        "quote'\"&=?#.png",
        "deep/er/path/photo.jpg",
    ],
)
def test_an_object_put_straight_into_the_bucket_is_classified(service: Service, name: str) -> None:
    """Defects 9, 10 and 24: encoded keys failed, names collided, rows had no date."""
    service.deployed.aws("s3").put_object(
        Bucket=UPLOADS_BUCKET, Key=f"uploads/direct/{name}", Body=photo()
    )
    image = service.finished_file(name.rpartition("/")[2])
    assert_complete(image)
    assert image["created_at"] > 1_700_000_000


def test_the_same_name_twice_makes_two_images(service: Service) -> None:
    """Defect 10: the id was the name up to its first dot."""
    s3 = service.deployed.aws("s3")
    for folder in ("a", "b"):
        s3.put_object(Bucket=UPLOADS_BUCKET, Key=f"uploads/{folder}/twin.jpg", Body=photo())

    def both() -> bool:
        items = service.api.get("/images", params={"limit": 100}).json()["items"]
        names = [image.get("original", {}).get("filename") for image in items]
        return names.count("twin.jpg") == 2

    eventually(both, seconds=60, what="there are two images")


def test_of_a_link_used_twice_the_first_upload_counts(service: Service) -> None:
    answer = service.api.post("/images").json()
    httpx.put(answer["upload_url"], content=photo(width=320)).raise_for_status()
    first = service.finished(answer["image_id"])
    httpx.put(answer["upload_url"], content=photo(width=640)).raise_for_status()
    again = service.finished(answer["image_id"])
    assert again["original"] == first["original"]
    assert_complete(again)


def test_without_predictions_asked_for_none_are_made(service: Service) -> None:
    answer = service.api.post(
        "/images",
        json={
            "image_base64": base64.b64encode(photo()).decode(),
            "outputs": ["renditions"],
            "focal_point": {"x": 0.2, "y": 0.8},
        },
    )
    image = service.finished(answer.json()["image_id"])
    assert image["status"] == "completed"
    assert image["conversion_status"] == "skipped"
    assert "results" not in image
    assert set(image["renditions"]) == {"standard", "thumb"}


def test_the_list_shows_the_newest_first_and_pages_to_the_end(service: Service) -> None:
    for _ in range(3):
        service.api.post("/images")
    seen: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = service.api.get("/images", params=parameters).json()
        assert len(page["items"]) <= 2
        seen += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    created = [image["created_at"] for image in seen]
    assert created == sorted(created, reverse=True)
    ids = [image["image_id"] for image in seen]
    assert len(set(ids)) == len(ids) >= 3
    pending = service.api.get("/images", params={"status": "pending_upload", "limit": 100}).json()
    assert {image["status"] for image in pending["items"]} == {"pending_upload"}


def test_an_idempotency_key_makes_one_image(service: Service) -> None:
    """Invariant 12."""
    headers = {"Idempotency-Key": "order-4711", "Content-Type": "application/json"}
    body = json.dumps({"filename": "once.jpg"})
    first = service.api.post("/images", content=body, headers=headers)
    again = service.api.post("/images", content=body, headers=headers)
    other = service.api.post("/images", content=json.dumps({}), headers=headers)
    assert first.status_code == again.status_code == 201
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency_key_reused"


def test_a_turned_photo_with_a_place_gets_upright_copies_that_tell_nothing(
    service: Service,
) -> None:
    """Defects 40 and T6: copies lay on their side, and told where they were taken."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Camera of a test"
    exif.get_ifd(0x8825)[1] = "N"
    buffer = io.BytesIO()
    gradient = Image.linear_gradient("L").resize((320, 240)).convert("RGB")
    gradient.save(buffer, "JPEG", exif=exif, comment=b"where I live")
    answer = service.api.post(
        "/images", content=buffer.getvalue(), headers={"Content-Type": "image/jpeg"}
    )
    image = service.finished(answer.json()["image_id"])
    assert_complete(image, size=(240, 320))
    assert image["original"]["orientation"] == 6
    assert image["original"]["kind"] == "photo"
    for copy in (*image["formats"].values(), *image["renditions"].values()):
        body = httpx.get(copy["url"]).content
        assert not any(trace in body for trace in (b"Exif", b"Camera", b"where I live"))
        with Image.open(io.BytesIO(body)) as opened:
            shown = np.asarray(opened.convert("L").crop((0, 30, opened.width, 90)), int)
            # Rows of the stored ramp have become columns.
            assert np.ptp(shown, axis=0).max() < 30


def test_an_animation_is_kept_in_the_webp(service: Service) -> None:
    """Defect 47."""
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "lime", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=70, loop=0)
    answer = service.api.post(
        "/images", content=buffer.getvalue(), headers={"Content-Type": "image/gif"}
    )
    image = service.finished(answer.json()["image_id"])
    assert image["original"]["frames"] == image["formats"]["webp"]["frames"] == 3
    assert "frames" not in image["formats"]["jpeg"]
    with Image.open(io.BytesIO(httpx.get(image["formats"]["webp"]["url"]).content)) as opened:
        assert getattr(opened, "n_frames", 1) == 3
