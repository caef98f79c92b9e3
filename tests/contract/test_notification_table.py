"""The rows of e-mails, on the fake and on DynamoDB."""

from dataclasses import replace
from typing import Any

import pytest

from chalicelib.aws.notification_table import NotificationTable, SendingBrokeOff
from chalicelib.errors import NotificationInProgress, Superseded
from chalicelib.images import Failure
from chalicelib.notifications import GIVEN_UP, OUTCOME_UNKNOWN, Claim
from tests.contract.conftest import Edges
from tests.fakes import FakeNotificationTable
from tests.unit.mail_world import MESSAGE, NOW

LEASE = 70
LATER = NOW + LEASE * 1000 + 1
FAULT = Failure(code="service_unavailable", message="Busy.")


@pytest.fixture
def table(side: str, request: pytest.FixtureRequest) -> NotificationTable:
    if side == "fake":
        return FakeNotificationTable(lease_seconds=LEASE)
    edges: Edges = request.getfixturevalue("edges")
    return NotificationTable(
        table=edges.clients.table(edges.notifications_table()), lease_seconds=LEASE
    )


def claim(table: NotificationTable, owner: str = "one", now_ms: int = NOW) -> Claim:
    return table.claim(MESSAGE, owner=owner, now_ms=now_ms)


def test_the_first_claim_is_the_first_attempt(table: NotificationTable) -> None:
    assert claim(table) == Claim(notification_id=MESSAGE.notification_id, attempt=1)


def test_a_claim_whose_answer_was_lost_is_found_again_by_its_owner(
    table: NotificationTable,
) -> None:
    """Invariant 13: the SDK repeats the write, and its condition no longer holds."""
    assert claim(table, "one") == claim(table, "one")


def test_nobody_else_gets_it_while_the_lease_lasts(table: NotificationTable) -> None:
    claim(table, "one")
    for now_ms in (NOW, LATER - 1):
        with pytest.raises(NotificationInProgress):
            claim(table, "two", now_ms)


def test_after_the_lease_nobody_gets_it_but_learns_whose_it_was(table: NotificationTable) -> None:
    first = claim(table, "one")
    for _ in range(2):
        with pytest.raises(SendingBrokeOff) as caught:
            claim(table, "two", LATER)
        assert caught.value.claim == first
    table.not_sent(MESSAGE, first, OUTCOME_UNKNOWN, now_ms=LATER)
    with pytest.raises(Superseded):
        claim(table, "three", LATER)


def test_what_was_released_can_be_claimed_again(table: NotificationTable) -> None:
    table.release(MESSAGE, claim(table, "one"), now_ms=NOW)
    assert claim(table, "two").attempt == 2


def test_other_notifications_are_independent(table: NotificationTable) -> None:
    claim(table)
    for other in (replace(MESSAGE, change_seq=4), replace(MESSAGE, tracking_id="PX-2")):
        assert table.claim(other, owner="two", now_ms=NOW).attempt == 1


END: dict[str, Any] = {
    "sent": lambda table, held: table.sent(MESSAGE, held, message_id="m", now_ms=NOW),
    "not_sent": lambda table, held: table.not_sent(MESSAGE, held, OUTCOME_UNKNOWN, now_ms=NOW),
    "release": lambda table, held: table.release(MESSAGE, held, now_ms=NOW),
}
OPEN: dict[str, Any] = {
    "claim": lambda table: table.claim(MESSAGE, owner="late", now_ms=LATER),
    "suppress": lambda table: table.suppress(MESSAGE, "bounced", now_ms=LATER),
    "fail": lambda table: table.fail(MESSAGE, FAULT, now_ms=LATER),
    "give_up": lambda table: table.give_up(MESSAGE, FAULT, OUTCOME_UNKNOWN, now_ms=LATER),
    "note_fault": lambda table: table.note_fault(MESSAGE, FAULT, now_ms=LATER),
}


@pytest.mark.parametrize("end", sorted(END))
def test_only_who_holds_the_claim_ends_it(table: NotificationTable, end: str) -> None:
    with pytest.raises(Superseded):
        END[end](table, Claim(notification_id=MESSAGE.notification_id, attempt=1))
    held = claim(table)
    with pytest.raises(Superseded):
        END[end](table, replace(held, attempt=2))
    END[end](table, held)
    with pytest.raises(Superseded):
        END[end](table, held)


@pytest.mark.parametrize("over", ["sent", "not_sent", "suppress", "fail"])
@pytest.mark.parametrize("write", sorted(OPEN))
def test_what_is_over_with_stays_as_it_is(table: NotificationTable, over: str, write: str) -> None:
    if over in END:
        END[over](table, claim(table))
    else:
        OPEN[over](table)
    fault = table.last_fault(MESSAGE)
    with pytest.raises(Superseded):
        OPEN[write](table)
    assert table.last_fault(MESSAGE) == fault


@pytest.mark.parametrize("write", ["suppress", "fail"])
def test_what_is_being_sent_is_nobody_elses(table: NotificationTable, write: str) -> None:
    held = claim(table, now_ms=LATER)
    with pytest.raises(NotificationInProgress):
        OPEN[write](table)
    with pytest.raises(Superseded):
        OPEN["note_fault"](table)
    table.sent(MESSAGE, held, message_id="m", now_ms=NOW)


@pytest.mark.parametrize("write", ["suppress", "fail"])
def test_what_broke_off_is_not_ended_without_a_word_on_that(
    table: NotificationTable, write: str
) -> None:
    held = claim(table)
    with pytest.raises(SendingBrokeOff) as caught:
        OPEN[write](table)
    assert caught.value.claim == held


def test_the_reason_of_a_failed_try_is_kept_and_the_next_try_may_begin(
    table: NotificationTable,
) -> None:
    assert table.last_fault(MESSAGE) is None
    table.note_fault(MESSAGE, FAULT, now_ms=NOW)
    assert table.last_fault(MESSAGE) == FAULT
    assert claim(table).attempt == 1


def test_what_was_given_up_unsent_may_be_sent_after_all_and_once(
    table: NotificationTable,
) -> None:
    table.give_up(MESSAGE, GIVEN_UP, OUTCOME_UNKNOWN, now_ms=NOW)
    assert table.last_fault(MESSAGE) == GIVEN_UP
    table.sent(MESSAGE, claim(table), message_id="m", now_ms=NOW)
    with pytest.raises(Superseded):
        claim(table, "two")


def test_what_was_being_sent_when_it_was_given_up_may_not(table: NotificationTable) -> None:
    claim(table)
    with pytest.raises(NotificationInProgress):
        table.give_up(MESSAGE, GIVEN_UP, OUTCOME_UNKNOWN, now_ms=NOW)
    table.give_up(MESSAGE, GIVEN_UP, OUTCOME_UNKNOWN, now_ms=LATER)
    assert table.last_fault(MESSAGE) == OUTCOME_UNKNOWN
    with pytest.raises(Superseded):
        claim(table, "two", LATER)
