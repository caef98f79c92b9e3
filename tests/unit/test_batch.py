import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from chalicelib import messages
from chalicelib.batch import Batch, BatchFailed, backoff_seconds, fault_of
from chalicelib.errors import (
    DarkroomError,
    ModelError,
    ObjectMissing,
    ServiceUnavailable,
    Superseded,
)
from chalicelib.images import Failure
from chalicelib.messages import ImageMessage

SIZE = 10
LONGEST = 12 * 3600


@dataclass
class RecordingQueue:
    """A queue that only writes down what it is told; `fault` is raised instead of postponing."""

    fault: Exception | None = None
    deleted: list[list[str]] = field(default_factory=list)
    postponed: list[tuple[str, int]] = field(default_factory=list)

    def delete(self, receipt_handles: list[str]) -> None:
        self.deleted.append(list(receipt_handles))

    def postpone(self, receipt_handle: str, seconds: int) -> None:
        if self.fault is not None:
            raise self.fault
        self.postponed.append((receipt_handle, seconds))


@dataclass
class RecordingStage:
    """A stage that raises what it is told for some images."""

    raising: Mapping[str, Exception] = field(default_factory=dict)
    worked: list[str] = field(default_factory=list)

    def __call__(self, message: ImageMessage) -> None:
        self.worked.append(message.image_id)
        if message.image_id in self.raising:
            raise self.raising[message.image_id]


@dataclass
class RecordingFaults:
    """Writes down reasons; `fault` is raised instead."""

    fault: Exception | None = None
    noted: list[tuple[str, Failure]] = field(default_factory=list)

    def note_fault(self, message: ImageMessage, fault: Failure, *, now_ms: int) -> None:
        if self.fault is not None:
            raise self.fault
        self.noted.append((message.image_id, fault))


def record(number: int, *, body: str | None = None, receives: int = 1) -> dict[str, Any]:
    message = ImageMessage(image_id=f"image-{number}", generation="v", attempt=1, queued_at_ms=1)
    return {
        "messageId": f"message-{number}",
        "receiptHandle": f"handle-{number}",
        "body": messages.encode(message) if body is None else body,
        "attributes": {"ApproximateReceiveCount": str(receives)},
    }


def event(*records: dict[str, Any]) -> dict[str, Any]:
    return {"Records": list(records)}


def full_event() -> dict[str, Any]:
    return event(*(record(number) for number in range(SIZE)))


def run(
    what: Mapping[str, Any],
    stage: RecordingStage,
    queue: RecordingQueue,
    *,
    faults: RecordingFaults | None = None,
) -> RecordingFaults:
    faults = faults or RecordingFaults()
    batch_of(queue, faults).run(what, lambda: stage)
    return faults


def batch_of(queue: RecordingQueue, faults: RecordingFaults) -> Batch[ImageMessage]:
    return Batch(
        name="develop",
        decode=messages.decode,
        queue=queue,
        faults=faults,
        retry_base_seconds=10,
    )


def named_in(failed: pytest.ExceptionInfo[BatchFailed]) -> list[str]:
    return str(failed.value).partition("again: ")[2].split(", ")


def test_a_batch_that_succeeds_is_left_to_lambda_to_delete() -> None:
    queue, stage = RecordingQueue(), RecordingStage()
    run(full_event(), stage, queue)
    assert stage.worked == [f"image-{number}" for number in range(SIZE)]
    assert queue == RecordingQueue()


@pytest.mark.parametrize("nothing", [{}, {"Records": []}])
def test_an_event_without_records_is_done_at_once(nothing: dict[str, Any]) -> None:
    queue, stage = RecordingQueue(), RecordingStage()
    run(nothing, stage, queue)
    assert (queue, stage) == (RecordingQueue(), RecordingStage())


