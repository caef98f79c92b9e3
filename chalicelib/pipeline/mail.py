"""Send the e-mail about a change, at most once.

    photo not there yet? ─► back into the queue, for 30 seconds in all
    suppressed?          ─► row: suppressed, with the reason
    written              ─► row: sending ─► SES ─► row: sent, or failed with the reason

Everything that can fail harmlessly comes before the mark, so that between the mark and SES there is
nothing. SES has no idempotency token: of the two things that can be had, this is "never twice"
(docs/adr/0008).
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from chalicelib import messages, telemetry
from chalicelib.addresses import address_hash, parcel_hash
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.mailer import Mailer
from chalicelib.aws.notification_table import NotificationTable, SendingBrokeOff
from chalicelib.aws.object_store import ObjectStore
from chalicelib.aws.queues import Queue
from chalicelib.aws.suppression_table import SuppressionTable
from chalicelib.clock import now_ms
from chalicelib.errors import (
    AddressRejected,
    ImageNotFound,
    MailOutcomeUnknown,
    MailRefused,
    ObjectMissing,
    ServiceUnavailable,
)
from chalicelib.flags import Flags
from chalicelib.images import Failure, StoredCopy
from chalicelib.messages import NotificationMessage
from chalicelib.notifications import OUTCOME_UNKNOWN, Claim, Suppression
from chalicelib.pipeline.letter import Letter, LetterWriter, Picture

STEP = "mail"

# A photo that is uploaded together with its update takes a few seconds. Later ones are not waited
# for: news that come at once are worth more than a picture.
_PHOTO_WAITS = 3
_PHOTO_WAIT_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Mail:
    """Sends notifications.

    Args:
        notifications: Their rows.
        suppressions: Whom nothing is sent to.
        images: The rows of photos.
        renditions: Where their small copies lie.
        queue: The queue that the messages come from.
        writer: Writes the e-mails.
        mailer: Sends them.
        flags: What is switched on.
        sends: Whether there is a sender.
        now_ms: The time, in milliseconds since the Unix epoch.
    """

    notifications: NotificationTable
    suppressions: SuppressionTable
    images: ImageTable
    renditions: ObjectStore
    queue: Queue
    writer: LetterWriter
    mailer: Mailer
    flags: Callable[[], Flags]
    sends: bool
    now_ms: Callable[[], int] = now_ms

    def __call__(self, message: NotificationMessage) -> None:
        """Send the e-mail that a message asks for, unless that was done or must not be.

        Raises:
            Superseded: It is over with.
            NotificationInProgress: Another process is sending it.
            ServiceUnavailable: AWS did not answer, and nothing was sent.
        """
        try:
            self._work(message)
        except SendingBrokeOff as broken_off:
            self._not_sent(message, broken_off.claim, OUTCOME_UNKNOWN)

    def _work(self, message: NotificationMessage) -> None:
        if reason := self._reason_against(message):
            self.notifications.suppress(message, reason, now_ms=self.now_ms())
            telemetry.count(STEP, NotificationSuppressed=1)
            telemetry.logger().info("mail: suppressed: %s", reason)
            return
        copy, expected = self._photo(message)
        if copy is None and expected and message.waits < _PHOTO_WAITS:
            again = replace(message, waits=message.waits + 1)
            self.queue.send(messages.encode(again), delay_seconds=_PHOTO_WAIT_SECONDS)
            return
        try:
            letter = self.writer.write(
                message, photo=self._picture(copy), written_at_ms=self.now_ms()
            )
        except AddressRejected as rejected:
            fault = Failure(code=rejected.code, message=rejected.public_message)
            self.notifications.fail(message, fault, now_ms=self.now_ms())
            self._failed(fault)
            return
        self._send(message, letter)

    def _send(self, message: NotificationMessage, letter: Letter) -> None:
        claim = self.notifications.claim(message, owner=uuid.uuid4().hex, now_ms=self.now_ms())
        try:
            message_id = self.mailer.send(letter.raw, recipient=letter.recipient)
        except MailRefused as refused:
            reason = Failure(code=refused.code, message=refused.public_message)
            telemetry.logger().error("mail: refused: %s", refused)
            self._not_sent(message, claim, reason)
        except MailOutcomeUnknown as unknown:
            telemetry.logger().error("mail: broke off: %s", unknown)
            self._not_sent(message, claim, OUTCOME_UNKNOWN)
        except ServiceUnavailable:
            self.notifications.release(message, claim, now_ms=self.now_ms())
            raise
        else:
            self.notifications.sent(message, claim, message_id=message_id, now_ms=self.now_ms())
            telemetry.count(STEP, NotificationSent=1)
            telemetry.logger().info("mail: sent, change %s", message.change_seq)

    def _not_sent(self, message: NotificationMessage, claim: Claim, reason: Failure) -> None:
        self.notifications.not_sent(message, claim, reason, now_ms=self.now_ms())
        self._failed(reason)

    def _failed(self, reason: Failure) -> None:
        telemetry.count(STEP, NotificationFailed=1)
        telemetry.logger().error("mail: given up: %s", reason.code)

    def _reason_against(self, message: NotificationMessage) -> Suppression | None:
        if not self.sends:
            return Suppression.NO_SENDER
        if not self.flags().real_time_notifications:
            return Suppression.SWITCHED_OFF
        return self.suppressions.reason_against(
            address_hash(message.email), parcel_hash(message.tracking_id)
        )

    def _photo(self, message: NotificationMessage) -> tuple[StoredCopy | None, bool]:
        """The small copy of the photo, and whether there will be one if there is none."""
        if message.image_id is None:
            return None, False
        try:
            image = self.images.get(message.image_id)
        except ImageNotFound:
            return None, False
        copy = image.renditions.get("thumb")
        return copy, copy is None and not image.status.final

    def _picture(self, copy: StoredCopy | None) -> Picture | None:
        if copy is None:
            return None
        try:
            body = self.renditions.get(copy.key).body
        except ObjectMissing:
            return None
        return Picture(body=body, content_type=copy.content_type)
