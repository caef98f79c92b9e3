"""``make crash-test``: a real worker is killed before and after each of its calls to AWS.

Two scouts go each path unharmed, with fresh workers, which tells all calls of each function. Each is a
point: whoever makes that call for one image or parcel is killed there. Some calls are made only where
one worker happens to be quicker than another: what only one scout saw is tried, and not demanded. The
series take turns, one point each, so that they share the time. What is asked of each image stands in
`Ledger`.
"""

import argparse
import queue
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from chalicelib.addresses import address_hash, parcel_hash
from chalicelib.images import ConversionStatus, Image
from tests.chaos.ledger import Ledger, images_of
from tests.chaos.proxy import Act, Call
from tests.chaos.report import ROOT, published
from tests.chaos.stage import Stage, chaos_stage, until
from tests.system.conftest import photo

KILLS = (Act.KILL_BEFORE, Act.KILL_AFTER)
REPORT = ROOT / "docs" / "crash-test.md"
# A call that did not come in so many tries is missing from the report's numbers, by its name.
TRIES = 8
# More images than these are not under way at once: two cores have enough to do with them.
MOST_UNDER_WAY = 14
# How long all that is left may take in the end: an e-mail's lease is over after 70 s, and whoever
# finds it still held comes back after 64 s more.
_SETTLE_SECONDS = 170
_POINT_SECONDS = 90
_CLEARING_SECONDS = 30
# What a process asks before it says whom it works on.
_FIRST = {"GetParameter", "GetQueueUrl"}


@dataclass(kw_only=True)
class Trap:
    """Kills whoever works on one image or parcel, at one call of one function.

    Args:
        names: What its calls have in them.
        function: Whose calls; None of a scout, which watches all.
        point: At which call, as `seen` names it; None of a scout.
        act: What is done there.
        first: Done at the first call.
        before: Done before the kill.
        armed: Whether it still counts.
    """

    names: tuple[str, ...]
    function: str | None = None
    point: str | None = None
    act: Act = Act.PASS
    first: Callable[[], object] = lambda: None
    before: Callable[[], object] = lambda: None
    armed: bool = True
    fired: threading.Event = field(default_factory=threading.Event)
    # The calls of each function up to the kill, in the order in which they first came.
    seen: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _counts: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def judge(self, call: Call) -> Act:
        """What to do to a call about it. The second PutItem of one process is ``PutItem 2``."""
        if not self.armed or self.function not in {None, call.function}:
            return Act.PASS
        if not self._counts:
            self.first()
        count = self._counts[call.pid]
        count[call.operation] += 1
        number = count[call.operation]
        name = call.operation if number == 1 else f"{call.operation} {number}"
        if name not in self.seen[call.function]:
            self.seen[call.function].append(name)
        if name != self.point:
            return Act.PASS
        self.armed = False
        self.fired.set()
        self.before()
        return self.act


class Traps:
    """All that are set.

    A call that names nobody is about whom its process last named. What a process asks first, before
    it names anybody, is about whoever was last set for its function.
    """

    def __init__(self) -> None:
        self._set: dict[str, Trap] = {}
        self._of_process: dict[int, Trap] = {}
        self._lock = threading.Lock()

    def set(self, trap: Trap) -> None:
        """From now on it counts."""
        with self._lock:
            for name in trap.names:
                self._set[name] = trap

    def judge(self, call: Call) -> Act:
        """What to do to a call of a worker."""
        with self._lock:
            named = next((trap for name, trap in self._set.items() if name in call.text), None)
            if named is not None:
                self._of_process[call.pid] = named
            trap = named or self._unnamed(call)
        return Act.PASS if trap is None else trap.judge(call)

    def _unnamed(self, call: Call) -> Trap | None:
        last = self._of_process.get(call.pid)
        if call.operation not in _FIRST or (last is not None and last.armed):
            return last
        armed = (trap for trap in reversed(self._set.values()) if trap.armed)
        return next((trap for trap in armed if trap.function in {None, call.function}), None)


