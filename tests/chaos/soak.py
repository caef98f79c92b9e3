"""``make soak``: four workers of each step, hundreds of uploads with poison among them, and a
nemesis that kills, pauses, throttles, loses answers, duplicates and reorders.

Then it stops, everything is worked on, and the books have to balance.
"""

import argparse
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

import httpx

from chalicelib.images import ConversionStatus, Status
from tests.chaos.ledger import Ledger, images_of
from tests.chaos.proxy import Act, Call
from tests.chaos.report import ROOT, published
from tests.chaos.stage import Stage, chaos_stage
from tests.system.conftest import photo
from tests.system.test_failures import lying_png

REPORT = ROOT / "docs" / "soak.md"
# Of a hundred calls. A duplicate and a delay are of messages alone.
SHARES = {
    Act.KILL_BEFORE: 0.4, Act.KILL_AFTER: 0.4, Act.PAUSE: 0.3, Act.THROTTLE: 5.0, Act.LOSE: 2.0,
}  # fmt: skip
MESSAGE_SHARES = {Act.DUPLICATE: 10.0, Act.DELAY: 10.0}
VISIBILITY_SECONDS = 12
# A worker that stands still longer than its message is its own finds another one at its work.
PAUSE_SECONDS = 15
_SETTLE_SECONDS = 240
POISON: tuple[Callable[[], bytes], ...] = (
    lambda: photo()[:-400],
    lambda: b"hello",
    lambda: lying_png(30_000, 30_000),
)


class Nemesis:
    """Draws what is done to a call."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 # no secret
        self.active = True

    def decide(self, call: Call) -> Act:
        """What is done."""
        if not self.active:
            return Act.PASS
        drawn = self.random.uniform(0, 100)
        for act, share in {**SHARES, **(MESSAGE_SHARES if call.sends else {})}.items():
            drawn -= share
            if drawn < 0:
                return act
        return Act.PASS


def send_all(
    stage: Stage, ledger: Ledger, nemesis: Nemesis, *, uploads: int, seconds: float
) -> None:
    """Send the uploads, evenly over the time; S3 tells of some of them twice."""
    started = time.monotonic()
    for number in range(uploads):
        good = number % 10 != 7
        body = photo(width=120 + number) if good else nemesis.random.choice(POISON)()
        image_id = stage.send(body)
        ledger.sent[image_id] = good
        if nemesis.random.random() < 0.1:
            stage.tell_again(nemesis.random.choice(list(ledger.sent)))
        ahead = started + seconds * (number + 1) / uploads - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)


def read_on(stage: Stage, ledger: Ledger, stop: threading.Event) -> None:
    """A reader who looks at all images, page by page, once a second."""
    with httpx.Client(base_url=stage.places.api_url, timeout=60) as api:
        while not stop.wait(1):
            cursor: str | None = None
            while True:
                parameters = {"limit": "100", **({"cursor": cursor} if cursor else {})}
                page = api.get("/images", params=parameters).json()
                for image in page["items"]:
                    status = Status(image["status"])
                    ledger.see(image["image_id"], image.get("attempts", 1), status)
                cursor = page["next_cursor"]
                if cursor is None:
                    break


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration", type=float, default=120, help="seconds")
    parser.add_argument("--uploads", type=int, default=300)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311
    arguments = parser.parse_args()
    ledger, nemesis, stop = Ledger(), Nemesis(arguments.seed), threading.Event()
    with chaos_stage(
        visibility_seconds=VISIBILITY_SECONDS,
        receives=5,
        workers=arguments.workers,
        pause_seconds=PAUSE_SECONDS,
    ) as stage:
        stage.proxy.decide = nemesis.decide
        reader = threading.Thread(target=read_on, args=(stage, ledger, stop))
        reader.start()
        try:
            send_all(stage, ledger, nemesis, uploads=arguments.uploads, seconds=arguments.duration)
            # What has piled up is worked on under its hand for a while, and then in peace.
            stage.quiet(seconds=arguments.duration / 2)
            nemesis.active = False
            settled_from = time.monotonic()
            quiet = stage.quiet(seconds=_SETTLE_SECONDS)
            settled = time.monotonic() - settled_from
        finally:
            stop.set()
            reader.join()
        images = images_of(stage.rows())
        wrong = ledger.disagreements(images, stage.keys())
        letters = len(stage.keys("dead-letters/"))
    if not quiet:
        wrong.append("messages are left over")
    acts = Counter(act for _, act in stage.proxy.done)
    wrong += [f"nothing was done: {act}" for act in (*SHARES, *MESSAGE_SHARES) if not acts[act]]
    reasons = Counter(row.error.code for row in images if row.error)
    copies = Counter(str(row.conversion_status) for row in images)
    completed = sum(row.status is Status.COMPLETED for row in images)
    failed = sum(row.status.failed for row in images)
    rows = [
        ("uploads", len(ledger.sent)),
        ("of them poison", sum(not good for good in ledger.sent.values())),
        ("completed", completed),
        ("failed, each with a reason", failed),
        *((f"failed: {code}", count) for code, count in sorted(reasons.items())),
        *((f"copies {status}", copies[status]) for status in ConversionStatus if copies[status]),
        ("dead letters in the archive", letters),
        ("calls of workers", len(stage.proxy.done)),
        *((f"calls: {act}", acts[act]) for act in Act if act is not Act.PASS),
        ("statuses that a reader saw", sum(map(len, ledger.seen.values()))),
        ("seconds until all was done, once it let go", round(settled)),
        ("disagreements", len(wrong)),
    ]
    text = (
        f"`make soak`: {arguments.workers} workers of each step, {arguments.uploads} uploads in "
        f"{arguments.duration:.0f} s, seed {arguments.seed}."
    )
    published(REPORT, "Soak", text, ("What", "Number"), rows)
    for line in wrong:
        print(line)
    balanced = completed + failed == len(ledger.sent)
    return 0 if balanced and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
