"""The life of a notification: one e-mail about one change of a parcel's status.

Pure.

    (no row) ─► sending ─► sent
       │           │ ▲└──► failed      refused, or nobody knows whether it went out
       │           ▼ │
       │        pending                SES said no for now: it will be tried again
       ▼           ▼
       suppressed, failed              it is not to be sent, or was given up; what was given up as
                                       a dead letter may be sent once its letter is queued again

A row stands at ``sending`` before SES is called, and only the one who put it there calls. From
``sending`` there is a way back to a second call only where SES itself said that it did not take the
first. Whoever dies there leaves a row that is never sent again and says so (docs/adr/0008).
"""

from dataclasses import dataclass
from enum import StrEnum

from chalicelib.images import Failure


class NotificationState(StrEnum):
    """How far a notification is."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    SUPPRESSED = "suppressed"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether nothing more happens to it."""
        return self not in {NotificationState.PENDING, NotificationState.SENDING}


class Suppression(StrEnum):
    """Why an e-mail is not sent."""

    UNSUBSCRIBED = "unsubscribed"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    SWITCHED_OFF = "switched_off"
    NO_SENDER = "no_sender"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to send one notification once.

    Attributes:
        notification_id: Which.
        attempt: Which try it is; a row with another one belongs to somebody else.
    """

    notification_id: str
    attempt: int


OUTCOME_UNKNOWN = Failure(
    code="outcome_unknown",
    message="Sending broke off; the e-mail may or may not have gone out, and is not sent again.",
)
GIVEN_UP = Failure(code="given_up", message="Sending failed every time that it was tried.")