@dataclass(kw_only=True, eq=False)
class Series:
    """All points of one function on one path.

    Attributes:
        calls: All that its scouts saw, each a point.
        certain: Those that both saw.
        killed: Those where somebody was killed.
        tries: Of those where nobody was yet.
    """

    path: str
    function: str
    act: Act
    calls: list[str] = field(default_factory=list)
    certain: set[str] = field(default_factory=set)
    killed: list[str] = field(default_factory=list)
    tries: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return f"{self.path}, {self.function}, {self.act}"

    @property
    def open(self) -> list[str]:
        """The points to come, those first that were tried least."""
        left = [call for call in self.calls if call not in self.killed]
        return sorted((c for c in left if self.tries[c] < TRIES), key=lambda c: self.tries[c])

    @property
    def missing(self) -> list[str]:
        """The calls that always come, and that nobody was killed at."""
        return [c for c in self.calls if c in self.certain and c not in self.killed]

    @property
    def chances(self) -> list[str]:
        """The calls that came to one scout alone, and not again when somebody was to be killed."""
        return [c for c in self.calls if c not in self.certain and c not in self.killed]

    def saw(self, calls: Iterable[str]) -> None:
        """What a scout saw."""
        found = list(calls)
        self.certain = self.certain & set(found) if self.calls else set(found)
        self.calls += [call for call in found if call not in self.calls]


@dataclass(kw_only=True)
class Rows:
    """The images table, read once a second while images are under way."""

    stage: Stage
    known: dict[str, Image] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._read_on)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def read(self) -> Self:
        """It, read now."""
        self.known = {image.image_id: image for image in images_of(self.stage.rows())}
        return self

    def ended(self, image_id: str, *, attempt: int = 1) -> bool:
        """Whether both branches of an image had ended when the table was read."""
        image = self.known.get(image_id)
        return image is not None and image.attempt >= attempt and is_over(image)

    def under_way(self) -> int:
        """How many images are, but for those that nobody uploaded yet."""
        return sum(not is_over(image) for image in self.known.values())

    def _read_on(self) -> None:
        while not self._stop.wait(1):
            self.read()


def is_over(image: Image) -> bool:
    """Whether both branches have ended."""
    return image.status.final and image.conversion_status is not ConversionStatus.PENDING


