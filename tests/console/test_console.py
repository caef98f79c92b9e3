"""What a person does with the console, in a real browser against the local stack."""

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from chalicelib import console
from tests.conftest import Deployed
from tests.console.conftest import PHONE, Opens, Window
from tests.polling import eventually
from tests.system.conftest import UPLOADS_BUCKET, photo

SENT_FIRST = "#uploads"


@pytest.fixture
def completed(deployed: Deployed) -> dict[str, Any]:
    """An image of which everything is made."""
    created = deployed.api.post(
        "/images", content=photo(width=640, height=480), headers={"Content-Type": "image/jpeg"}
    ).json()

    def done() -> dict[str, Any] | None:
        image: dict[str, Any] = deployed.api.get(f"/images/{created['image_id']}").json()
        finished = {image["status"], image["conversion_status"]} == {"completed"}
        return image if finished else None

    return eventually(done, seconds=60, what="the image is completed")


@pytest.fixture
def staged(deployed: Deployed) -> Iterator[str]:
    """An origin at which the service lies below ``/api`` and nothing beside it, as deployed."""

    class Gateway(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            inside = re.fullmatch(r"/api(?:/(.*))?", self.path)
            answer = deployed.api.get(f"/{inside[1] or ''}" if inside else "/nothing/here")
            self.send_response(answer.status_code)
            for name in ("Content-Type", "Content-Security-Policy"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@dataclass(frozen=True)
class Archive:
    """The archive of dead letters in the bucket."""

    deployed: Deployed

    def put(self, step: str, message_id: str, *, body: str, **about: Any) -> None:
        document = {
            "step": step,
            "message_id": message_id,
            "body": body,
            "buried_at_ms": int(time.time() * 1000) - 7_200_000,
            "image_id": about.get("image_id"),
            "tracking_id": about.get("tracking_id"),
            "reason": {"code": "worker_lost", "message": "Processing stopped without a reason."},
        }
        self.deployed.aws("s3").put_object(
            Bucket=UPLOADS_BUCKET,
            Key=f"dead-letters/{step}/{message_id}.json",
            Body=json.dumps(document).encode(),
        )

    def message(self, image_id: str) -> str:
        """What a queue says of an image that waits for its upload."""
        message = {"image_id": image_id, "generation": "", "attempt": 1, "queued_at_ms": 1}
        return json.dumps({**message, "version": 1})

    def listed(self) -> list[str]:
        page = self.deployed.aws("s3").list_objects_v2(
            Bucket=UPLOADS_BUCKET, Prefix="dead-letters/"
        )
        return [entry["Key"] for entry in page.get("Contents", [])]

    def clear(self) -> None:
        for key in self.listed():
            self.deployed.aws("s3").delete_object(Bucket=UPLOADS_BUCKET, Key=key)


def upload_of(page: Page, name: str) -> Any:
    """The line of a file that was sent from this page."""
    return page.locator(f'[data-upload="{name}"]')


def test_five_photos_are_sent_and_followed_and_one_that_is_broken_is_retried_and_deleted(
    window: Window, deployed: Deployed
) -> None:
    page = window.page
    good = [(f"photo-{number}.jpeg", photo(width=400 + number)) for number in range(4)]
    whole = photo(width=640, height=480)
    window.send(*good, ("broken.jpeg", whole[: len(whole) // 2]))
    expect(page.locator(f"{SENT_FIRST} .line")).to_have_count(5)
    for name, _ in good:
        expect(upload_of(page, name).locator(".pill")).to_have_text("Completed")
        expect(upload_of(page, name).locator(".steps .is-done")).to_have_count(4)
    broken = upload_of(page, "broken.jpeg")
    expect(broken.locator(".pill")).to_have_text("Preprocessing failed")
    expect(broken.locator(".why")).to_contain_text("image_truncated")
    expect(page.locator(SENT_FIRST)).to_contain_text("5 finished")
    (listed,) = (
        image
        for image in deployed.api.get("/images?status=preprocessing_failed").json()["items"]
        if image["original"].get("filename") == "broken.jpeg"
    )
    broken.get_by_role("button", name="Retry broken.jpeg").click()

    def failed_again() -> bool:
        image = deployed.api.get(f"/images/{listed['image_id']}").json()
        return (image["attempts"], image["status"]) == (2, "preprocessing_failed")

    eventually(failed_again, seconds=90, what="the retry is an attempt of its own, and fails")
    expect(page.locator(SENT_FIRST)).to_contain_text("5 finished")
    expect(broken.locator(".why")).to_contain_text("image_truncated")
    row = page.locator(f'[data-image="{listed["image_id"]}"]')
    expect(row).to_have_count(1)
    row.get_by_role("button", name="Delete broken.jpeg").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep").click()
    expect(row).to_have_count(1)
    row.get_by_role("button", name="Delete broken.jpeg").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    expect(broken).to_have_count(0)
    assert deployed.api.get(f"/images/{listed['image_id']}").status_code == 404


def test_a_file_that_is_no_image_is_sent_and_told_why_it_failed(window: Window) -> None:
    window.send(("notes.txt", b"no picture at all"), kind="text")
    line = upload_of(window.page, "notes.txt")
    expect(line.locator(".why")).to_contain_text("unsupported_media_type")


def test_an_upload_that_the_bucket_refuses_says_so_and_can_be_sent_again(window: Window) -> None:
    page = window.page
    buckets = re.compile(r"uploads-000000000000/?$")
    refusal = "<Error><Code>EntityTooLarge</Code><Message>no</Message></Error>"
    headers = {"Access-Control-Allow-Origin": "*"}

    def refuse(route: Route) -> None:
        route.fulfill(status=400, body=refusal, headers=headers, content_type="application/xml")

    page.route(buckets, refuse)
    window.send(("large.jpeg", photo()))
    line = upload_of(page, "large.jpeg")
    expect(line.locator(".why")).to_contain_text("entity_too_large")
    page.unroute(buckets)
    # The browser says so too.
    window.complaints.clear()
    line.get_by_role("button", name="Retry large.jpeg").click()
    expect(line.locator(".pill")).to_have_text("Completed")


def test_an_image_shows_what_was_seen_what_was_made_and_how_long_it_took(
    opens: Opens, completed: dict[str, Any]
) -> None:
    page = opens(f"#/images/{completed['image_id']}").page
    expect(page.locator("[aria-labelledby=seen] li")).to_have_count(5)
    expect(page.locator("[aria-labelledby=seen]")).to_contain_text(completed["top_prediction"])
    expect(page.locator("[aria-labelledby=times] li")).to_have_count(len(completed["timings_ms"]))
    expect(page.locator("[aria-labelledby=came]")).to_contain_text(completed["original"]["sha256"])
    loaded = "image => image.complete && image.naturalWidth"
    assert page.locator("img.picture").evaluate(loaded) == 800
    copies = page.locator("[aria-labelledby=both]")
    expect(copies.locator("tbody tr")).to_have_count(3)
    slider = copies.get_by_role("slider")
    cut = "element => element.parentNode.style.getPropertyValue('--cut')"
    for name in ("webp", "jpeg", "png"):
        copies.locator(f"input[value={name}]").check(force=True)
        shown = copies.locator(".compare img.copy")
        expect(shown).to_have_attribute("alt", re.compile(name, re.IGNORECASE))
        eventually(lambda: shown.evaluate(loaded) == 640, seconds=10, what=f"{name} is shown")  # noqa: B023
        slider.focus()
        page.keyboard.press("Home")
        assert slider.evaluate(cut) == "0%"
        page.keyboard.press("End")
        assert slider.evaluate(cut) == "100%"
    saved = completed["formats"]["webp"]["bytes_saved"] / completed["original"]["bytes"]
    expect(copies.locator(".choice label").first).to_contain_text(f"{abs(saved) * 100:.0f} %")


def test_the_list_is_filtered_by_status_and_read_page_by_page(
    opens: Opens, deployed: Deployed
) -> None:
    for number in range(21):
        deployed.api.post("/images", json={"filename": f"waiting-{number}.jpg"})
    page = opens().page
    page.get_by_label("Status").select_option("pending_upload")
    expect(page.locator("#list-title")).to_be_visible()
    lines = page.locator("[data-image]")
    expect(lines).to_have_count(20)
    assert {text.strip() for text in lines.locator(".pill").all_inner_texts()} == {"Pending upload"}
    first = lines.first.get_attribute("data-image")
    page.get_by_role("button", name="Older").click()
    expect(page.get_by_role("button", name="Newer")).to_be_visible()
    expect(page.locator(f'[data-image="{first}"]')).to_have_count(0)
    page.get_by_role("button", name="Newer").click()
    expect(page.locator(f'[data-image="{first}"]')).to_have_count(1)


def test_a_parcel_is_updated_with_a_photo_and_its_way_is_shown(
    opens: Opens, completed: dict[str, Any], deployed: Deployed
) -> None:
    window = opens("#/parcels")
    page = window.page
    page.get_by_label("Tracking id", exact=True).fill("PX-console")
    page.get_by_role("button", name="Send the update").click()
    expect(page.locator("#e-lat")).to_contain_text("Must be a number from -90 to 90")
    expect(page.locator("#f-lat")).to_be_focused()
    # The browser says of the 400 that it was one.
    window.complaints.clear()
    for status, lat, lng in (("in_transit", "52.52", "13.405"), ("delivered", "48.8570", "2.352")):
        page.get_by_label("Status").select_option(status)
        page.get_by_label("Latitude").fill(lat)
        page.get_by_label("Longitude").fill(lng)
        page.locator(f'input[value="{completed["image_id"]}"]').check(force=True)
        page.get_by_role("button", name="Send the update").click()
        history = page.locator("[aria-labelledby=history] li")
        expect(history).to_have_count(1 if status == "in_transit" else 2)
        expect(history.first.locator("img")).to_have_count(1)
        expect(page.locator("[aria-labelledby=now] .pill")).to_have_text(
            status.replace("_", " ").capitalize()
        )
    expect(page.locator(".map")).to_have_attribute("aria-label", re.compile(r"2 places.*48.857°N"))
    shown = deployed.api.get("/status?tracking_id=PX-console").json()
    assert shown["current"]["image_id"] == completed["image_id"]


@pytest.fixture
def letters(deployed: Deployed) -> Iterator[Archive]:
    """Three dead letters: of an image that failed, of nobody knows what, and of a parcel."""
    archive = Archive(deployed)
    archive.clear()
    created = deployed.api.post("/images", json={"filename": "lost.jpg"}).json()
    archive.put("preprocess", "a1", body=archive.message(created["image_id"]), **created)
    archive.put("ingest", "b2", body="no JSON")
    archive.put("mail", "c3", body="{}", tracking_id="PX-9")
    yield archive
    archive.clear()


def test_health_shows_queues_and_dead_letters_and_sends_one_and_all_back(
    opens: Opens, letters: Archive
) -> None:
    page = opens("#/health").page
    expect(page.get_by_text("Preprocessing queue")).to_be_visible()
    lines = page.locator("[aria-labelledby=lost] .line")
    expect(lines).to_have_count(3)
    expect(lines.filter(has_text="Preprocess")).to_contain_text("worker_lost")
    expect(lines.get_by_role("link", name="PX-9")).to_have_attribute("href", "#/parcels/PX-9")
    image = page.get_by_role("button", name=re.compile("Redrive Image .*, preprocess"))
    image.click()
    # The letter is of an upload that its image knows nothing of.
    expect(page.locator("#toast")).to_have_text("Letters: 1 settled.")
    expect(lines).to_have_count(2)
    page.get_by_role("button", name="Redrive all 2").click()
    expect(page.locator("#toast")).to_have_text("Letters: 2 unreadable.")
    expect(lines).to_have_count(2)
    letters.put("ingest", "b2", body='{"Records": []}')
    page.get_by_role("button", name=re.compile("Redrive Message b2")).click()
    expect(page.locator("#toast")).to_have_text("Letters: 1 sent.")
    expect(lines).to_have_count(1)
    letters.clear()
    page.reload()
    expect(page.get_by_text("Nothing was given up.")).to_be_visible()


def test_letters_that_cannot_be_asked_for_are_told_and_asked_for_again(opens: Opens) -> None:
    window = opens()
    page = window.page
    page.route(
        "**/dead-letters?*", lambda route: route.fulfill(status=503, json={"error": "Busy."})
    )
    page.goto(f"{window.url}#/health")
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("Busy.")
    page.unroute("**/dead-letters?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    window.complaints.clear()


def test_a_service_that_does_not_answer_is_told_and_asked_again(opens: Opens) -> None:
    window = opens("#/health")
    page = window.page
    expect(page.get_by_text("Preprocessing queue")).to_be_visible()
    degraded = {
        "status": "degraded",
        "checks": {"images_table": {"status": "failing"}},
        "failing": ["images_table"],
    }
    page.route("**/health", lambda route: route.fulfill(status=503, json=degraded))
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("Not answering: images table.")
    page.route("**/images?*", lambda route: route.abort())
    page.goto(f"{window.url}#/")
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer")
    page.unroute("**/images?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    # The browser says that requests failed, as they were made to.
    window.complaints.clear()


@pytest.mark.parametrize("place", ["parcels", "health"])
def test_where_signed_requests_alone_are_taken_the_page_says_so_and_asks_nothing(
    opens: Opens, place: str
) -> None:
    window = opens()
    page = window.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    def deployed_page(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=console.page(stage="prod", signed=True))

    page.route(window.url, deployed_page)
    # Another place alone loads nothing anew.
    page.goto("about:blank")
    asked.clear()
    page.goto(f"{window.url}#/{place}")
    expect(page.locator("[aria-labelledby=signed]")).to_contain_text("behind AWS_IAM")
    expect(page.locator(".stage")).to_have_text("prod")
    assert page.locator("form[data-submit=track]").count() == 0
    assert not [url for url in asked if re.search("/(status|track|dead-letters)", url)]


@pytest.mark.parametrize("path", ["api", "api/"])
def test_below_the_path_of_a_stage_it_works_the_same(
    opens: Opens, completed: dict[str, Any], staged: str, path: str
) -> None:
    """API Gateway puts the stage in front, and answers with and without a slash at the end."""
    window = opens()
    page = window.page
    window.origins.add(staged)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{staged}/{path}")
    page.locator(f'[data-image="{completed["image_id"]}"] a').click()
    expect(page.locator("[aria-labelledby=seen] li")).to_have_count(5)
    expect(page.get_by_role("link", name="API")).to_have_attribute("href", "/api/docs")
    assert {url for url in asked if url.startswith(staged)}
    assert [url for url in asked if url.startswith(window.url)] == []
    page.get_by_role("link", name="API").click()
    page.get_by_role("link", name="Darkroom").click()
    expect(page.locator("[data-image]").first).to_be_visible()


def test_the_keyboard_alone_reaches_everything(window: Window) -> None:
    page = window.page
    expect(page.locator("#list-title")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#files")).to_be_focused()
    page.get_by_role("link", name="Health").press("Enter")
    expect(page.locator("h1")).to_have_text("Health")
    expect(page.locator("h1")).to_be_focused()
    assert page.title() == "Health · Darkroom"


@pytest.mark.parametrize("place", ["", "#/parcels/PX-phone", "#/health", "#/images/IMAGE", "docs"])
def test_a_phone_shows_everything_without_scrolling_sideways(
    opens: Opens, completed: dict[str, Any], deployed: Deployed, place: str
) -> None:
    for lat in (48.857, -33.868):
        update = {
            "tracking_id": "PX-phone",
            "status": "pending",
            "location": {"lat": lat, "lng": 2},
        }
        assert deployed.api.post("/track", json=update).status_code == 200
    page = opens(place.replace("IMAGE", completed["image_id"]), viewport=PHONE, has_touch=True).page
    expect(page.locator("h1")).to_be_visible()
    page.wait_for_load_state("networkidle")
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= PHONE["width"]


def test_colours_follow_the_system_or_the_choice_that_is_remembered(opens: Opens) -> None:
    window = opens(color_scheme="dark")
    page = window.page

    def brightness() -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in re.findall(r"\d+", colour)[:3])

    assert brightness() < 150
    button = page.get_by_role("button", name="Colours")
    button.click()
    expect(button).to_have_text("Light")
    assert brightness() > 600
    page.reload()
    assert brightness() > 600


def test_an_answer_of_the_api_is_text_and_never_markup(opens: Opens, deployed: Deployed) -> None:
    """A file's name is what anybody likes."""
    name = '<img src=x onerror="document.title=1">.jpg'
    created = deployed.api.post("/images", json={"filename": name}).json()
    page = opens().page
    expect(page.locator(f'[data-image="{created["image_id"]}"] .name')).to_have_text(name)
    assert page.title() == "Images · Darkroom"


def test_the_page_weighs_less_than_60_kb_and_brings_nothing_with_it(deployed: Deployed) -> None:
    answer = deployed.api.get("/")
    assert answer.status_code == 200
    assert len(answer.content) < 60_000
    text = answer.text
    assert (
        re.findall(r"""(?:src|href)=["'](?!#|data:|docs)[^"']*""", text.split("<script")[0]) == []
    )
    assert "@import" not in text
    assert json.dumps(answer.headers["Content-Security-Policy"]).count("unsafe") == 0