@pytest.mark.parametrize("position", range(SIZE))
def test_the_one_that_fails_stays_and_the_nine_others_are_deleted(position: int) -> None:
    queue = RecordingQueue()
    stage = RecordingStage(raising={f"image-{position}": RuntimeError("boom")})
    with pytest.raises(BatchFailed) as failed:
        run(full_event(), stage, queue)
    others = [number for number in range(SIZE) if number != position]
    assert queue.deleted == [[f"handle-{number}" for number in others]]
    assert named_in(failed) == [f"message-{position}"]
    assert [handle for handle, _ in queue.postponed] == [f"handle-{position}"]
    assert len(stage.worked) == SIZE


@pytest.mark.parametrize("position", range(SIZE))
def test_an_unreadable_message_stays_and_the_nine_others_are_deleted(position: int) -> None:
    queue, stage, faults = RecordingQueue(), RecordingStage(), RecordingFaults()
    batch = full_event()
    batch["Records"][position]["body"] = "{"
    with pytest.raises(BatchFailed) as failed:
        run(batch, stage, queue, faults=faults)
    assert len(queue.deleted[0]) == SIZE - 1
    assert named_in(failed) == [f"message-{position}"]
    assert len(stage.worked) == SIZE - 1
    assert faults.noted == []


def test_where_all_fail_nothing_is_deleted_and_all_are_named() -> None:
    queue = RecordingQueue()
    stage = RecordingStage(raising={f"image-{n}": RuntimeError("boom") for n in range(SIZE)})
    with pytest.raises(BatchFailed) as failed:
        run(full_event(), stage, queue)
    assert queue.deleted == []
    assert named_in(failed) == [f"message-{number}" for number in range(SIZE)]


