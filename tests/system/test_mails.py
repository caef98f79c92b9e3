"""``make mails``: what was mailed, as pages."""

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from local.errors import StartFailed
from local.mails import main, sent_mails, write_pages
from local.places import ROOT, Places
from tests.conftest import free_port
from tests.polling import eventually
from tests.system.conftest import SECONDS, Service
from tests.system.test_tracking import send


def test_every_e_mail_is_a_page_in_a_list(service: Service, tmp_path: Path) -> None:
    parcel = f"<PX> {uuid.uuid4()}"
    send(service, parcel, "delivered", notify_email="someone@recipient.example")
    places = service.deployed.places

    def arrived() -> list[dict[str, Any]] | None:
        found = sent_mails(places)
        return found if any(parcel in mail["Subject"] for mail in found) else None

    mails = eventually(arrived, seconds=SECONDS, what="the e-mail")
    assert parcel in mails[0]["Subject"], "newest first"
    index = write_pages(mails, tmp_path / "mails")
    assert f"Your parcel &lt;PX&gt; {parcel[5:]} was delivered" in index.read_text()
    assert "Your parcel was delivered" in (index.parent / "1.html").read_text()
    assert "Your parcel was delivered" in (index.parent / "1.txt").read_text()
    assert write_pages([], tmp_path / "mails").parent.joinpath("1.html").exists() is False


def test_where_nothing_runs_a_sentence_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    with pytest.raises(StartFailed):
        sent_mails(Places(port=0, aws_port=port))
    assert main({"AWS_PORT": str(port)}) == 1
    assert "is `make run` up?" in capsys.readouterr().err


def test_the_module_runs_from_a_shell() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "local.mails"],
        cwd=ROOT,
        env={**os.environ, "AWS_PORT": "nonsense"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert "AWS_PORT" in finished.stderr
