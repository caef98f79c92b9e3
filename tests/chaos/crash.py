"""``make crash-test``: a real worker is killed before and after each of its calls to AWS.

Points are enumerated: of each function the first call, the second, until there is none. What is
asked of each image stands in `Ledger`.
"""

import argparse
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from tests.chaos.ledger import Ledger, images_of
from tests.chaos.proxy import Act, Call
from tests.chaos.report import ROOT, published
from tests.chaos.stage import Stage, chaos_stage, until
from tests.system.conftest import photo

KILLS = (Act.KILL_BEFORE, Act.KILL_AFTER)
REPORT = ROOT / "docs" / "crash-test.md"
_IMAGE_SECONDS = 90
# Past the lease of an e-mail that is being sent.
_MAIL_SECONDS = 150


@dataclass(kw_only=True)
class Trap:
    """Kills whoever works on one image or parcel, at the n-th call of one function."""

    name: str
    function: str
    number: int
    act: Act
    before: Callable[[], object] = lambda: None
    seen: int = 0
    fired: Call | None = None

    def judge(self, call: Call) -> Act:
        """What to do to a call about it."""
        if self.fired is not None or call.function != self.function:
            return Act.PASS
        self.seen += 1
        if self.seen <= self.number:
            return Act.PASS
        self.fired = call
        self.before()
        return self.act


class Traps:
    """All that are set. A call that names nobody is about whom its process last named."""

    def __init__(self) -> None:
        self._set: dict[str, Trap] = {}
        self._of_process: dict[int, str] = {}
        self._lock = threading.Lock()

    def set(self, trap: Trap) -> None:
        """From now on it counts."""
        with self._lock:
            self._set[trap.name] = trap

    def judge(self, call: Call) -> Act:
        """What to do to a call of a worker."""
        with self._lock:
            name = next((name for name in self._set if name in call.text), None)
            if name is not None:
                self._of_process[call.pid] = name
            trap = self._set.get(self._of_process.get(call.pid, ""))
        return Act.PASS if trap is None else trap.judge(call)


@dataclass(frozen=True, kw_only=True)
class Series:
    """All points of one function on one path."""

    path: str
    function: str
    act: Act


@dataclass(kw_only=True)
class Run:
    """The whole test on one stage. ``most``: points of each series; ``deadline``: monotonic."""

    stage: Stage
    most: int
    deadline: float
    traps: Traps = field(default_factory=Traps)
    ledger: Ledger = field(default_factory=Ledger)
    killed: dict[Series, list[str]] = field(default_factory=lambda: defaultdict(list))
    deleted: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unfinished: list[Series] = field(default_factory=list)

    def enumerate(self, series: Series) -> None:
        """Kill at the first call, the second, until there is none."""
        go = {
            "upload": self._upload,
            "rejected": self._rejected,
            "retry": self._retry,
            "deletion": self._deletion,
            "e-mail": self._mail,
        }[series.path]
        for number in range(self.most):
            if time.monotonic() > self.deadline:
                self.unfinished.append(series)
                return
            trap = go(series, number)
            if trap.fired is None:
                return
            self.killed[series].append(trap.fired.operation)
            print(
                f"{time.monotonic() - self.deadline:6.0f} s  {series.path}: {trap.fired}, {series.act}"
            )

    def _upload(self, series: Series, number: int) -> Trap:
        return self._sent(series, number, photo(), good=True)

    def _rejected(self, series: Series, number: int) -> Trap:
        return self._sent(series, number, photo()[:-400], good=False)

    def _sent(self, series: Series, number: int, body: bytes, *, good: bool) -> Trap:
        answer = self.stage.api.post("/images").json()
        image_id = str(answer["image_id"])
        self.ledger.sent[image_id] = good
        trap = self._trap(series, image_id, number)
        httpx.put(answer["upload_url"], content=body).raise_for_status()
        self._await(image_id, trap)
        return trap

    def _retry(self, series: Series, number: int) -> Trap:
        image_id = self.stage.send(photo()[:-400])
        self.ledger.sent[image_id] = False
        self.stage.ended(image_id, seconds=_IMAGE_SECONDS)
        trap = self._trap(series, image_id, number)
        self.stage.api.post(f"/images/{image_id}/retry").raise_for_status()
        image = self._await(image_id, trap)
        if image is not None and image["attempts"] != 2:
            self.wrong.append(f"{image_id}: {image['attempts']} attempts after one retry")
        return trap

    def _deletion(self, series: Series, number: int) -> Trap:
        """The client deletes the image while the worker's call is on its way; then it dies."""
        answer = self.stage.api.post("/images").json()
        image_id = str(answer["image_id"])
        self.deleted.append(image_id)
        trap = self._trap(series, image_id, number)
        trap.before = lambda: self.stage.api.delete(f"/images/{image_id}")
        httpx.put(answer["upload_url"], content=photo()).raise_for_status()
        until(
            lambda: (
                trap.fired
                or self.stage.api.get(f"/images/{image_id}").json()["status"] == "completed"
            ),
            seconds=20,
        )
        if trap.fired is None:
            self.stage.api.delete(f"/images/{image_id}")
        return trap

    def _mail(self, series: Series, number: int) -> Trap:
        name = f"PX-{series.function}-{series.act.replace(' ', '-')}-{number}"
        address = f"{name}@recipient.example".lower()
        trap = self._trap(series, name, number)
        body = {
            "tracking_id": name,
            "status": "delivered",
            "location": {"lat": 1.5, "lng": 2.5},
            "notify_email": address,
        }
        self.stage.api.post("/track", json=body).raise_for_status()
        state = until(lambda: self._state(f"{name}#1"), seconds=_MAIL_SECONDS)
        mails = self._mails(address)
        allowed = {"sent": {1}, "failed": {0, 1}}.get(state or "", set())
        if mails not in allowed:
            self.wrong.append(f"{name}: {mails} e-mails, the row says {state}")
        return trap

    def _state(self, notification_id: str) -> str | None:
        item = self.stage.aws("dynamodb").get_item(
            TableName="darkroom-local-notifications",
            Key={"notification_id": {"S": notification_id}},
        )
        state = str(item.get("Item", {}).get("state", {}).get("S", ""))
        return state if state in {"sent", "failed", "suppressed"} else None

    def _mails(self, address: str) -> int:
        answer = httpx.get(f"{self.stage.places.aws_url}/_ministack/ses/messages").json()
        return sum(
            address in mail["To"] for account in answer["messages"].values() for mail in account
        )

    def _trap(self, series: Series, name: str, number: int) -> Trap:
        trap = Trap(name=name, function=series.function, number=number, act=series.act)
        self.traps.set(trap)
        return trap

    def _await(self, image_id: str, trap: Trap) -> dict[str, object] | None:
        image = self.stage.ended(image_id, seconds=_IMAGE_SECONDS)
        if image is None:
            self.wrong.append(f"{image_id}: not ended, killed at {trap.fired}")
        elif self.ledger.sent[image_id] and image["status"] != "completed":
            self.wrong.append(f"{image_id}: {image['status']}, killed at {trap.fired}")
        return image

    def close(self) -> None:
        """Wait until nothing is under way, and balance the books."""
        if not self.stage.quiet(seconds=90):
            self.wrong.append("messages are left over")
        keys = self.stage.keys()
        images = images_of(self.stage.rows())
        self.wrong += self.ledger.disagreements(images, keys)
        self.wrong += [
            f"{image_id}: deleted, and there is {key}"
            for image_id in self.deleted
            for key in keys
            if image_id in key
        ]


