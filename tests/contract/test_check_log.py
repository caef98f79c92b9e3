"""What the check leaves behind, on the fake and on DynamoDB."""

import pytest

from chalicelib.aws.check_log import KEY, CheckLog, Heartbeat
from chalicelib.aws.image_table import ImageTable
from chalicelib.errors import ImageNotFound
from chalicelib.images import is_image_id
from tests.contract.conftest import SHARDS, Edges
from tests.fakes import FakeCheckLog


@pytest.fixture
def log(side: str, request: pytest.FixtureRequest) -> CheckLog:
    if side == "fake":
        return FakeCheckLog()
    edges: Edges = request.getfixturevalue("edges")
    return CheckLog(table=edges.clients.table(edges.images_table()))


def test_a_run_comes_back_as_it_was_recorded(log: CheckLog) -> None:
    assert log.last() is None
    heartbeat = Heartbeat(
        at_ms=1_795_000_000_000,
        took_ms=12,
        found={"requeued_queued": 3},
        not_done=("stuck_parcels",),
        places={"queued": "2 1795000000000#an-id"},
    )
    log.write(heartbeat)
    assert log.last() == heartbeat


def test_of_two_runs_the_one_that_ended_last_stays(log: CheckLog) -> None:
    late, early = Heartbeat(at_ms=20, took_ms=1), Heartbeat(at_ms=10, took_ms=1)
    log.write(late)
    log.write(early)
    assert log.last() == late
    log.write(Heartbeat(at_ms=30, took_ms=1))
    assert log.last() == Heartbeat(at_ms=30, took_ms=1)


def test_a_heartbeat_is_no_image(edges: Edges) -> None:
    assert not is_image_id(KEY)
    table = edges.clients.table(edges.images_table())
    CheckLog(table=table).write(Heartbeat(at_ms=1, took_ms=1))
    images = ImageTable(table=table, shards=SHARDS)
    with pytest.raises(ImageNotFound):
        images.get(KEY)
    assert images.page(status=None, limit=10, before=None) == ([], None)
