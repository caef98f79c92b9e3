"""A message was given up: keep it, and tell the image's owner why.

The message is archived before SQS deletes it, so that it can be looked at and
sent again; then the image gets the reason of its last try.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from chalicelib import messages, telemetry
from chalicelib.aws.conversion_rows import ConversionRows
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.object_store import ObjectStore
from chalicelib.clock import now_ms
from chalicelib.errors import ImageNotFound, MessageRejected, Superseded
from chalicelib.images import ConversionStatus, Failure, Status
from chalicelib.messages import ImageMessage, dead_letter_key
from chalicelib.pipeline.feedback import unwanted
from chalicelib.pipeline.ingest import STEP as INGEST
from chalicelib.pipeline.ingest import event_of, image_of_event

# What is said of an image whose worker died without a word: out of memory, or killed.
WORKER_LOST = Failure(
    code="worker_lost", message="Processing stopped without a reason, every time it was tried."
)
# What is said of an event that could not be taken in.
NOT_TAKEN_IN = Failure(
    code="given_up", message="It could not be taken in, every time that it was tried."
)


@dataclass(frozen=True, kw_only=True)
class Bury:
    """Takes in dead letters. A fault is raised, and SQS delivers them again."""

    images: ImageTable
    conversions: ConversionRows
    archive: ObjectStore

    def __call__(
        self,
        event: Mapping[str, Any],
        *,
        step: str,
        failed_status: Status | ConversionStatus | None,
    ) -> None:
        """Archive every dead letter of an SQS event and mark its image.

        Args:
            event: The event as Lambda delivers it.
            step: The step whose dead letters these are.
            failed_status: The status that they put an image, or its copies at full size,
                in; None where they are no messages about one image.
        """
        for record in event.get("Records", []):
            fault: Failure | None = None
            message: ImageMessage | None = None
            image_id: str | None = None
            if failed_status is None:
                image_id, fault = _of_event(record["body"], step)
            else:
                try:
                    message = messages.decode(record["body"])
                    fault = self._reason(message, failed_status)
                except MessageRejected as rejected:
                    fault = Failure(code=rejected.code, message=rejected.public_message)
            if message is not None:
                image_id = message.image_id
            self._archive(record, step, image_id, fault)
            if message is not None and fault is not None and failed_status is not None:
                # What was made anew for a model had been through its first step long before.
                self._mark(
                    message, Status.INFERENCE_FAILED if message.remade else failed_status, fault
                )
            telemetry.count(step, DeadLetters=1)
            telemetry.logger().error(
                "bury: a message of %s was given up",
                step,
                image_id=image_id,
                reason=fault.code if fault else None,
            )

    def _reason(
        self, message: ImageMessage, failed_status: Status | ConversionStatus
    ) -> Failure | None:
        """Why the message was given up; None where it no longer is about its image."""
        try:
            image = self.images.get(message.image_id)
        except ImageNotFound:
            return None
        same = (image.attempt, image.generation) == (message.attempt, message.generation)
        if isinstance(failed_status, ConversionStatus):
            done = image.conversion_status in {ConversionStatus.COMPLETED, ConversionStatus.SKIPPED}
            if not same or done or message.renditions:
                return None
            return image.conversion_last_error or image.conversion_error or WORKER_LOST
        if not same or (image.status.final and not image.status.failed):
            return None
        # A letter that comes twice finds the reason that it left the first time.
        return image.last_error or image.error or WORKER_LOST

    def _mark(
        self, message: ImageMessage, status: Status | ConversionStatus, reason: Failure
    ) -> None:
        try:
            if isinstance(status, ConversionStatus):
                self.conversions.fail(message, reason, now_ms=now_ms())
            else:
                self.images.fail(message, status, reason, now_ms=now_ms())
        except Superseded as superseded:
            telemetry.logger().info("bury: nothing to mark: %s", superseded)

    def _archive(
        self,
        record: Mapping[str, Any],
        step: str,
        image_id: str | None,
        fault: Failure | None,
    ) -> None:
        document = {
            "step": step,
            "message_id": record["messageId"],
            "body": record["body"],
            "sent_at_ms": record.get("attributes", {}).get("SentTimestamp"),
            "buried_at_ms": now_ms(),
            "image_id": image_id,
            "reason": fault,
        }
        self.archive.put(
            dead_letter_key(step, record["messageId"]),
            msgspec.json.encode(document),
            content_type="application/json",
        )


def _of_event(body: str, step: str) -> tuple[str | None, Failure]:
    """Which image an event of somebody else is about, if any, and why it was given up."""
    try:
        if step == INGEST:
            return image_of_event(event_of(body)), NOT_TAKEN_IN
        list(unwanted(body))
    except (MessageRejected, LookupError, TypeError, AttributeError):
        rejected = MessageRejected("The event could not be read.")
        return None, Failure(code=rejected.code, message=rejected.public_message)
    return None, NOT_TAKEN_IN
