"""The other half of an image's row: its copies at full size, independent of its predictions.

The same rules hold as in `image_table`: a write names generation and attempt,
and ``conversion_status`` moves away from ``pending`` once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from boto3.dynamodb.conditions import Attr, ConditionBase

from chalicelib.aws.image_index import ImageIndex
from chalicelib.aws.image_rows import facts_of
from chalicelib.aws.image_table import ImageTable, counted
from chalicelib.aws.row_writer import RowWriter
from chalicelib.errors import ImageNotFound, NotRetryable, ServiceUnavailable, Superseded
from chalicelib.images import ConversionStatus, Failure, Image, Original, Status, StoredCopy
from chalicelib.messages import ImageMessage, message_about

_PENDING = Attr("conversion_status").eq(ConversionStatus.PENDING)


@dataclass(frozen=True, kw_only=True)
class ConversionRows:
    """What `optimise` writes to the rows of images.

    All methods raise `ServiceUnavailable` where DynamoDB does not answer as it should.

    Args:
        images: The rows.
    """

    images: ImageTable

    def start(self, message: ImageMessage, *, now_ms: int) -> Image:
        """The image, if its copies are still to be made for this message.

        A message one attempt ahead of a failed row carries a retry whose own
        write was lost in a crash: it is made up for here.

        Raises:
            Superseded: They are made, have failed, or the message is of another attempt.
            ServiceUnavailable: It carries a retry of the predictions too, which is not recorded
                yet; the message has to come again.
        """

        def begin() -> Image:
            return self._write(
                message, now_ms=now_ms, set_values={}, remove=["conversion_last_error"]
            )

        try:
            return begin()
        except Superseded:
            if not self._make_up_for_retry(message, now_ms=now_ms):
                raise
        return begin()

    def finish(
        self,
        message: ImageMessage,
        status: ConversionStatus,
        *,
        now_ms: int,
        took_ms: int,
        original: Original,
        formats: Mapping[str, StoredCopy],
    ) -> Image:
        """Record the copies, once.

        Args:
            message: Whose work this is.
            status: ``completed``, or ``skipped`` where no format is wanted of such an image.
            now_ms: Milliseconds since the Unix epoch.
            took_ms: Milliseconds that the step took.
            original: What was found out about the original.
            formats: The copies by format.

        Raises:
            Superseded: They were recorded before, the image was deleted, or belongs to another
                attempt.
        """
        return self._write(
            message,
            now_ms=now_ms,
            set_values={
                **facts_of(original),
                "conversion_status": status,
                "formats": dict(formats),
                "timings_ms.conversion": took_ms,
            },
            remove=["conversion_last_error"],
        )

    def fail(
        self,
        message: ImageMessage,
        failure: Failure,
        *,
        now_ms: int,
        unchanged_since_ms: int | None = None,
    ) -> Image:
        """Give the copies up, for good unless they are retried.

        Args:
            message: Whose work this is.
            failure: Why.
            now_ms: Milliseconds since the Unix epoch.
            unchanged_since_ms: The last change of the row that the caller knows of, where it
                gives up only if nobody was heard of since.

        Raises:
            Superseded: They were made or given up before, somebody was heard of, the image was
                deleted, or belongs to another attempt.
        """
        return self._write(
            message,
            now_ms=now_ms,
            set_values={
                "conversion_status": ConversionStatus.FAILED,
                "conversion_error": failure,
            },
            remove=["conversion_last_error"],
            condition=(
                None if unchanged_since_ms is None else Attr("updated_at_ms").eq(unchanged_since_ms)
            ),
        )

    def count_requeue(self, image: Image, *, now_ms: int) -> None:
        """Record that the copies were sent on their way once more.

        Of several who did so at once, one is counted.

        Raises:
            Superseded: Somebody else did, or they are made, given up or gone meanwhile.
        """
        times = image.conversion_requeues
        self._write(
            message_about(image, now_ms=now_ms),
            now_ms=now_ms,
            set_values={"conversion_requeues": times + 1},
            remove=[],
            condition=counted("conversion_requeues", times),
        )

    def note_fault(self, message: ImageMessage, fault: Failure, *, now_ms: int) -> None:
        """Keep the reason of a try that failed, for the case that it was the last.

        Raises:
            Superseded: The copies are made or given up, the image was deleted, or belongs to
                another attempt.
        """
        self._write(message, now_ms=now_ms, set_values={"conversion_last_error": fault}, remove=[])

    def add_renditions(
        self, message: ImageMessage, renditions: Mapping[str, StoredCopy], *, now_ms: int
    ) -> None:
        """Record renditions that an image did not have, whatever else becomes of it.

        Raises:
            Superseded: The image was deleted, or was made from another upload.
        """
        self._writer.write_for(
            message,
            Attr("renditions").exists(),
            now_ms=now_ms,
            set_values={f"renditions.{name}": copy for name, copy in renditions.items()},
        )

    def _write(
        self,
        message: ImageMessage,
        *,
        now_ms: int,
        set_values: Mapping[str, Any],
        remove: list[str],
        condition: ConditionBase | None = None,
    ) -> Image:
        pending: ConditionBase = Attr("attempt").eq(message.attempt) & _PENDING
        return self._writer.write_for(
            message,
            pending if condition is None else pending & condition,
            now_ms=now_ms,
            set_values=set_values,
            remove=remove,
        )

    def _make_up_for_retry(self, message: ImageMessage, *, now_ms: int) -> bool:
        """Open the attempt of a message whose retry lost its own write; whether that was so."""
        try:
            image = self.images.get(message.image_id)
            again = message.model is not None and image.status is Status.COMPLETED
            if (
                not (image.retryable or again)
                or not image.retries_conversion
                or image.attempt != message.attempt - 1
                or image.generation != message.generation
            ):
                return False
            if again or image.retry_from is not Status.COMPLETED:
                # Were it recorded here, a retry that died before it sent the other message would
                # look as if it had, and could not be asked for again.
                raise ServiceUnavailable("the retry is not recorded yet")
            self.images.retry(image, image.retry_from, now_ms=now_ms)
        except (ImageNotFound, NotRetryable):
            return False
        return True

    @cached_property
    def _writer(self) -> RowWriter:
        index = ImageIndex(table=self.images.table, shards=self.images.shards)
        return RowWriter(table=self.images.table, index=index)