@dataclass(kw_only=True)
class Run:
    """The whole test on one stage. ``deadline``: after which no point is begun, monotonic."""

    stage: Stage
    rows: Rows
    deadline: float
    traps: Traps = field(default_factory=Traps)
    ledger: Ledger = field(default_factory=Ledger)
    # The image ids of attempts that were asked for, and how many there have to be.
    attempts: dict[str, int] = field(default_factory=dict)
    # The address of each parcel.
    mails: dict[str, str] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _numbers: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def scout(self, path: str, wanted: Sequence[Series]) -> None:
        """Go a path unharmed, which tells calls of its functions."""
        # A deletion is noticed by one function after the other.
        functions = {series.function for series in wanted}
        for function in functions if path == "clearing up" else (None,):
            way = [series for series in wanted if function in {None, series.function}]
            for name in functions:
                self._refresh(name)
            trap = Trap(names=(), function=function)
            self._go(path, trap, lambda: False)
            trap.armed = False
            for series in way:
                series.saw(trap.seen[series.function])

    def kill(self, series: Series) -> None:
        """Kill at one more point of a series."""
        until(lambda: self.rows.under_way() < MOST_UNDER_WAY or self._late, seconds=_POINT_SECONDS)
        point = series.open[0]
        series.tries[point] += 1
        if series.tries[point] > 1 or point.split()[0] in _FIRST:
            self._refresh(series.function)
        trap = Trap(names=(), function=series.function, point=point, act=series.act)
        self._go(series.path, trap, trap.fired.is_set)
        trap.armed = False
        if trap.fired.is_set():
            series.killed.append(point)
        outcome = "killed" if trap.fired.is_set() else "did not come"
        print(f"{self.deadline - time.monotonic():5.0f} s left  {series}: {point}: {outcome}")

    def _refresh(self, function: str) -> None:
        """Some calls are made by a fresh worker alone, to fill what it remembers; some by the first
        one of a new stack, which makes the secret of its links.
        """
        self.stage.renew(function)
        if function == "Mail":
            self.stage.forget_secret()

    @property
    def _late(self) -> bool:
        return time.monotonic() > self.deadline

    def _go(self, path: str, trap: Trap, enough: Callable[[], bool]) -> None:
        """Go a path until it has ended, or that is enough: what follows goes on by itself."""
        go = {
            "upload": self._upload,
            "rejected": self._rejected,
            "retry": self._retry,
            "deletion": self._deletion,
            "clearing up": self._clearing_up,
            "e-mail": self._mail,
        }[path]
        go(trap, enough)

    def _upload(self, trap: Trap, enough: Callable[[], bool]) -> None:
        self._sent(trap, enough, photo(), good=True)

    def _rejected(self, trap: Trap, enough: Callable[[], bool]) -> None:
        self._sent(trap, enough, photo()[:-400], good=False)

    def _sent(self, trap: Trap, enough: Callable[[], bool], body: bytes, *, good: bool) -> None:
        image_id, url = self._linked(trap)
        self.ledger.sent[image_id] = good
        httpx.put(url, content=body).raise_for_status()
        self._await(image_id, enough)

    def _retry(self, trap: Trap, enough: Callable[[], bool]) -> None:
        image_id = self.stage.send(photo()[:-400])
        self.ledger.sent[image_id] = False
        self._await(image_id, lambda: False)
        self._arm(trap, image_id)
        self.attempts[image_id] = 2
        self.stage.api.post(f"/images/{image_id}/retry").raise_for_status()
        self._await(image_id, enough, attempt=2)

    def _deletion(self, trap: Trap, enough: Callable[[], bool]) -> None:
        """The client deletes the image while the worker's call is on its way; then it dies."""
        image_id, url = self._linked(trap)
        trap.before = lambda: self._delete(image_id)
        httpx.put(url, content=photo()).raise_for_status()
        self._await(image_id, enough)
        if not trap.fired.is_set():
            self._delete(image_id)

    def _clearing_up(self, trap: Trap, enough: Callable[[], bool]) -> None:
        """The client deletes the image just before the worker's first call; that one notices."""
        image_id, url = self._linked(trap)
        trap.first = lambda: self._delete(image_id)
        httpx.put(url, content=photo()).raise_for_status()
        if trap.point is None:
            until(lambda: bool(trap.seen), seconds=_POINT_SECONDS)
            self.stage.quiet(seconds=_POINT_SECONDS)
        else:
            until(enough, seconds=_CLEARING_SECONDS)
            trap.armed = False
            if image_id not in self.deleted:
                self._delete(image_id)

    def _linked(self, trap: Trap) -> tuple[str, str]:
        """An image that waits for its upload, and where to."""
        answer = self.stage.api.post("/images").json()
        image_id = str(answer["image_id"])
        self._arm(trap, image_id)
        return image_id, answer["upload_url"]

    def _delete(self, image_id: str) -> None:
        self.stage.api.delete(f"/images/{image_id}").raise_for_status()
        self.deleted.append(image_id)

    def _mail(self, trap: Trap, enough: Callable[[], bool]) -> None:
        with self._lock:
            self._numbers["parcels"] += 1
            name = f"PX-{self._numbers['parcels']:04}"
        address = f"{name.lower()}@recipient.example"
        self.mails[name] = address
        self._arm(trap, name, address_hash(address), parcel_hash(name))
        body = {
            "tracking_id": name,
            "status": "delivered",
            "location": {"lat": 1.5, "lng": 2.5},
            "notify_email": address,
        }
        self.stage.api.post("/track", json=body).raise_for_status()
        until(lambda: enough() or self._state(name), seconds=_POINT_SECONDS)

    def _arm(self, trap: Trap, *names: str) -> None:
        trap.names = names
        self.traps.set(trap)

    def _await(self, image_id: str, enough: Callable[[], bool], *, attempt: int = 1) -> None:
        until(
            lambda: enough() or self.rows.ended(image_id, attempt=attempt), seconds=_POINT_SECONDS
        )

    def _state(self, name: str) -> str | None:
        """How the e-mail about a parcel ended, None while it has not."""
        item = self.stage.aws("dynamodb").get_item(
            TableName="darkroom-local-notifications",
            Key={"notification_id": {"S": f"{name}#1"}},
        )
        state = str(item.get("Item", {}).get("state", {}).get("S", ""))
        return state if state in {"sent", "failed", "suppressed"} else None

    def close(self) -> None:
        """Wait until nothing is under way, and balance the books."""
        give_up = time.monotonic() + _SETTLE_SECONDS

        def left() -> float:
            return max(give_up - time.monotonic(), 1)

        if not self.stage.quiet(seconds=left()):
            self.wrong.append("messages are left over")
        until(lambda: self.rows.read().under_way() == 0, seconds=left())
        keys = self.stage.keys()
        self.wrong += self.ledger.disagreements(self.rows.known.values(), keys)
        for image_id, attempts in self.attempts.items():
            found = self.rows.known[image_id].attempt if image_id in self.rows.known else 0
            if found != attempts:
                self.wrong.append(f"{image_id}: {found} attempts, and {attempts} were asked for")
        for image_id in self.deleted:
            self.wrong += [f"{image_id}: deleted, and there is {k}" for k in keys if image_id in k]
        self._close_mails()

    def _close_mails(self) -> None:
        sent = Counter(
            address
            for account in self._mailed()["messages"].values()
            for mail in account
            for address in mail["To"]
        )
        for name, address in self.mails.items():
            state = self._state(name)
            # Whether one that broke off went out is not known: docs/adr/0008.
            allowed = {"sent": {1}, "failed": {0, 1}}.get(state or "", set())
            if sent[address] not in allowed:
                self.wrong.append(f"{name}: {sent[address]} e-mails, the row says {state}")

    def _mailed(self) -> Any:
        return httpx.get(f"{self.stage.places.aws_url}/_ministack/ses/messages").json()


