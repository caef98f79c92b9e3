"""What SES hears of e-mails that it sent: who cannot be reached, and who does not want them.

An address that bounced for good, or whose owner called an e-mail spam, is suppressed for all
parcels. SES stops whoever goes on sending to such addresses.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Any

from chalicelib import telemetry
from chalicelib.addresses import address_hash
from chalicelib.aws.suppression_table import SuppressionTable
from chalicelib.clock import now_seconds
from chalicelib.errors import MessageRejected
from chalicelib.notifications import Suppression

STEP = "feedback"
# SNS sends one text of its own when SES is connected to a topic.
_GREETING = "Successfully validated SNS topic"


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """Takes in SES's events. A fault is raised, and SQS delivers them again."""

    suppressions: SuppressionTable

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Suppress the addresses that the events of an SQS event speak of.

        Raises:
            MessageRejected: One is no event of SES; after its last receive it is archived.
            ServiceUnavailable: DynamoDB did not answer.
        """
        for record in event.get("Records", []):
            for address, reason in unwanted(record["body"]):
                self.suppressions.add(
                    address_hash(address), reason, parcel_hash=None, now=now_seconds()
                )
                if reason is Suppression.BOUNCED:
                    telemetry.count(STEP, MailBounced=1)
                else:
                    telemetry.count(STEP, MailComplained=1)
                telemetry.logger().warning("feedback: an address is suppressed: %s", reason)


def unwanted(body: str) -> Iterator[tuple[str, Suppression]]:
    """Each address that nothing may be sent to any more, and why.

    Bounces that may pass (a full mailbox, a holiday) count for nothing, nor does a complaint that
    says that it is none.

    Raises:
        MessageRejected: The body is no event of SES.
    """
    if body.startswith(_GREETING):
        return
    try:
        event = json.loads(body)
        # Events of a configuration set say eventType, those of an identity notificationType.
        kind = event.get("eventType") or event["notificationType"]
        found: list[tuple[str, Suppression]] = []
        if kind == "Bounce" and event["bounce"]["bounceType"] == "Permanent":
            found = [
                (entry["emailAddress"], Suppression.BOUNCED)
                for entry in event["bounce"]["bouncedRecipients"]
            ]
        if kind == "Complaint" and event["complaint"].get("complaintFeedbackType") != "not-spam":
            found = [
                (entry["emailAddress"], Suppression.COMPLAINED)
                for entry in event["complaint"]["complainedRecipients"]
            ]
        # A mail server may answer with a name beside the address.
        parsed = [(parseaddr(text)[1] or text, reason) for text, reason in found]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise MessageRejected("The event of the mail service could not be read.") from None
    yield from parsed
