"""What a terminal sees where something is wrong, and what a shell completes."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from darkroom_cli.follow import follow, has_ended, succeeded
from darkroom_cli.main import app
from darkroom_cli.problems import Refused, Unreachable
from tests.cli.conftest import FakeService, saying
from tests.conftest import free_port

ROOT = Path(__file__).resolve().parents[2]
_CTRL_C_COUNTS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
PROGRAM = "from darkroom_cli.main import app; app(prog_name='darkroom')"
type Offline = Callable[..., Result]


@pytest.fixture
def offline(tmp_path: Path) -> Offline:
    """The command line at a service that is not there."""
    before = ["--url", f"http://127.0.0.1:{free_port()}", "--state", str(tmp_path / "state")]
    return lambda *words: CliRunner().invoke(app, [*before, *words])


PLACE = ("--latitude", "1", "--longitude", "2")


@pytest.mark.parametrize(
    "command",
    [
        ("status", "i"),
        ("list",),
        ("watch", "i"),
        ("retry", "i"),
        ("delete", "i", "--yes"),
        ("track", "p", "pending", *PLACE),
        ("history", "p"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_a_service_that_is_away_is_one_sentence_and_exit_code_3(
    monkeypatch: pytest.MonkeyPatch,
    offline: Offline,
    command: tuple[str, ...],
    more: tuple[str, ...],
) -> None:
    monkeypatch.setattr("darkroom_cli.service._TRIES", 1)
    result = offline(*command, *more)
    assert result.exit_code == 3, result.output
    assert result.stderr.startswith("Error: Nothing answers at http://127.0.0.1:")
    assert result.stderr.count("\n") == 1
    if more:
        assert "make run" in json.loads(result.stdout)["error"]
    else:
        assert result.stdout == ""


@pytest.mark.parametrize(
    "command",
    [
        ("no-such-command",),
        ("status",),
        ("list", "--status", "eaten"),
        ("list", "--limit", "0"),
        ("submit", "/no/such/file"),
        ("submit", "--parallel", "0", "."),
        ("track", "p", "pending"),
        ("track", "p", "pending", *PLACE, "--metadata", "{"),
        ("model", "activate"),
        ("redrive", "infer"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_exit_code_2(offline: Offline, command: tuple[str, ...]) -> None:
    result = offline(*command)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_url_that_is_none_is_exit_code_2() -> None:
    result = CliRunner().invoke(app, ["--url", "ftp://x", "list"])
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_state_file_that_is_none_is_one_sentence(offline: Offline, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"photo")
    (tmp_path / "state").write_text("This is no database, and long enough to be read as one." * 20)
    result = offline("submit", str(tmp_path / "a.jpg"))
    assert result.exit_code == 2, result.output
    assert str(tmp_path / "state") in result.stderr
    assert "--state" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_state_file_in_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "a.jpg").write_bytes(b"photo")
    words = ["--url", "http://127.0.0.1:1", "--state", str(tmp_path / "file" / "state")]
    result = CliRunner().invoke(app, [*words, "submit", str(tmp_path / "a.jpg")])
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1


def test_a_file_that_cannot_be_read_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, offline: Offline, tmp_path: Path
) -> None:
    monkeypatch.setattr("darkroom_cli.service._TRIES", 1)
    (tmp_path / "a.jpg").write_bytes(b"photo")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    result = offline("submit", str(tmp_path), "--json")
    # The one that is there was tried: nothing answers.
    assert result.exit_code == 3, result.output


def completed(words: str, shell: str = "bash") -> str:
    """What a shell is offered behind these words, or its script."""
    variables = {"_TYPER_COMPLETE_ARGS": words, "COMP_WORDS": words}
    environ = {**os.environ, **variables, "COMP_CWORD": str(len(words.split()) - 1)}
    mode = f"complete_{shell}" if words else f"source_{shell}"
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**environ, "_DARKROOM_COMPLETE": mode},
        capture_output=True,
        text=True,
        check=False,
    )
    return finished.stdout


def test_a_shell_completes_commands_and_statuses() -> None:
    assert completed("darkroom de").split() == ["delete", "dead-letters"]
    assert "preprocessing_failed" in completed("darkroom list --status pre").split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_usual_shell_gets_a_script_for_it(shell: str) -> None:
    assert "_DARKROOM_COMPLETE" in completed("", shell)


def test_ctrl_c_is_exit_code_130_and_one_sentence() -> None:
    """While it waits for a service that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        words = ["--url", f"http://127.0.0.1:{silent.getsockname()[1]}", "list"]
        with subprocess.Popen(
            # A shell that started these tests in the background has it ignored, and so would this.
            [sys.executable, "-c", f"{_CTRL_C_COUNTS}; {PROGRAM}", *words],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            asked, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
            asked.close()
            assert process.stderr is not None
            said = process.stderr.read()
            assert said == "Stopped. The same command goes on where this one stopped.\n"


def image(status: str, copies: str = "pending", image_id: str = "i") -> dict[str, str]:
    return {"image_id": image_id, "status": status, "conversion_status": copies}


def test_an_image_is_followed_until_its_copies_are_there_too(fake: FakeService) -> None:
    way = [image("queued"), image("completed"), image("completed", "completed")]
    fake.replies = [saying(200, state) for state in way]
    seen: list[dict[str, str]] = []
    pauses: list[float] = []
    (end,) = follow(fake.service, ["i", "i"], seen=seen.append, seconds=60, sleep=pauses.append)
    assert seen == way
    assert (succeeded(end), len(pauses)) == (True, 2)
    assert pauses[1] > pauses[0]


def test_images_that_do_not_end_in_time_are_counted(fake: FakeService) -> None:
    fake.replies = [saying(200, image("queued"))]
    with pytest.raises(Unreachable, match="2 of 2 images have not ended within 0 s"):
        follow(fake.service, ["a", "b"], seen=lambda _: None, seconds=0, sleep=lambda _: None)


def test_an_image_that_is_deleted_meanwhile_ends_the_wait(fake: FakeService) -> None:
    fake.replies = [
        saying(200, image("queued")),
        saying(404, {"error": "There is no such image.", "code": "image_not_found"}),
    ]
    with pytest.raises(Refused, match="no such image"):
        follow(fake.service, ["a"], seen=lambda _: None, seconds=60, sleep=lambda _: None)


def test_an_end_is_good_where_nothing_failed() -> None:
    assert succeeded(image("completed", "skipped"))
    assert not succeeded(image("completed", "failed"))
    assert not succeeded(image("inference_failed", "completed"))
    assert has_ended(image("expired"))
    assert has_ended(image("preprocessing_failed"))
    assert not has_ended(image("inference_failed"))


def test_an_id_is_never_another_path(offline: Offline) -> None:
    for command in ("status", "watch", "retry"):
        result = offline(command, "x/../../track")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "is no image id" in result.stderr
