"""Wherever `darkroom submit` is killed, the next run goes on, and nothing is sent twice."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest

from darkroom_cli.ledger import Entry, Ledger

ROOT = Path(__file__).resolve().parents[2]
type Moment = Literal["before", "after"]
# Loads the command line once, and forks a process for each run of it: what takes a second is loading.
NURSERY = """
import json, os, sys
from darkroom_cli import submit
from darkroom_cli.main import app
# An upload that may have arrived is looked for as often as ever, but not for as long.
submit._LOOK_SECONDS = 0.01
nothing = os.open(os.devnull, os.O_RDWR)
for line in sys.stdin:
    child = os.fork()
    if not child:
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        try:
            app(json.loads(line))
        except SystemExit as end:
            # At once: at an ordinary end Python would wait for the input that the parent reads.
            os._exit(end.code or 0)
        os._exit(70)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Site:
    """The API and the bucket as far as a submission sees them, over HTTP.

    Attributes:
        images: Statuses by their ids.
        arrived: How often each content reached the bucket whole.
        created: How many images were made.
        requests: What was asked, in order.
    """

    def __init__(self) -> None:
        self.images: dict[str, str] = {}
        self.arrived: Counter[bytes] = Counter()
        self.created = 0
        self.requests: list[str] = []
        # Called at each request, before it takes effect and after.
        self.kill: Callable[[int, Moment], None] = lambda _number, _moment: None
        self.links_that_are_refused = 0
        self._keys: dict[str, str] = {}
        self._lock = threading.Lock()
        self.url = ""

    def answer(self, method: str, path: str, key: str, body: bytes) -> tuple[int, Any]:
        with self._lock:
            number = len(self.requests)
            self.requests.append(f"{method} {path}")
            self.kill(number, "before")
            result = self._answer(method, path, key, body)
            self.kill(number, "after")
            return result

    def _answer(self, method: str, path: str, key: str, body: bytes) -> tuple[int, Any]:
        if path == "/bucket":
            return self._take(body)
        if method == "GET":
            image_id = path.rpartition("/")[2]
            if image_id not in self.images:
                return 404, {"error": "There is no such image.", "code": "image_not_found"}
            status = self.images[image_id]
            return 200, {"image_id": image_id, "status": status, "conversion_status": "skipped"}
        if key not in self._keys:
            self._keys[key] = f"image-{self.created}"
            self.images[self._keys[key]] = "pending_upload"
            self.created += 1
        form = {"url": f"{self.url}/bucket", "fields": {"key": self._keys[key]}}
        return 201, {"image_id": self._keys[key], "upload": form}

    def _take(self, body: bytes) -> tuple[int, Any]:
        if self.links_that_are_refused:
            self.links_that_are_refused -= 1
            return 403, {}
        parts = dict(re.findall(rb'name="(\w+)".*?\r\n\r\n(.*?)\r\n--', body, re.DOTALL))
        self.images[parts[b"key"].decode()] = "completed"
        self.arrived[parts[b"file"]] += 1
        return 204, None


@pytest.fixture
def site() -> Iterator[Site]:
    served = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if len(body) < length:
                # Whoever sent it is dead; S3 takes no part of an object either.
                self.close_connection = True
                return
            key = self.headers.get("Idempotency-Key", "")
            status, answer = served.answer(self.command, self.path, key, body)
            text = b"" if answer is None else json.dumps(answer).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
            except OSError:
                # Whoever asked is dead.
                self.close_connection = True

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        served.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever).start()
        yield served
        server.shutdown()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of photos, one of them twice and one in a folder below."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for name in ("a.jpg", "b.JPG", "below/c.png"):
        (folder / name).write_bytes(b"photo " + name.encode() * 1000)
    (folder / "copy.jpg").write_bytes((folder / "a.jpg").read_bytes())
    (folder / "notes.txt").write_text("no photo")
    return folder


def contents(photos: Path) -> Counter[bytes]:
    """What has to arrive: each content once."""
    paths = (path for path in photos.rglob("*") if path.suffix.lower() in {".jpg", ".png"})
    return Counter({path.read_bytes() for path in paths})


