"""``make overload``: a thousand uploads at once on the local stack as `make run` starts it, while a
reader measures how long the API takes to answer and a watcher what memory the processes hold.

The books have to balance in the end; times and memory are told, and nothing depends on them.
"""

import argparse
import asyncio
import os
import random
import shutil
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import httpx
import psutil

from chalicelib.images import ConversionStatus, Status
from local.places import ROOT, Places
from tests.chaos.ledger import Ledger, images_of
from tests.chaos.report import published
from tests.chaos.stage import Service, until
from tests.conftest import free_port
from tests.system.conftest import photo
from tests.system.test_failures import lying_png

REPORT = ROOT / "docs" / "overload.md"
# What the answers of the API are held against.
GOAL_SECONDS = 1.0
_READY_SECONDS = 180
# As long as a client waits for one answer, and how often it asks.
_PATIENCE_SECONDS = 300
_TRIES = 30
_SAMPLE_SECONDS = 2
# How many samples of the memory the report shows.
_SHOWN = 6
_MIB = 1024 * 1024
BAD = (lambda: photo()[:-400], lambda: b"hello", lambda: lying_png(30_000, 30_000))


@contextmanager
def local_run() -> Iterator[tuple[Service, psutil.Process]]:
    """The service as `make run` starts it, on ports of its own, and its supervisor."""
    places = Places(port=free_port(), aws_port=free_port())
    places.logs.mkdir(parents=True)
    log = places.logs / "run.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.run"],
            cwd=ROOT,
            env={
                **os.environ,
                "PORT": str(places.port),
                "AWS_PORT": str(places.aws_port),
                "SAMPLES": "0",
                "MODEL": "",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        ready = f"Ready: {places.api_url}\n"
        if (
            not until(
                lambda: ready in log.read_text() or process.poll() is not None,
                seconds=_READY_SECONDS,
            )
            or ready not in log.read_text()
        ):
            raise RuntimeError(f"the local stack did not start: {log.read_text()[-2000:]}")
        with httpx.Client(base_url=places.api_url, timeout=60) as api:
            yield Service(places=places, api=api), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(places.folder, ignore_errors=True)


@dataclass(kw_only=True)
class Watcher:
    """Samples what the processes of a run hold in memory, in bytes, by what they are."""

    places: Places
    supervisor: psutil.Process
    samples: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def watch(self, stop: threading.Event) -> None:
        """Sample until the event."""
        while not stop.wait(_SAMPLE_SECONDS):
            self.sample()

    def sample(self) -> None:
        """One sample."""
        aws = psutil.Process(int((self.places.folder / "aws.pid").read_text()))
        api = psutil.Process(int((self.places.folder / "api.pid").read_text()))
        workers = [_held(process) for process in aws.children(recursive=True)]
        for name, size_bytes in (
            ("supervisor", _held(self.supervisor)),
            ("API", _held(api)),
            ("local AWS", _held(aws)),
            ("largest worker", max(workers, default=0)),
        ):
            self.samples[name].append(size_bytes)


@dataclass(kw_only=True)
class Reader:
    """Somebody who looks at images meanwhile, one request after the other.

    Attributes:
        seconds: What each answer took, by whether the uploads were still coming in.
        refused: Answers that were none, likewise.
    """

    url: str
    ledger: Ledger
    uploading: threading.Event
    seconds: dict[bool, list[float]] = field(default_factory=lambda: defaultdict(list))
    refused: Counter[bool] = field(default_factory=Counter)

    def read(self, stop: threading.Event) -> None:
        """Read until the event."""
        chance = random.Random(1)  # noqa: S311 # no secret
        with httpx.Client(base_url=self.url, timeout=60) as api:
            while not stop.wait(0.1):
                known = list(self.ledger.sent)
                path = "/images" if not known else f"/images/{chance.choice(known)}"
                while_uploading, started = self.uploading.is_set(), time.monotonic()
                try:
                    answer = api.get(path)
                except httpx.TransportError:
                    self.refused[while_uploading] += 1
                    continue
                self.seconds[while_uploading].append(time.monotonic() - started)
                if answer.status_code != 200:
                    self.refused[while_uploading] += 1
                elif known:
                    image = answer.json()
                    status = Status(image["status"])
                    self.ledger.see(image["image_id"], image.get("attempts", 1), status)


@dataclass(kw_only=True)
class Clients:
    """All who upload, at once. Each asks again with its key until it is answered.

    Attributes:
        again: Why something had to be asked for again, and how often.
        seconds: What each client needed until its file was in the bucket.
        unanswered: What nobody answered however often it was asked, in a line each.
    """

    url: str
    ledger: Ledger
    again: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)

    def send(self, bodies: Sequence[tuple[bytes, bool]]) -> None:
        """Upload these files; each with whether it is good."""
        asyncio.run(self._send(bodies))

    async def _send(self, bodies: Sequence[tuple[bytes, bool]]) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=_PATIENCE_SECONDS, limits=limits) as http:
            await asyncio.gather(*(self._upload(http, body, good=good) for body, good in bodies))

    async def _upload(self, http: httpx.AsyncClient, body: bytes, *, good: bool) -> None:
        started = time.monotonic()
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        created = await self._asked(http, "POST", f"{self.url}/images", headers=headers)
        if created is None:
            return
        answer = created.json()
        # Before the upload: the reader may meet it at once.
        self.ledger.sent[answer["image_id"]] = good
        if await self._asked(http, "PUT", answer["upload_url"], content=body) is not None:
            self.seconds.append(time.monotonic() - started)

    async def _asked(
        self,
        http: httpx.AsyncClient,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response | None:
        """The answer, None where there never was one."""
        for attempt in range(_TRIES):
            try:
                answer = await http.request(method, url, headers=headers, content=content)
            except httpx.TransportError as error:
                self.again[f"{method}: {type(error).__name__}"] += 1
            else:
                if answer.is_success:
                    return answer
                self.again[f"{method}: {answer.status_code}"] += 1
            await asyncio.sleep(min(0.25 * 2**attempt, 5) * random.uniform(0.5, 1.5))  # noqa: S311
        self.unanswered.append(f"{method} {url.partition('?')[0]} was never answered")
        return None


def ended(service: Service, *, seconds: float) -> bool:
    """Whether no message is left and every image ends, in time."""

    def quiet() -> bool:
        time.sleep(2)
        if service.in_queues():
            return False
        # An event of S3 may be under way to ingest, where no queue tells of it.
        return all(
            image.status.final and image.conversion_status is not ConversionStatus.PENDING
            for image in images_of(service.rows())
        )

    return until(quiet, seconds=seconds) is True


def main() -> int:
    """Run it; the exit code is that of the books."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=20, help="for the work on them")
    arguments = parser.parse_args()
    ledger, stop, uploading = Ledger(), threading.Event(), threading.Event()
    bodies = [
        (BAD[number % len(BAD)](), False)
        if number % 25 == 7
        else (photo(width=120 + number % 200, height=100), True)
        for number in range(arguments.uploads)
    ]
    with local_run() as (service, supervisor):
        watcher = Watcher(places=service.places, supervisor=supervisor)
        reader = Reader(url=service.places.api_url, ledger=ledger, uploading=uploading)
        clients = Clients(url=service.places.api_url, ledger=ledger)
        # Whatever is loaded at the first request is no growth.
        service.api.get("/images").raise_for_status()
        watcher.sample()
        threads = [
            threading.Thread(target=watcher.watch, args=(stop,)),
            threading.Thread(target=reader.read, args=(stop,)),
        ]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        try:
            uploading.set()
            clients.send(bodies)
            uploading.clear()
            uploaded = time.monotonic() - began
            all_ended = ended(service, seconds=arguments.minutes * 60)
            worked = time.monotonic() - began
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        watcher.sample()
        images = images_of(service.rows())
        wrong = clients.unanswered + ledger.disagreements(images, service.keys())
        letters = len(service.keys("dead-letters/"))
    if not all_ended:
        wrong.append("not all ended in time")
    completed = sum(image.status is Status.COMPLETED for image in images)
    failed = sum(image.status.failed for image in images)
    reasons = Counter(image.error.code for image in images if image.error)
    rows: list[tuple[str, object]] = [
        ("uploads", len(ledger.sent)),
        ("of them bad files", sum(not good for good in ledger.sent.values())),
        ("completed", completed),
        ("failed, each with a reason", failed),
        *((f"failed: {code}", count) for code, count in sorted(reasons.items())),
        ("dead letters in the archive", letters),
        ("disagreements", len(wrong)),
        ("seconds until all were in the bucket", round(uploaded)),
        ("seconds until all had ended", round(worked)),
        ("asked again by clients", sum(clients.again.values())),
        *((f"asked again: {why}", count) for why, count in sorted(clients.again.items())),
        ("a client, from its first request to its file in the bucket, s", _spread(clients.seconds)),
        *_told(reader),
        *(
            (f"memory of the {name}, MiB, over the time", _over_time(sizes))
            for name, sizes in watcher.samples.items()
        ),
    ]
    text = (
        f"`make overload`: {arguments.uploads} uploads at once, two workers a queue as `make run` "
        "has them; clients, reader and all of AWS on the one machine. Small photos. What the local AWS "
        "is told stays in its memory, with every stream and log; nobody else's grows with the uploads."
    )
    published(REPORT, "Overload", text, ("What", "Number"), rows)
    for line in wrong:
        print(line)
    return 0 if completed + failed == arguments.uploads and not wrong else 1


def _told(reader: Reader) -> Iterator[tuple[str, object]]:
    for while_uploading, when in ((True, "during the uploads"), (False, "after them")):
        seconds = reader.seconds[while_uploading]
        yield f"answers to the reader {when}", len(seconds)
        yield f"answers to the reader {when}, s", _spread(seconds)
        late = sum(second > GOAL_SECONDS for second in seconds)
        yield f"of these over {GOAL_SECONDS:.0f} s", late
        yield f"the reader was refused {when}", reader.refused[while_uploading]


def _spread(seconds: Sequence[float]) -> str:
    if len(seconds) < 2:
        return "too few"
    hundredths = statistics.quantiles(seconds, n=100, method="inclusive")
    return f"p50 {hundredths[49]:.2f}, p95 {hundredths[94]:.2f}, most {max(seconds):.2f}"


def _over_time(sizes: Sequence[int]) -> str:
    """From the first sample to the last, evenly."""
    last = len(sizes) - 1
    shown = [sizes[round(last * part / (_SHOWN - 1))] for part in range(_SHOWN)]
    return ", ".join(f"{size / _MIB:.0f}" for size in shown)


def _held(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


if __name__ == "__main__":
    sys.exit(main())
