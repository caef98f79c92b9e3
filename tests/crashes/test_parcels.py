"""From the update of a parcel to its e-mail, with a crash before and after each call to AWS.

The client sends its update again until it is answered, the stream delivers its records and SQS
its messages until they are taken.
"""

from collections.abc import Callable

import pytest

from chalicelib.errors import ServiceUnavailable
from chalicelib.images import new_image_id
from chalicelib.parcels import Parcel
from tests.crashes.enumeration import boundaries_of
from tests.fakes import Crash, Phase, Trail, crash, unavailable
from tests.unit.mail_world import ADDRESS, MailWorld, record_of
from tests.unit.tracking_world import PARCEL, UPDATE, TrackingWorld

STATUSES = ("pending", "in_transit", "delivered")
UNKNOWN = ("failed", "outcome_unknown")
# Around these two calls nobody can know whether the e-mail went out: docs/adr/0008.
WINDOW = {"notifications.claim", "mailer.send", "notifications.sent"}


class ParcelService:
    """Both halves of what happens to a parcel, over one trail."""

    def __init__(self) -> None:
        self.trail = Trail()
        self.tracking = TrackingWorld(self.trail)
        self.mail = MailWorld(self.trail)
        self.photo = self.tracking.photo(new_image_id(), completed=True)
        self.mail.images.rows.update(self.tracking.images.rows)

    def run(self) -> None:
        """A parcel goes its way; all of its changes are told."""
        for status in STATUSES:
            self.send(status)
        self.stream()
        # What the stream delivers once more, a retry of Lambda's for instance, is known.
        self.stream()
        self.mail.work()

    def send(self, status: str) -> None:
        """The update of a client that asks until it is answered."""
        body = {
            **UPDATE,
            "status": status,
            "notify_email": ADDRESS,
            "image_id": self.photo.image_id,
        }
        self.tracking.now += 1000
        for _ in range(3):
            try:
                self.tracking.send(body, key=status)
            except (Crash, ServiceUnavailable):
                for claim in self.tracking.claims.claims.values():
                    claim.lease_until = 0
            else:
                return
        raise AssertionError("the client was never answered")

    def stream(self) -> None:
        """All changes of the table, as the stream has them: in order, each with what was before."""
        before: Parcel | None = None
        records = []
        for number, parcel in enumerate(self.tracking.tracking.changes):
            records.append(record_of(parcel, before, event_id=str(number), at_ms=self.mail.now))
            before = parcel
        self.mail.deliver(*records)


def assert_told_once(service: ParcelService) -> None:
    """Invariants 10, 11 and 12: one update, one change, one notification, at most one e-mail."""
    history = service.tracking.history()
    assert [update.status for update in history] == list(STATUSES)
    assert [change.change_seq for change in service.tracking.tracking.changes] == [1, 2, 3]
    names = {f"{PARCEL}#{number}" for number in (1, 2, 3)}
    assert set(service.mail.states) == names
    assert service.mail.queue.held == {}
    mails = [str(mail["Subject"]) + mail.as_string() for mail in service.mail.mails]
    assert len(set(mails)) == len(mails)
    unknown = [state for state in service.mail.states.values() if state == UNKNOWN]
    sent = [state for state in service.mail.states.values() if state == ("sent", None)]
    assert len(sent) + len(unknown) == 3, service.mail.states
    assert len(sent) <= len(mails) <= 3
    if unknown:
        broken_off = service.trail.calls[service.trail.fired[0]]
        assert len(unknown) == 1
        assert broken_off in WINDOW, broken_off


# What `Mailer` says where an answer is lost, tests/unit/pipeline/test_mail.py has.
@pytest.mark.parametrize(
    ("phase", "fault"), [("before", crash), ("after", crash), ("before", unavailable)]
)
def test_a_fault_at_any_call_from_the_update_to_the_e_mail_tells_of_each_change_once(
    phase: Phase, fault: Callable[[], None]
) -> None:
    def prepare(service: ParcelService, number: int) -> None:
        service.trail.at(len(service.trail.calls) + number, phase, fault)

    flagged = 0
    for service in boundaries_of(ParcelService, prepare, ParcelService.run, least=30):
        assert_told_once(service)
        flagged += UNKNOWN in service.mail.states.values()
    assert flagged <= 6, "two calls of each of three e-mails"


def test_where_nothing_breaks_each_change_is_told() -> None:
    service = ParcelService()
    service.run()
    assert_told_once(service)
    assert len(service.mail.mails) == 3
