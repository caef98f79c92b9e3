"""A real browser in front of the deployed stack. Whatever it complains of fails the test."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, FilePayload, Page, ViewportSize, expect, sync_playwright

from tests.conftest import Deployed

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
DESKTOP = ViewportSize(width=1200, height=900)
PHONE = ViewportSize(width=375, height=740)
SECONDS = 90
# A deadline and no measurement: a busy machine takes its time.
expect.set_options(timeout=SECONDS * 1000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        if "CI" in os.environ:
            pytest.fail("CI has to have a Chromium: apt-get install chromium")
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@dataclass
class Window:
    """A page of the browser, and what went wrong in it."""

    page: Page
    url: str
    origins: set[str]
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(SECONDS * 1000)
        # A violation of the Content-Security-Policy is an error of the console too.
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("request", self._asked)

    def open(self, place: str = "") -> None:
        """Go to a place of the console, for instance ``#/health``."""
        self.page.goto(f"{self.url}{place}")

    def send(self, *files: tuple[str, bytes], kind: str = "image") -> None:
        """Choose files for the upload; their type is made of ``kind`` and the name's suffix."""
        payloads = [
            FilePayload(name=name, mimeType=f"{kind}/{name.rpartition('.')[2]}", buffer=body)
            for name, body in files
        ]
        self.page.set_input_files("#files", payloads)

    def _said(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    def _asked(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"blob", "data"}:
            return
        if f"{parts.scheme}://{parts.netloc}" not in self.origins:
            self.complaints.append(f"a request to another origin: {request.url}")


type Opens = Callable[..., Window]


@pytest.fixture
def opens(browser: Browser, deployed: Deployed) -> Iterator[Opens]:
    """Opens windows; keyword arguments are those of a browser's context."""
    windows: list[Window] = []

    def open_window(place: str = "", **context: Any) -> Window:
        made = browser.new_context(**{"viewport": DESKTOP, **context}).new_page()
        places = deployed.places
        window = Window(
            page=made,
            url=f"{places.api_url}/",
            origins={places.api_url, places.aws_url},
        )
        windows.append(window)
        window.open(place)
        return window

    yield open_window
    for window in windows:
        window.page.context.close()
    assert [complaint for window in windows for complaint in window.complaints] == []


@pytest.fixture
def window(opens: Opens) -> Window:
    """The console on a desktop."""
    return opens()