def test_the_failure_names_its_stage() -> None:
    stage = RecordingStage(raising={"image-0": RuntimeError("boom")})
    with pytest.raises(BatchFailed, match=r"^develop: "):
        run(event(record(0)), stage, RecordingQueue())


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("x"),
        ValueError("x"),
        KeyError("Body"),
        MemoryError(),
        RecursionError(),
        TimeoutError(),
        StopIteration(),
        AssertionError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"),
        ExceptionGroup("several", [ValueError("x")]),
        ServiceUnavailable("throttled"),
        ModelError("The model is gone."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_stage_raises_reaches_only_its_own_message(error: Exception) -> None:
    queue, faults = RecordingQueue(), RecordingFaults()
    stage = RecordingStage(raising={"image-1": error})
    with pytest.raises(BatchFailed) as failed:
        run(event(record(0), record(1), record(2)), stage, queue, faults=faults)
    assert queue.deleted == [["handle-0", "handle-2"]]
    assert named_in(failed) == ["message-1"]
    assert faults.noted == [("image-1", fault_of(error))]


def test_a_stage_that_cannot_be_built_fails_every_message_with_its_reason() -> None:
    def no_stage() -> RecordingStage:
        raise ModelError("The model package has no file model.onnx.")

    queue, faults = RecordingQueue(), RecordingFaults()
    with pytest.raises(BatchFailed) as failed:
        batch_of(queue, faults).run(event(record(0), record(1)), no_stage)
    assert named_in(failed) == ["message-0", "message-1"]
    assert [(image_id, fault.code) for image_id, fault in faults.noted] == [
        ("image-0", "model_unusable"),
        ("image-1", "model_unusable"),
    ]
    assert queue.deleted == []


@pytest.mark.parametrize("gone", [True, False])
def test_superseded_work_is_done_with(*, gone: bool) -> None:
    queue = RecordingQueue()
    stage = RecordingStage(raising={"image-0": Superseded("overtaken", gone=gone)})
    faults = run(event(record(0)), stage, queue)
    assert (queue.postponed, faults.noted) == ([], [])


def test_superseded_work_is_deleted_where_another_message_fails() -> None:
    queue = RecordingQueue()
    stage = RecordingStage(
        raising={"image-0": Superseded("overtaken"), "image-1": RuntimeError("boom")}
    )
    with pytest.raises(BatchFailed):
        run(event(record(0), record(1)), stage, queue)
    assert queue.deleted == [["handle-0"]]


def test_a_queue_that_cannot_postpone_costs_only_time() -> None:
    queue, faults = RecordingQueue(fault=ServiceUnavailable("throttled")), RecordingFaults()
    stage = RecordingStage(raising={"image-0": RuntimeError("boom")})
    with pytest.raises(BatchFailed) as failed:
        run(event(record(0), record(1)), stage, queue, faults=faults)
    assert named_in(failed) == ["message-0"]
    assert queue.deleted == [["handle-1"]]
    assert len(faults.noted) == 1


@pytest.mark.parametrize("fault", [Superseded("deleted", gone=True), ServiceUnavailable("down")])
def test_a_reason_that_cannot_be_kept_stops_nothing(fault: DarkroomError) -> None:
    queue = RecordingQueue()
    stage = RecordingStage(raising={"image-0": RuntimeError("boom")})
    with pytest.raises(BatchFailed) as failed:
        run(event(record(0), record(1)), stage, queue, faults=RecordingFaults(fault=fault))
    assert named_in(failed) == ["message-0"]
    assert queue.deleted == [["handle-1"]]


@pytest.mark.parametrize(
    ("receives", "shortest", "longest"), [(1, 10, 15), (2, 20, 30), (3, 40, 60)]
)
def test_a_failed_message_comes_back_after_a_wait_that_doubles(
    receives: int, shortest: int, longest: int
) -> None:
    queue = RecordingQueue()
    stage = RecordingStage(raising={"image-0": RuntimeError("boom")})
    with pytest.raises(BatchFailed):
        run(event(record(0, receives=receives)), stage, queue)
    ((handle, seconds),) = queue.postponed
    assert handle == "handle-0"
    assert shortest <= seconds <= longest


def test_a_record_that_does_not_say_how_often_it_came_came_once() -> None:
    queue = RecordingQueue()
    bare = record(0)
    del bare["attributes"]
    with pytest.raises(BatchFailed):
        run(event(bare), RecordingStage(raising={"image-0": RuntimeError("boom")}), queue)
    assert 10 <= queue.postponed[0][1] <= 15


@pytest.mark.parametrize("receives", range(1, 8))
def test_the_wait_doubles_with_each_try(receives: int) -> None:
    assert backoff_seconds(10, receives, draw=lambda: 0.0) == 10 * 2 ** (receives - 1)


@pytest.mark.parametrize(("drawn", "seconds"), [(0.0, 40), (0.5, 50), (0.999999, 59)])
def test_up_to_half_of_the_wait_comes_on_top_by_chance(drawn: float, seconds: int) -> None:
    assert backoff_seconds(10, 3, draw=lambda: drawn) == seconds


def test_two_messages_that_fail_together_do_not_come_back_together() -> None:
    waits = {backoff_seconds(1000, 3) for _ in range(50)}
    assert len(waits) > 10


@pytest.mark.parametrize("receives", [13, 17, 1000, 10**9])
def test_no_wait_is_longer_than_the_queue_allows(receives: int) -> None:
    assert backoff_seconds(10, receives, draw=lambda: 0.999999) == LONGEST


@pytest.mark.parametrize(
    "make", [RuntimeError, KeyError, lambda text: OSError(5, text)], ids=["runtime", "key", "os"]
)
def test_a_foreign_error_keeps_its_words_to_itself(make: Callable[[str], Exception]) -> None:
    assert fault_of(make("secret")) == Failure(
        code="internal_error", message="Something went wrong on our side."
    )


def test_an_error_of_ours_shows_its_code_and_public_sentence() -> None:
    assert fault_of(ObjectMissing("secret-key")) == Failure(
        code="object_missing",
        message="The uploaded file is no longer there; upload it again.",
    )


def test_a_failed_try_is_counted_for_its_stage(capsys: pytest.CaptureFixture[str]) -> None:
    stage = RecordingStage(raising={"image-0": RuntimeError("boom")})
    with pytest.raises(BatchFailed):
        run(event(record(0), record(1)), stage, RecordingQueue())
    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert [(line["stage"], line["ProcessingErrors"]) for line in metrics] == [("develop", [1.0])]
