"""What callers used of their quota, on the fake and on DynamoDB."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.aws.idempotency_table import Claim, IdempotencyTable
from chalicelib.aws.quota_table import QuotaTable
from tests.contract.conftest import Edges
from tests.fakes import FakeQuotaTable

END = 1_795_003_600


@pytest.fixture
def table(side: str, request: pytest.FixtureRequest) -> QuotaTable:
    if side == "fake":
        return FakeQuotaTable()
    edges: Edges = request.getfixturevalue("edges")
    return QuotaTable(table=edges.clients.quick_table(edges.idempotency_table()))


def test_so_much_can_be_used_as_there_is_and_no_more(table: QuotaTable) -> None:
    assert [table.spend("a", 1, limit=3, expires_at=END) for _ in range(5)] == (
        [True] * 3 + [False] * 2
    )
    assert table.spend("b", 1, limit=3, expires_at=END)


def test_what_does_not_fit_takes_nothing(table: QuotaTable) -> None:
    assert not table.spend("a", 4, limit=3, expires_at=END)
    assert table.spend("a", 2, limit=3, expires_at=END)
    assert not table.spend("a", 2, limit=3, expires_at=END)
    assert table.spend("a", 1, limit=3, expires_at=END)
    assert not table.spend("a", 1, limit=3, expires_at=END)


def test_the_limit_is_that_of_the_moment(table: QuotaTable) -> None:
    assert table.spend("a", 3, limit=3, expires_at=END)
    assert table.spend("a", 1, limit=4, expires_at=END)
    assert not table.spend("a", 1, limit=2, expires_at=END)


def test_of_many_at_once_so_many_get_through_as_may(table: QuotaTable) -> None:
    """Each reads and writes in one call: nobody comes in between."""
    with ThreadPoolExecutor(12) as threads:
        answers = list(
            threads.map(lambda _: table.spend("a", 1, limit=7, expires_at=END), range(40))
        )
    assert answers.count(True) == 7


def test_the_rows_lie_beside_the_claims_and_end_by_themselves(edges: Edges) -> None:
    name = edges.idempotency_table()
    quota = QuotaTable(table=edges.clients.table(name))
    claims = IdempotencyTable(table=edges.clients.table(name), kept_seconds=86400, lease_seconds=35)
    assert quota.spend("a", 2, limit=3, expires_at=END)
    assert claims.claim("a", "f", subject_id="one", now=END) == Claim(subject_id="one")
    rows = edges.admin("dynamodb").scan(TableName=name)["Items"]
    (row,) = (row for row in rows if row["idempotency_key"]["S"].startswith("quota#"))
    assert row == {
        "idempotency_key": {"S": "quota#a"},
        "used": {"N": "2"},
        "expires_at": {"N": str(END)},
    }