def all_series() -> list[Series]:
    """All there are."""
    return [
        Series(path=path, function=function, act=act)
        for path, functions, acts in (
            ("upload", ("Preprocess", "Optimise", "Infer", "Ingest"), KILLS),
            ("e-mail", ("Mail", "Notify"), KILLS),
            ("rejected", ("Preprocess",), KILLS),
            ("retry", ("Preprocess",), KILLS),
            ("deletion", ("Preprocess", "Optimise", "Infer"), KILLS[:1]),
            ("clearing up", ("Preprocess", "Optimise", "Infer"), KILLS),
        )
        for function in functions
        for act in acts
    ]


def take_turns(run: Run, wanted: Iterable[Series], *, lanes: int) -> None:
    """Kill at one point of each series after the other, until none is left or it is late."""
    waiting: queue.SimpleQueue[Series] = queue.SimpleQueue()
    for series in wanted:
        waiting.put(series)

    def lane() -> None:
        while time.monotonic() < run.deadline:
            try:
                series = waiting.get(timeout=1)
            except queue.Empty:
                # Whoever works on the last ones may put them back.
                if not any(one.open for one in wanted):
                    return
                continue
            if series.open:
                try:
                    run.kill(series)
                except httpx.HTTPError as error:
                    run.wrong.append(f"{series}: the API: {error}")
                waiting.put(series)

    threads = [threading.Thread(target=lane) for _ in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> int:
    """Run it all; the exit code: 1 where the books disagree, 2 where a series is not finished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=11, help="until no point is begun any more"
    )
    parser.add_argument("--lanes", type=int, default=10, help="points under way at once")
    parser.add_argument("--paths", default="", help="some of them, with commas; all without")
    arguments = parser.parse_args()
    chosen = arguments.paths.split(",") if arguments.paths else [s.path for s in all_series()]
    wanted = [series for series in all_series() if series.path in chosen]
    started = time.monotonic()
    with ExitStack() as running:
        stage = running.enter_context(chaos_stage(visibility_seconds=10, receives=10, workers=4))
        rows = running.enter_context(Rows(stage=stage))
        run = Run(stage=stage, rows=rows, deadline=started + 60 * arguments.minutes)
        stage.proxy.decide = run.traps.judge
        for path in dict.fromkeys(series.path for series in wanted):
            for _ in range(2):
                run.scout(path, [series for series in wanted if series.path == path])
        take_turns(run, wanted, lanes=arguments.lanes)
        run.close()
    unfinished = [series for series in wanted if series.missing or not series.calls]
    calls, killed = (
        sum(len(found) for found in each)
        for each in zip(*(({*s.certain, *s.killed}, s.killed) for s in wanted), strict=True)
    )
    text = (
        f"`make crash-test`: workers were killed at {killed} of {calls} calls, in "
        f"{time.monotonic() - started:.0f} s; {len(unfinished)} of {len(wanted)} series are not "
        f"finished; disagreements: {len(run.wrong)}."
    )
    table = [
        (
            s.path,
            s.function,
            s.act,
            f"{len(s.killed)} of {len({*s.certain, *s.killed})}",
            ", ".join(s.killed),
            ", ".join(s.missing),
            ", ".join(s.chances),
        )
        for s in wanted
    ]
    head = ("Path", "Function", "When", "Killed", "At the calls", "Not killed at", "Came once")
    published(REPORT, "Killed workers", text, head, table)
    for line in (
        *run.wrong,
        *(f"not finished: {series}: {series.missing}" for series in unfinished),
    ):
        print(line)
    print(text)
    if run.wrong:
        return 1
    return 2 if unfinished else 0


if __name__ == "__main__":
    sys.exit(main())
