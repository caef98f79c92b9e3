"""The life of images, whatever happens in whatever order: Hypothesis looks for the order that
breaks an invariant.

Uploads, messages that come late, twice, or again long after they were removed, workers that die at
any call, retries, deletions, dead letters. The invariants that hold at every moment are looked at
after each step, those of a service at rest once everything was worked on.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chalicelib.batch import BatchFailed
from chalicelib.errors import DarkroomError
from chalicelib.images import Image
from tests.crashes.invariants import ALWAYS, AT_REST, check, watch
from tests.crashes.paths import deliver_one, until_answered
from tests.fakes import Crash, FakeQueue, Phase, Tombstone, crash, unavailable
from tests.unit.pipeline.world import PHOTO, Stored, World, photo

BODIES = st.sampled_from([PHOTO, photo("olive", kind="PNG"), PHOTO[: len(PHOTO) // 2], b"hello"])
QUEUES = st.sampled_from(["preprocessing", "inference", "conversion"])
PHASES: st.SearchStrategy[Phase] = st.sampled_from(["before", "after"])
FAULTS = st.sampled_from([crash, unavailable])
MODELS = st.sampled_from([None, "other@2"])
PICKS = st.integers(0, 1000)


class AnyOrder(RuleBasedStateMachine):
    """A world in which anything may happen next."""

    @initialize(reusing=st.booleans())
    def begin(self, *, reusing: bool) -> None:
        # Many are of the same bytes.
        self.world = World(reusing=reusing)
        watch(self.world)
        self.world.publish("other@2", side=12)
        self.ids: list[str] = []
        self.uploads: list[Stored] = []

    @rule(body=BODIES)
    def upload_through_a_link(self, body: bytes) -> None:
        self.ids.append(self.world.create())
        self.uploads.append(self.world.upload(self.ids[-1], body))

    @rule(body=BODIES)
    def upload_into_the_bucket(self, body: bytes) -> None:
        self.uploads.append(self.world.store(f"uploads/{len(self.uploads)}.jpg", body))

    @rule(pick=PICKS, body=BODIES)
    def use_a_link_again(self, pick: int, body: bytes) -> None:
        if self.ids:
            self.uploads.append(self.world.upload(self.ids[pick % len(self.ids)], body))

    @rule(pick=PICKS)
    def tell_of_an_upload(self, pick: int) -> None:
        """S3's event, of any upload, as often as it likes."""
        if self.uploads:
            with suppress(ExceptionGroup, Crash):
                self.world.ingest(self.uploads[pick % len(self.uploads)].event())

    @rule(label=QUEUES, count=st.integers(1, 4))
    def deliver(self, label: str, count: int) -> None:
        for _ in range(count):
            deliver_one(self.queue(label), of=self.world)

    @rule(label=QUEUES, random=st.randoms(use_true_random=False))
    def reorder(self, label: str, random: object) -> None:
        held = self.queue(label).held
        entries = list(held.items())
        random.shuffle(entries)  # type: ignore[attr-defined] # hypothesis' own Random
        held.clear()
        held.update(entries)

    @rule(label=QUEUES)
    def replay(self, label: str) -> None:
        """Everything that was ever sent comes once more."""
        if len(self.queue(label).sent) < 30:
            self.queue(label).replay()

    @rule(first=PICKS, count=st.integers(1, 8), lease_over=st.booleans())
    def tell_of_what_was_written(self, first: int, count: int, *, lease_over: bool) -> None:
        """The stream of the images table, from anywhere on, as often as it likes."""
        if records := self.world.records:
            first %= len(records)
            self.world.stream_now += 100_000 * lease_over
            with suppress(BatchFailed, Crash):
                self.world.announce({"Records": records[first : first + count]})

    @rule(number=st.integers(0, 12), phase=PHASES, fault=FAULTS)
    def break_a_call_soon(self, number: int, phase: Phase, fault: Callable[[], None]) -> None:
        self.world.trail.at(len(self.world.trail.calls) + number, phase, fault)

    @rule(pick=PICKS, model=MODELS)
    def retry(self, pick: int, model: str | None) -> None:
        """A client who does not ask again where the first try was broken off."""
        self.ask(pick, lambda image_id: self.world.api.retry(image_id, model=model))

    @rule(pick=PICKS)
    def delete(self, pick: int) -> None:
        self.ask(pick, self.world.api.delete)

    @rule(label=QUEUES)
    def give_a_message_up(self, label: str) -> None:
        """It was received too often."""
        queue = self.queue(label)
        queue.reappear()
        if records := queue.receive(1):
            self.world.give_up(queue, records)

    @invariant()
    def what_holds_at_every_moment_holds(self) -> None:
        check(self.world, ALWAYS)

    def teardown(self) -> None:
        """Nothing breaks any more: everything is told, asked and delivered until it is done."""
        world = self.world
        world.trail._actions.clear()
        for image_id, row in list(world.images.rows.items()):
            if isinstance(row, Tombstone) and row.removing:
                until_answered(world, partial(world.api.delete, image_id))
        for upload in self.uploads:
            world.deliver_event(upload.event())
        for label in ("preprocessing", "inference", "conversion") * 3:
            while deliver_one(self.queue(label), of=world):
                pass
        world.stream()
        check(world, AT_REST)
        ended = [row for row in world.images.rows.values() if isinstance(row, Image)]
        assert all(row.generation is not None for row in ended)

    def queue(self, label: str) -> FakeQueue:
        found: FakeQueue = getattr(self.world, f"{label}_queue")
        return found

    def ask(self, pick: int, of: Callable[[str], object]) -> None:
        if ids := list(self.world.images.rows):
            with suppress(DarkroomError, Crash):
                of(ids[pick % len(ids)])


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(stateful_step_count=25)
