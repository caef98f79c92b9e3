"""The pictures of docs/images: ``SCREENSHOTS=1 make test T=tests/console/test_screenshots.py``."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from local.samples import sample_photos
from tests.console.conftest import PHONE, Opens
from tests.console.test_console import Archive
from tests.console.test_console import letters as letters  # noqa: PLC0414
from tests.images import truncated

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"

pytestmark = pytest.mark.skipif(
    "SCREENSHOTS" not in os.environ, reason="docs/images is written on request: SCREENSHOTS=1"
)


def keep(page: Page, name: str) -> None:
    """A screenshot in few colours: a quarter of the bytes."""
    page.wait_for_load_state("networkidle")
    shot = Image.open(io.BytesIO(page.screenshot()))
    shot.convert("RGB").quantize(96).save(FOLDER / f"{name}.png", optimize=True)


def test_the_console_is_photographed(opens: Opens, letters: Archive) -> None:
    window = opens(viewport={"width": 1100, "height": 820})
    page = window.page
    photos = [(path.name.replace("jpg", "jpeg"), path.read_bytes()) for path in sample_photos()]
    window.send(*photos, ("receipt.jpeg", truncated("JPEG")))
    expect(page.locator("#uploads")).to_contain_text("6 finished")
    keep(page, "console-images")
    page.locator('[data-upload="coffee.png"] a').click()
    page.locator(".compare img.copy").wait_for()
    page.locator("#both").scroll_into_view_if_needed()
    page.evaluate("scrollTo(0, document.getElementById('both').offsetTop - 90)")
    keep(page, "console-compare")
    dark = opens("#/parcels", viewport={"width": 1100, "height": 900}, color_scheme="dark").page
    for status, lat, lng in (
        ("pending", "52.52", "13.40"),
        ("in_transit", "50.94", "6.96"),
        ("delivered", "48.857", "2.352"),
    ):
        dark.get_by_label("Tracking id", exact=True).fill("PX-2041")
        dark.get_by_label("Status").select_option(status)
        dark.get_by_label("Latitude").fill(lat)
        dark.get_by_label("Longitude").fill(lng)
        if status == "delivered":
            dark.locator(".photos input").nth(1).check(force=True)
        dark.get_by_role("button", name="Send the update").click()
        expect(dark.locator("[aria-labelledby=now] .pill")).to_have_text(
            status.replace("_", " ").capitalize()
        )
    dark.evaluate("scrollTo(0, 0)")
    expect(dark.locator("#toast")).to_be_empty()
    keep(dark, "console-parcels")
    phone = opens("", viewport=PHONE, color_scheme="dark").page
    phone.locator("[data-image] a").nth(1).click()
    expect(phone.locator("[aria-labelledby=seen] li")).to_have_count(5)
    keep(phone, "console-phone")
    health = opens("#/health", viewport={"width": 1100, "height": 820}).page
    expect(health.locator("[aria-labelledby=lost] .line")).to_have_count(3)
    health.locator("#lost").scroll_into_view_if_needed()
    health.evaluate("scrollTo(0, document.getElementById('lost').offsetTop - 300)")
    keep(health, "console-health")
    assert len(letters.listed()) == 3
