"""A notification was given up: keep its message, and write down why.

The sibling of `bury`, for messages that are about a parcel.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib import messages, telemetry
from chalicelib.aws.notification_table import NotificationTable
from chalicelib.aws.object_store import ObjectStore
from chalicelib.clock import now_ms
from chalicelib.errors import MessageRejected, Superseded
from chalicelib.images import Failure
from chalicelib.messages import NotificationMessage
from chalicelib.notifications import GIVEN_UP, OUTCOME_UNKNOWN
from chalicelib.pipeline.archive import keep
from chalicelib.pipeline.mail import STEP


@dataclass(frozen=True, kw_only=True)
class BuryNotification:
    """Takes in dead letters. A fault is raised, and SQS delivers them again."""

    notifications: NotificationTable
    archive: ObjectStore
    now_ms: Callable[[], int] = now_ms

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Archive every dead letter of an SQS event and mark its notification."""
        for record in event.get("Records", []):
            message: NotificationMessage | None = None
            try:
                message = messages.decode_notification(record["body"])
                reason = self.notifications.last_fault(message) or GIVEN_UP
            except MessageRejected as rejected:
                reason = Failure(code=rejected.code, message=rejected.public_message)
            keep(
                self.archive,
                step=STEP,
                letter_id=record["messageId"],
                body=record["body"],
                reason=reason,
                sent_at_ms=record.get("attributes", {}).get("SentTimestamp"),
                tracking_id=message.tracking_id if message else None,
            )
            if message is not None:
                self._mark(message, reason)
            telemetry.count(STEP, DeadLetters=1)
            telemetry.logger().error(
                "bury: a message of mail was given up",
                tracking_id=message.tracking_id if message else None,
                reason=reason.code,
            )

    def _mark(self, message: NotificationMessage, reason: Failure) -> None:
        try:
            self.notifications.give_up(message, reason, OUTCOME_UNKNOWN, now_ms=self.now_ms())
        except Superseded as superseded:
            telemetry.logger().info("bury: nothing to mark: %s", superseded)
        else:
            telemetry.count(STEP, NotificationFailed=1)