class Nursery:
    """Runs of the command, each in a process of its own that may be killed."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            text=True,
        )

    def start(self, site: Site, state: Path, photos: Path, *more: str) -> int:
        """Begin a run; its process."""
        words = ["--url", site.url, "--state", str(state), "submit", str(photos), *more]
        self._tell(json.dumps(words))
        return self._told()

    def end(self) -> int:
        """Wait for the end of the run that was begun; its exit code, or the signal below 0."""
        return self._told()

    def run(self, site: Site, state: Path, photos: Path, *more: str) -> int:
        """A run from its beginning to its end."""
        self.start(site, state, photos, *more)
        return self.end()

    def close(self) -> None:
        with self._parent:
            assert self._parent.stdin is not None
            self._parent.stdin.close()

    def _tell(self, line: str) -> None:
        assert self._parent.stdin is not None
        self._parent.stdin.write(f"{line}\n")
        self._parent.stdin.flush()

    def _told(self) -> int:
        assert self._parent.stdout is not None
        return int(self._parent.stdout.readline())


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


def test_each_content_of_a_folder_arrives_once(
    site: Site, photos: Path, tmp_path: Path, nursery: Nursery
) -> None:
    assert nursery.run(site, tmp_path / "state", photos) == 0
    assert site.arrived == contents(photos)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_that_is_killed_at_any_request_is_gone_on_with_and_nothing_is_sent_twice(
    site: Site, photos: Path, tmp_path: Path, nursery: Nursery, moment: Moment
) -> None:
    """SIGKILL at each request: it has not taken effect, or it has and nobody was told."""
    ends: list[int] = []
    for number in range(60):
        state = tmp_path / f"state-{number}"
        # Other contents each time, so that nothing is known of them.
        for path in photos.rglob("*.*"):
            path.write_bytes(path.read_bytes() + b"!")
        site.arrived.clear()
        site.requests.clear()
        created = site.created
        running: list[int] = []
        started = threading.Event()

        def kill(
            at: int,
            when: Moment,
            number: int = number,
            running: list[int] = running,
            started: threading.Event = started,
        ) -> None:
            if (at, when) == (number, moment):
                started.wait(30)
                os.kill(running[0], signal.SIGKILL)

        site.kill = kill
        running.append(nursery.start(site, state, photos, "--parallel", "1"))
        started.set()
        ends.append(nursery.end())
        site.kill = lambda _number, _moment: None
        if ends[-1] != -signal.SIGKILL:
            break
        assert nursery.run(site, state, photos) == 0
        assert site.arrived == contents(photos), number
        assert site.created - created == len(contents(photos)), number
    # At least one request to make an image, one to see whether it has come, and one to send it.
    assert ends == [-signal.SIGKILL] * (len(ends) - 1) + [0]
    assert len(ends) > 3 * len(contents(photos))


@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_is_killed_again_and_again_misses_nothing(
    site: Site, photos: Path, tmp_path: Path, nursery: Nursery, seed: int
) -> None:
    """At random requests of four uploads at a time."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    for name in range(8):
        (photos / f"more-{name}.jpg").write_bytes(b"photo %d %d" % (seed, name))
    kills = 0
    for _ in range(30):
        at = len(site.requests) + chance.randrange(1, 9)
        running: list[int] = []
        started = threading.Event()

        def kill(
            number: int,
            _when: Moment,
            at: int = at,
            running: list[int] = running,
            started: threading.Event = started,
        ) -> None:
            if number == at:
                started.wait(30)
                os.kill(running[0], signal.SIGKILL)

        site.kill = kill
        running.append(nursery.start(site, tmp_path / "state", photos))
        started.set()
        if nursery.end() != -signal.SIGKILL:
            break
        kills += 1
    site.kill = lambda _number, _moment: None
    assert nursery.run(site, tmp_path / "state", photos) == 0
    assert kills >= 2
    assert site.arrived == contents(photos)
    assert site.created == len(contents(photos))


def test_a_second_run_sends_nothing_and_makes_nothing(
    site: Site, photos: Path, tmp_path: Path, nursery: Nursery
) -> None:
    nursery.run(site, tmp_path / "state", photos)
    site.requests.clear()
    assert nursery.run(site, tmp_path / "state", photos) == 0
    assert {request.partition(" ")[0] for request in site.requests} == {"GET"}
    assert site.arrived == contents(photos)


def test_another_machine_finds_the_same_images(
    site: Site, photos: Path, tmp_path: Path, nursery: Nursery
) -> None:
    nursery.run(site, tmp_path / "one", photos)
    assert nursery.run(site, tmp_path / "other", photos) == 0
    assert (site.arrived, site.created) == (contents(photos), 3)


def test_two_runs_at_once_end_with_the_same_images(
    site: Site, photos: Path, tmp_path: Path, nursery: Nursery
) -> None:
    other = Nursery()
    both = [nursery, other]
    for one in both:
        one.start(site, tmp_path / "state", photos)
    assert [one.end() for one in both] == [0, 0]
    other.close()
    assert set(site.arrived) == set(contents(photos))
    assert site.created == 3


def test_a_link_that_the_bucket_refuses_is_replaced(
    site: Site, photos: Path, tmp_path: Path, nursery: Nursery
) -> None:
    site.links_that_are_refused = 1
    assert nursery.run(site, tmp_path / "state", photos) == 0
    assert site.arrived == contents(photos)


def test_an_image_that_expired_is_announced_anew(
    site: Site, photos: Path, tmp_path: Path, nursery: Nursery
) -> None:
    nursery.run(site, tmp_path / "state", photos)
    site.images["image-0"] = "expired"
    assert nursery.run(site, tmp_path / "state", photos) == 0
    assert sum(site.arrived.values()) == 4


def test_each_service_has_a_memory_of_its_own(tmp_path: Path) -> None:
    here, there = (Ledger(tmp_path / "state", url=url) for url in ("http://a", "http://b"))
    here.write("x", Entry(image_id="1", begun=True, sent=True))
    assert here.entry("x").sent
    assert there.entry("x") == Entry()
    for ledger in (here, there):
        ledger.close()
