"""Whom nothing is sent to, on the fake and on DynamoDB."""

import pytest

from chalicelib.aws.suppression_table import SuppressionTable
from chalicelib.notifications import Suppression
from tests.contract.conftest import Edges
from tests.fakes import FakeSuppressionTable

NOW = 1_795_000_000


@pytest.fixture
def table(side: str, request: pytest.FixtureRequest) -> SuppressionTable:
    if side == "fake":
        return FakeSuppressionTable()
    edges: Edges = request.getfixturevalue("edges")
    return SuppressionTable(table=edges.clients.table(edges.suppressions_table()))


def test_nothing_stands_against_an_address_at_first(table: SuppressionTable) -> None:
    assert table.reason_against("a", "p") is None


def test_for_all_parcels_is_for_every_one(table: SuppressionTable) -> None:
    table.add("a", Suppression.BOUNCED, parcel_hash=None, now=NOW)
    assert table.reason_against("a", "p") is Suppression.BOUNCED
    assert table.reason_against("a", "q") is Suppression.BOUNCED
    assert table.reason_against("b", "p") is None


def test_for_one_parcel_is_for_that_one(table: SuppressionTable) -> None:
    table.add("a", Suppression.UNSUBSCRIBED, parcel_hash="p", now=NOW)
    assert table.reason_against("a", "p") is Suppression.UNSUBSCRIBED
    assert table.reason_against("a", "q") is None


def test_twice_keeps_the_first_reason(table: SuppressionTable) -> None:
    table.add("a", Suppression.COMPLAINED, parcel_hash=None, now=NOW)
    table.add("a", Suppression.BOUNCED, parcel_hash=None, now=NOW + 1)
    assert table.reason_against("a", "p") is Suppression.COMPLAINED
