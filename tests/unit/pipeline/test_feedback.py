"""Who cannot be reached, or does not want to be."""

import json
from typing import Any

import pytest

from chalicelib.addresses import address_hash
from chalicelib.errors import MessageRejected, ServiceUnavailable
from chalicelib.notifications import Suppression
from chalicelib.pipeline.feedback import Feedback
from tests.fakes import FakeSuppressionTable, unavailable

ADDRESS = "gone@recipient.example"


def bounce(kind: str = "Permanent", address: str = ADDRESS) -> dict[str, Any]:
    return {
        "eventType": "Bounce",
        "bounce": {"bounceType": kind, "bouncedRecipients": [{"emailAddress": address}]},
        "mail": {"destination": [address, "other@recipient.example"]},
    }


def complaint(kind: str | None = "abuse") -> dict[str, Any]:
    detail: dict[str, Any] = {"complainedRecipients": [{"emailAddress": ADDRESS}]}
    if kind is not None:
        detail["complaintFeedbackType"] = kind
    return {"eventType": "Complaint", "complaint": detail}


def suppressed(*events: Any) -> dict[tuple[str, str | None], Suppression]:
    table = FakeSuppressionTable()
    bodies = [event if isinstance(event, str) else json.dumps(event) for event in events]
    Feedback(suppressions=table)({"Records": [{"body": body} for body in bodies]})
    return table.rows


KEY = (address_hash(ADDRESS), None)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (bounce(), Suppression.BOUNCED),
        (bounce(address=f"Somebody <{ADDRESS}>"), Suppression.BOUNCED),
        (bounce(address=ADDRESS.upper()), Suppression.BOUNCED),
        (complaint(), Suppression.COMPLAINED),
        (complaint(None), Suppression.COMPLAINED),
        ({**bounce(), "eventType": None, "notificationType": "Bounce"}, Suppression.BOUNCED),
    ],
)
def test_an_address_that_bounced_for_good_or_complained_is_suppressed_for_all_parcels(
    event: Any, reason: Suppression
) -> None:
    assert suppressed(event) == {KEY: reason}


@pytest.mark.parametrize(
    "event",
    [
        bounce("Transient"),
        bounce("Undetermined"),
        complaint("not-spam"),
        {"eventType": "Delivery", "delivery": {"recipients": [ADDRESS]}},
        {"eventType": "Open"},
        "Successfully validated SNS topic for Amazon SES event publishing.",
    ],
)
def test_everything_else_suppresses_nobody(event: Any) -> None:
    assert suppressed(event) == {}


def test_an_event_that_comes_twice_is_as_good_as_one() -> None:
    assert suppressed(bounce(), bounce(), complaint()) == {KEY: Suppression.BOUNCED}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "poison",
        "[]",
        "null",
        "{}",
        '{"eventType": "Bounce"}',
        '{"eventType": "Bounce", "bounce": {"bounceType": "Permanent"}}',
        '{"eventType": "Complaint", "complaint": null}',
        '{"eventType": "Complaint", "complaint": {"complainedRecipients": [1]}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_event_comes_again_until_it_is_archived(body: str) -> None:
    with pytest.raises(MessageRejected):
        suppressed(body)


def test_a_fault_is_raised_and_the_next_delivery_makes_it_good() -> None:
    table = FakeSuppressionTable()
    table.trail.at_next("suppressions.add", "before", unavailable)
    event = {"Records": [{"body": json.dumps(bounce())}]}
    with pytest.raises(ServiceUnavailable):
        Feedback(suppressions=table)(event)
    Feedback(suppressions=table)(event)
    assert table.rows == {KEY: Suppression.BOUNCED}
