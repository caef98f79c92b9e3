"""The commands against the deployed stack."""

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from darkroom_cli.ledger import Ledger
from darkroom_cli.main import app
from tests.cli.conftest import Terminal
from tests.conftest import Deployed, free_port
from tests.system.conftest import UPLOADS_BUCKET, Service, photo


def folder(place: Path, *, first: int, count: int = 2) -> Path:
    """A folder of photos of which no two are the same."""
    place.mkdir()
    for number in range(count):
        (place / f"{number}.jpg").write_bytes(photo(width=first + number))
    return place


def test_a_folder_is_sent_once_however_often_it_is_submitted(
    terminal: Terminal, deployed: Deployed, tmp_path: Path
) -> None:
    photos = folder(tmp_path / "photos", first=331)
    (photos / "copy.jpg").write_bytes((photos / "0.jpg").read_bytes())
    first = terminal.json("submit", str(photos))
    assert [row["status"] for row in first["items"]] == ["completed"] * 2
    assert all(row["top_prediction"] for row in first["items"])
    again = terminal.json("submit", str(photos))
    assert [row["image_id"] for row in again["items"]] == [r["image_id"] for r in first["items"]]
    assert [row["sent_before"] for row in again["items"]] == [True] * 2
    for row in first["items"]:
        assert len(Service(deployed).keys(UPLOADS_BUCKET, row["image_id"])) >= 1
        assert uploads(deployed, row["image_id"]) == 1


def uploads(deployed: Deployed, image_id: str) -> int:
    """How often an original was sent."""
    keys = Service(deployed).keys(UPLOADS_BUCKET, image_id)
    return len([key for key in keys if key.startswith("uploads/")])


def test_a_run_killed_before_or_after_an_upload_sends_nothing_twice(
    terminal: Terminal, deployed: Deployed, tmp_path: Path
) -> None:
    photos = folder(tmp_path / "photos", first=341, count=1)
    (first,) = terminal.json("submit", str(photos))["items"]
    # As a kill leaves the file behind: just after the upload, and before anything was written.
    ledger = Ledger(terminal.state, url=deployed.places.api_url)
    (sha256,) = (row[0] for row in ledger._rows.execute("SELECT sha256 FROM sent"))
    ledger._rows.execute("UPDATE sent SET sent = 0")
    (second,) = terminal.json("submit", str(photos))["items"]
    assert ledger.entry(sha256).sent
    ledger._rows.execute("DELETE FROM sent")
    ledger.close()
    (third,) = terminal.json("submit", str(photos))["items"]
    assert first["image_id"] == second["image_id"] == third["image_id"]
    assert uploads(deployed, first["image_id"]) == 1


def test_what_was_deleted_can_be_sent_again(terminal: Terminal, tmp_path: Path) -> None:
    photos = folder(tmp_path / "photos", first=351, count=1)
    (first,) = terminal.json("submit", str(photos))["items"]
    removed = terminal.json("delete", first["image_id"], "--yes")
    assert removed == {"removed": [first["image_id"]], "missing": []}
    (second,) = terminal.json("submit", str(photos))["items"]
    assert second["status"] == "completed"
    assert second["image_id"] != first["image_id"]


def test_a_broken_file_is_an_exit_code_and_a_reason(terminal: Terminal, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo(width=361)[:-400])
    (row,) = terminal.json("submit", str(broken), exit_code=1)["items"]
    assert row["error"]["code"] in {"image_truncated", "image_corrupt"}
    watched = terminal.json("watch", row["image_id"], exit_code=1)
    assert watched["items"][0]["status"] == "preprocessing_failed"
    terminal.json("status", row["image_id"], exit_code=1)
    assert terminal.json("retry", row["image_id"])["image_id"] == row["image_id"]


def test_lists_have_pages(terminal: Terminal, tmp_path: Path) -> None:
    terminal.json("submit", str(folder(tmp_path / "photos", first=371)))
    page = terminal.json("list", "--limit", "1", "--status", "completed")
    assert len(page["items"]) == 1
    rest = terminal.json(
        "list", "--limit", "1", "--cursor", page["next_cursor"], "--status", "completed"
    )
    assert rest["items"][0]["image_id"] != page["items"][0]["image_id"]


def test_a_parcel_has_a_history(terminal: Terminal) -> None:
    place = ["--latitude", "40.7", "--longitude", "-74"]
    for status in ("pending", "delivered"):
        terminal.json("track", "CLI-1", status, *place)
    parcel = terminal.json("history", "CLI-1", "--limit", "1", "--all")
    assert [update["status"] for update in parcel["updates"]] == ["delivered", "pending"]
    assert "CLI-1 is delivered" in terminal("history", "CLI-1").stdout
    refused = terminal.json("track", "CLI-1", "lost", *place, exit_code=1)
    assert refused["code"] == "invalid_request"


def test_a_model_is_activated_and_letters_are_listed(terminal: Terminal) -> None:
    assert terminal.json("model", "activate", "default")["active"] == "default"
    assert terminal.json("model", "activate", "nobody@1", exit_code=1)["error"]
    listed: dict[str, Any] = terminal.json("dead-letters")
    assert isinstance(listed["items"], list)


def test_the_doctor_finds_a_running_service_well(terminal: Terminal) -> None:
    found = terminal.json("doctor")
    assert {check["name"] for check in found["checks"]} == {
        "python", "libraries", "package", "chalice", "stage", "ports", "api",
    }  # fmt: skip


def test_a_service_that_is_down_is_exit_code_3_and_one_sentence(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    words = ["--url", url, "--state", str(tmp_path / "state")]
    result = CliRunner().invoke(app, [*words, "doctor"])
    assert result.exit_code == 3
    assert "make run" in result.stdout


def test_bad_input_is_exit_code_2(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, reason in (("nowhere.jpg", "There is no file"), ("empty", "holds no image")):
        result = terminal("submit", str(tmp_path / path))
        assert result.exit_code == 2
        assert reason in result.stderr
        assert "Traceback" not in result.output
    assert terminal("--stage", "nowhere", "list").exit_code == 2
    assert terminal("delete", "x").exit_code == 2
