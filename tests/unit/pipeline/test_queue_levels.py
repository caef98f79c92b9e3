"""What the check measures, as alarms and dashboard get it, and as `GET /health` shows it."""

import json
from collections import defaultdict
from dataclasses import replace

import pytest

from chalicelib.api.health import CheckFacts
from chalicelib.images import Status
from chalicelib.pipeline.queue_levels import QueueLevels
from tests.fakes import FakeQueue
from tests.unit.pipeline.test_stuck_images import HOUR, accepted, lose, stuck
from tests.unit.pipeline.world import World


@pytest.fixture
def world() -> World:
    return World()


def ended_without_copies(world: World) -> str:
    """An image whose predictions are there, and the message about whose copies was lost."""
    image_id = accepted(world)
    world.poll(world.preprocessing_queue, world.preprocess)
    world.poll(world.inference_queue, world.infer)
    lose(world)
    return image_id


def older(world: World, *ids: str, hours: int) -> None:
    """Let these images have stood still for so long."""
    for image_id in ids:
        row = world.row(image_id)
        world.images.rows[image_id] = replace(
            row,
            created_at_ms=world.now - hours * HOUR,
            updated_at_ms=world.now - hours * HOUR,
        )


def metrics(capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, str], float]:
    """The sum of what was counted since it was last asked, by step and metric."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    for line in capsys.readouterr().out.splitlines():
        told = json.loads(line)
        for group in told.get("_aws", {}).get("CloudWatchMetrics", []):
            for metric in group["Metrics"]:
                found[told["stage"], metric["Name"]] += sum(told[metric["Name"]])
    return found


def test_depth_and_dead_letters_of_every_queue_are_measured(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    letters = FakeQueue(world.trail, label="letters")
    world.inference_queue.send("1")
    for body in ("1", "2", "3"):
        letters.send(body)
    # One is with bury at this moment; it is there still.
    letters.receive(1)
    levels = QueueLevels(
        queues={"inference": world.inference_queue, "conversion": world.conversion_queue},
        dead_letters={"inference": letters},
    )
    world.check = replace(world.check, parts={"queue_levels": levels})
    capsys.readouterr()
    world.check()
    found = metrics(capsys)
    assert found["inference", "QueueDepth"] == 1
    assert found["conversion", "QueueDepth"] == 0
    assert ("conversion", "QueueDepth") in found
    assert found["inference", "DeadLettersWaiting"] == 3
    assert found["check", "Heartbeat"] == 1
    assert world.check_log.known is not None
    assert world.check_log.known.found == {"waiting_inference": 1, "dead_letters_inference": 2}


def test_the_oldest_of_each_queue_and_all_that_was_done_are_counted_and_shown_by_health(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [stuck(world, status) for status in (Status.QUEUED, Status.PREPROCESSED)]
    copies, given_up = ended_without_copies(world), stuck(world, Status.INFERENCING)
    uploaded, unused = world.create(), world.create()
    world.upload(uploaded)
    older(world, *ids, copies, given_up, uploaded, unused, hours=22)
    world.images.rows[given_up] = replace(world.row(given_up), requeues=2)
    capsys.readouterr()
    world.check()
    found = metrics(capsys)
    for queue in ("preprocessing", "inference", "conversion"):
        assert 22 * 3600 <= found[queue, "OldestMessageAge"] < 23 * 3600, queue
    assert found["check", "ImagesRequeued"] == 3
    assert found["check", "ImagesGivenUp"] == 1
    assert found["check", "UploadsRecovered"] == 1
    assert found["check", "UploadsExpired"] == 1
    shown = CheckFacts(log=world.check_log, overdue_after=3, now_ms=lambda: world.now)()
    assert shown["found"] == {
        "recovered_uploads": 1,
        "expired_uploads": 1,
        "requeued_queued": 1,
        "requeued_preprocessed": 1,
        "requeued_copies": 1,
        "given_up_inferencing": 1,
    }
    assert "status" not in shown


def test_two_checks_at_once_whatever_the_moment_do_everything_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A second one runs from its beginning to its end before each call of the first."""
    fired = 0
    for number in range(80):
        world = World()
        ids = [
            stuck(world, Status.QUEUED),
            stuck(world, Status.INFERENCING),
            ended_without_copies(world),
        ]
        uploaded, unused = world.create(), world.create()
        world.upload(uploaded)
        older(world, *ids, uploaded, unused, hours=2)
        world.trail.at(len(world.trail.calls) + number, "before", world.check)
        capsys.readouterr()
        world.check()
        if not world.trail.fired:
            break
        fired += 1
        found = metrics(capsys)
        assert found["check", "ImagesRequeued"] == 3, number
        assert found["check", "UploadsExpired"] == 1, number
        assert found["check", "Heartbeat"] == 2
        for image_id in ids:
            row = world.row(image_id)
            assert row.requeues + row.conversion_requeues == 1, number
        # Copies whose message was lost as well are looked at once the image has ended.
        for _ in range(2):
            world.work()
            world.now += 3 * HOUR
            world.check()
        world.work()
        for image_id in (*ids, uploaded):
            row = world.row(image_id)
            assert (row.status, row.conversion_status) == ("completed", "completed"), number
        assert world.row(unused).status is Status.EXPIRED
        assert len(world.results) == len(ids) + 1, number
        world.assert_statuses_never_went_back()
    else:
        raise AssertionError("the calls never ended")
    assert fired > 20
