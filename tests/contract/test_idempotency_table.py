"""The claims of `Idempotency-Key`, on the fake and on DynamoDB."""

import pytest

from chalicelib.aws.idempotency_table import Claim, IdempotencyTable
from chalicelib.errors import IdempotencyInProgress, IdempotencyKeyReused
from tests.contract.conftest import Edges
from tests.fakes import FakeIdempotencyTable

KEPT = 86400
LEASE = 35
NOW = 1_795_000_000


@pytest.fixture
def table(side: str, request: pytest.FixtureRequest) -> IdempotencyTable:
    if side == "fake":
        return FakeIdempotencyTable(kept_seconds=KEPT, lease_seconds=LEASE)
    edges: Edges = request.getfixturevalue("edges")
    return IdempotencyTable(
        table=edges.clients.table(edges.idempotency_table()),
        kept_seconds=KEPT,
        lease_seconds=LEASE,
    )


def test_the_first_claim_works_with_the_id_that_it_brought(table: IdempotencyTable) -> None:
    assert table.claim("k", "f", subject_id="one", now=NOW) == Claim(subject_id="one")


def test_a_settled_claim_is_replayed_with_the_first_id(table: IdempotencyTable) -> None:
    table.claim("k", "f", subject_id="one", now=NOW)
    table.settle("k", '{"status": 201}')
    for later in (0, LEASE + 1, KEPT):
        claim = table.claim("k", "f", subject_id="two", now=NOW + later)
        assert claim == Claim(subject_id="one", answer='{"status": 201}')


def test_the_key_of_another_request_is_refused_before_and_after_its_answer(
    table: IdempotencyTable,
) -> None:
    table.claim("k", "f", subject_id="one", now=NOW)
    with pytest.raises(IdempotencyKeyReused):
        table.claim("k", "other", subject_id="two", now=NOW)
    table.settle("k", "{}")
    with pytest.raises(IdempotencyKeyReused):
        table.claim("k", "other", subject_id="two", now=NOW)
    assert table.claim("k", "f", subject_id="two", now=NOW).subject_id == "one"


def test_other_keys_are_independent(table: IdempotencyTable) -> None:
    table.claim("k", "f", subject_id="one", now=NOW)
    assert table.claim("l", "f", subject_id="two", now=NOW) == Claim(subject_id="two")


def test_a_claim_in_progress_says_when_to_ask_again(table: IdempotencyTable) -> None:
    table.claim("k", "f", subject_id="one", now=NOW)
    for elapsed in (0, 5, LEASE):
        with pytest.raises(IdempotencyInProgress) as caught:
            table.claim("k", "f", subject_id="two", now=NOW + elapsed)
        assert caught.value.headers["Retry-After"] == str(LEASE - elapsed + 1)


def test_a_lease_that_ran_out_is_taken_over_with_the_same_id(table: IdempotencyTable) -> None:
    table.claim("k", "f", subject_id="one", now=NOW)
    later = NOW + LEASE + 1
    assert table.claim("k", "f", subject_id="two", now=later) == Claim(subject_id="one")
    with pytest.raises(IdempotencyInProgress):
        table.claim("k", "f", subject_id="three", now=later)


def test_a_lease_that_was_given_up_is_taken_over_at_once_with_the_same_id(
    table: IdempotencyTable,
) -> None:
    table.claim("k", "f", subject_id="one", now=NOW)
    table.end_lease("k")
    assert table.claim("k", "f", subject_id="two", now=NOW) == Claim(subject_id="one")
    table.end_lease("never claimed")
    assert table.claim("never claimed", "f", subject_id="x", now=NOW) == Claim(subject_id="x")


def test_a_claim_that_ran_out_is_forgotten(table: IdempotencyTable) -> None:
    table.claim("k", "f", subject_id="one", now=NOW)
    table.settle("k", "{}")
    later = NOW + KEPT + 1
    assert table.claim("k", "other", subject_id="two", now=later) == Claim(subject_id="two")
    with pytest.raises(IdempotencyInProgress):
        table.claim("k", "other", subject_id="three", now=later)


def test_a_released_key_is_free_for_another_request(table: IdempotencyTable) -> None:
    table.claim("k", "f", subject_id="one", now=NOW)
    table.release("k")
    assert table.claim("k", "other", subject_id="two", now=NOW) == Claim(subject_id="two")


def test_an_answer_to_a_released_key_leaves_the_key_free(table: IdempotencyTable) -> None:
    table.claim("k", "f", subject_id="one", now=NOW)
    table.release("k")
    table.settle("k", "{}")
    assert table.claim("k", "other", subject_id="two", now=NOW) == Claim(subject_id="two")


def test_of_two_that_take_over_one_claim_the_later_waits(edges: Edges) -> None:
    """Both read the row that ran out; the write of one is between the other's read and write."""
    boto_table = edges.clients.table(edges.idempotency_table())
    table = IdempotencyTable(table=boto_table, kept_seconds=KEPT, lease_seconds=LEASE)
    table.claim("k", "f", subject_id="one", now=NOW)
    later = NOW + LEASE + 1
    winners: list[Claim] = []

    def overtake(**_: object) -> None:
        if not winners:
            winners.append(Claim(subject_id="pending"))
            winners[0] = table.claim("k", "f", subject_id="two", now=later)

    events = boto_table.meta.client.meta.events
    events.register("before-call.dynamodb.UpdateItem", overtake)
    try:
        with pytest.raises(IdempotencyInProgress):
            table.claim("k", "f", subject_id="three", now=later)
    finally:
        events.unregister("before-call.dynamodb.UpdateItem", overtake)
    assert winners == [Claim(subject_id="one")]
