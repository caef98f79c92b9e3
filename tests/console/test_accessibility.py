"""axe on every view, in both colours: no serious finding."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.conftest import Deployed
from tests.console.conftest import PHONE, Opens
from tests.console.test_console import Archive
from tests.console.test_console import completed as completed  # noqa: PLC0414
from tests.console.test_console import letters as letters  # noqa: PLC0414
from tests.system.conftest import photo

VIEWS = ["", "#/images/IMAGE", "#/images/BROKEN", "#/parcels/PX-axe", "#/health", "docs"]


@pytest.fixture
def broken(deployed: Deployed) -> str:
    """The id of an image that cannot be read, and a parcel to look at."""
    created = deployed.api.post(
        "/images", content=photo()[:-900], headers={"Content-Type": "image/jpeg"}
    ).json()
    location = {"lat": 1.5, "lng": 2}
    deployed.api.post(
        "/track", json={"tracking_id": "PX-axe", "status": "in_transit", "location": location}
    )
    return str(created["image_id"])


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious(
    opens: Opens,
    completed: dict[str, Any],
    broken: str,
    letters: Archive,
    view: str,
    colours: str,
) -> None:
    place = view.replace("IMAGE", completed["image_id"]).replace("BROKEN", broken)
    viewport = PHONE if colours == "dark" else None
    page = opens(
        place,
        color_scheme=colours,
        reduced_motion="reduce",
        **({"viewport": viewport} if viewport else {}),
    ).page
    expect(page.locator("h1")).to_be_visible()
    page.wait_for_load_state("networkidle")
    if view == "#/health":
        expect(page.locator("[aria-labelledby=lost] .line")).to_have_count(len(letters.listed()))
    found = Axe().run(page).response["violations"]
    serious = [
        (entry["id"], [node["html"][:200] for node in entry["nodes"]])
        for entry in found
        if entry["impact"] in {"serious", "critical"}
    ]
    assert serious == []
