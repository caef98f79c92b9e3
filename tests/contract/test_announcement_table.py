"""What was published, on the fake and on DynamoDB."""

import pytest

from chalicelib.aws.announcement_table import AnnouncementTable
from chalicelib.errors import AnnouncementInProgress
from tests.contract.conftest import Edges
from tests.fakes import FakeAnnouncementTable

NOW = 1_795_000_000_000
LEASE_MS = 70_000


@pytest.fixture
def table(side: str, request: pytest.FixtureRequest) -> AnnouncementTable:
    if side == "fake":
        return FakeAnnouncementTable(lease_seconds=LEASE_MS // 1000)
    edges: Edges = request.getfixturevalue("edges")
    bare = edges.clients.table(edges.announcements_table())
    return AnnouncementTable(table=bare, lease_seconds=LEASE_MS // 1000)


def claim(table: AnnouncementTable, *, owner: str = "me", now_ms: int = NOW) -> bool:
    return table.claim("an-event", image_id="an-image", owner=owner, now_ms=now_ms)


def test_an_event_that_was_published_is_not_to_be_published_again(
    table: AnnouncementTable,
) -> None:
    assert claim(table)
    table.settle("an-event", now_ms=NOW)
    assert not claim(table)
    assert not claim(table, owner="another", now_ms=NOW + 10 * LEASE_MS)
    assert table.claim("another-event", image_id="an-image", owner="me", now_ms=NOW)


def test_a_claim_keeps_others_out_until_its_lease_is_over(table: AnnouncementTable) -> None:
    assert claim(table)
    for now_ms in (NOW, NOW + LEASE_MS):
        with pytest.raises(AnnouncementInProgress):
            claim(table, owner="another", now_ms=now_ms)
    assert claim(table, owner="another", now_ms=NOW + LEASE_MS + 1)


def test_a_claim_whose_answer_was_lost_is_known_as_our_own(table: AnnouncementTable) -> None:
    assert claim(table)
    assert claim(table)


def test_a_claim_that_was_given_back_is_free_at_once(table: AnnouncementTable) -> None:
    assert claim(table)
    table.release("an-event", owner="me")
    assert claim(table, owner="another")


def test_nobody_gives_back_what_is_not_his(table: AnnouncementTable) -> None:
    assert claim(table)
    table.release("an-event", owner="another")
    with pytest.raises(AnnouncementInProgress):
        claim(table, owner="another")
    table.settle("an-event", now_ms=NOW)
    table.release("an-event", owner="me")
    assert not claim(table)


def test_whoever_published_after_his_lease_has_published_all_the_same(
    table: AnnouncementTable,
) -> None:
    assert claim(table)
    assert claim(table, owner="another", now_ms=NOW + LEASE_MS + 1)
    table.settle("an-event", now_ms=NOW)
    assert not claim(table, owner="a third", now_ms=NOW + 3 * LEASE_MS)


def test_what_nobody_claimed_leaves_no_row(table: AnnouncementTable) -> None:
    table.release("an-event", owner="me")
    table.settle("an-event", now_ms=NOW)
    assert claim(table)


def test_a_row_outlives_whatever_could_bring_its_event_again(edges: Edges) -> None:
    bare = edges.clients.table(edges.announcements_table())
    table = AnnouncementTable(table=bare, lease_seconds=70)
    claim(table)
    table.settle("an-event", now_ms=NOW)
    row = bare.get_item(Key={"event_id": "an-event"})["Item"]
    kept_days = (int(str(row["expires_at"])) - NOW // 1000) // 86400
    assert kept_days > 90, "letters lie in the archive so long"
    assert (row["image_id"], row["state"]) == ("an-image", "published")