SERIES = tuple(
    Series(path=path, function=function, act=act)
    for path, functions, acts in (
        ("upload", ("Preprocess", "Optimise", "Infer", "Ingest"), KILLS),
        ("e-mail", ("Mail", "Notify"), KILLS),
        ("rejected", ("Preprocess",), KILLS),
        ("retry", ("Preprocess",), KILLS),
        ("deletion", ("Preprocess", "Optimise", "Infer"), KILLS[:1]),
    )
    for function in functions
    for act in acts
)


def main() -> int:
    """Run it all; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=40, help="at most, of each function")
    parser.add_argument("--minutes", type=float, default=13)
    parser.add_argument("--lanes", type=int, default=4, help="images under way at once")
    parser.add_argument("--paths", default="", help="some of them, with commas; all without")
    arguments = parser.parse_args()
    chosen = arguments.paths.split(",") if arguments.paths else [s.path for s in SERIES]
    wanted = [series for series in SERIES if series.path in chosen]
    started = time.monotonic()
    with chaos_stage(visibility_seconds=6, receives=10, workers=4) as stage:
        deadline = started + 60 * arguments.minutes
        run = Run(stage=stage, most=arguments.points, deadline=deadline)
        stage.proxy.decide = run.traps.judge
        with ThreadPoolExecutor(arguments.lanes) as lanes:
            list(lanes.map(run.enumerate, wanted))
        run.close()
    rows = [
        (s.path, s.function, s.act, len(run.killed[s]), ", ".join(run.killed[s])) for s in wanted
    ]
    killed = sum(len(calls) for calls in run.killed.values())
    text = (
        f"`make crash-test`: {killed} workers were killed in {time.monotonic() - started:.0f} s, "
        f"{len(run.unfinished)} of {len(wanted)} series were not finished in time; "
        f"disagreements: {len(run.wrong)}."
    )
    head = ("Path", "Function", "When", "Killed", "At the calls")
    published(REPORT, "Killed workers", text, head, rows)
    for line in (*run.wrong, *(f"not finished: {series}" for series in run.unfinished)):
        print(line)
    print(text)
    return 1 if run.wrong or run.unfinished or not killed else 0


if __name__ == "__main__":
    sys.exit(main())
