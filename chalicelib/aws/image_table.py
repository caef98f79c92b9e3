"""The images table: one row an image, and every write to it conditional.

A write names the generation and the attempt that it belongs to, and is refused
unless the row is still there, of the same generation and attempt, and on its
way towards the new status. So any message may come twice, late, out of order,
or to a worker that was thought dead.

A deleted image leaves a tombstone, a row with nothing but its id, until no
message about it can be left. Without it a late event would bring it back.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from boto3.dynamodb.conditions import Attr, ConditionBase
from botocore.exceptions import ClientError

from chalicelib.aws.clients import error_code, translated
from chalicelib.aws.image_index import ImageIndex
from chalicelib.aws.image_rows import facts_of, image_of, item_of
from chalicelib.aws.row_writer import Refused, RowWriter
from chalicelib.errors import ImageExists, ImageNotFound, NotRetryable, Superseded
from chalicelib.images import (
    ConversionStatus,
    Failure,
    Image,
    ImageInfo,
    Original,
    Output,
    Prediction,
    Source,
    Status,
    StoredCopy,
)
from chalicelib.messages import ImageMessage, message_about

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

# Longer than a message can live: 4 days in a queue and 14 among the dead letters.
TOMBSTONE_SECONDS = 20 * 24 * 3600
# An unused link's row outlives the link by this long, so that a late upload still meets it.
UNUSED_SECONDS = 7 * 24 * 3600
# DynamoDB takes at most this many keys in one batch.
_BATCH_KEYS = 100

_FAILED_BY_STEP = (Status.PREPROCESSING_FAILED, Status.INFERENCE_FAILED)


@dataclass(frozen=True, kw_only=True)
class ImageTable:
    """The rows of all images.

    All methods raise `ServiceUnavailable` where DynamoDB does not answer as it should.

    Args:
        table: The boto3 table.
        shards: Hash keys that each list is spread over.
    """

    table: "Table"
    shards: int

    def create(self, image: Image) -> None:
        """Add a row.

        Raises:
            ImageExists: There is a row, or the tombstone of one, with this id.
        """
        item = item_of(image) | self._index.keys_of(image)
        if image.link_expires_at is not None:
            item["expires_at"] = image.link_expires_at + UNUSED_SECONDS
        with translated():
            try:
                self.table.put_item(Item=item, ConditionExpression=Attr("image_id").not_exists())
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    raise ImageExists(image.image_id) from None
                raise

    def get(self, image_id: str) -> Image:
        """The row, as of the last finished write.

        Raises:
            ImageNotFound: There is none, or it was deleted.
        """
        with translated():
            answer = self.table.get_item(Key={"image_id": image_id}, ConsistentRead=True)
        item = answer.get("Item")
        if item is None or "status" not in item:
            raise ImageNotFound(image_id)
        return image_of(item)

    def accept(
        self, image_id: str, *, generation: str, source: Source, size_bytes: int, now_ms: int
    ) -> Image:
        """Take one version of the upload as the one that counts: status ``queued``.

        The first version wins. Asked again for the same version, it returns the
        row as it is.

        Raises:
            ImageNotFound: There is no such row.
            Superseded: The image was deleted, or another version was accepted before.
        """
        try:
            return self._writer.write(
                image_id,
                Attr("status").is_in([Status.PENDING_UPLOAD, Status.EXPIRED])
                & Attr("generation").not_exists(),
                now_ms=now_ms,
                status=Status.QUEUED,
                set_values={
                    "generation": generation,
                    "source": source,
                    "original.bytes": size_bytes,
                },
                remove=["expires_at", "link_expires_at"],
            )
        except Refused as refused:
            if refused.item is None:
                raise ImageNotFound(image_id) from None
            if "status" not in refused.item:
                raise Superseded(f"image {image_id} was deleted", gone=True) from None
            known = image_of(refused.item)
            if known.generation != generation:
                raise Superseded(
                    f"image {image_id} was made from version {known.generation!r} already"
                ) from None
            return known

    def start(self, message: ImageMessage, status: Status, *, now_ms: int) -> Image:
        """Begin, or begin again, the step that has this status while it runs.

        A message one attempt ahead of a row that can be retried carries a retry
        whose own write was lost in a crash: it is made up for here.

        Raises:
            Superseded: The step is over, or is not for this message any more: the image was deleted
                or belongs to another attempt, or another model is asked in this one.
        """
        startable = [*status.before(), status]
        open_step: ConditionBase = Attr("attempt").eq(message.attempt) & Attr("status").is_in(
            startable
        )
        if not message.remade:
            # One that was sent back names the model that was active then.
            open_step &= asked_of(message.model)

        def begin() -> Image:
            return self._writer.write_for(
                message,
                open_step,
                now_ms=now_ms,
                status=status,
                set_values={},
                remove=["error", "last_error"],
            )

        try:
            return begin()
        except Superseded:
            if not self._make_up_for_retry(message, startable, now_ms=now_ms):
                raise
        return begin()

    def describe(
        self,
        message: ImageMessage,
        *,
        now_ms: int,
        model_input_key: str,
        original: Original | None = None,
        info: ImageInfo | None = None,
        renditions: Mapping[str, StoredCopy] | None = None,
        content_sha256: str | None = None,
    ) -> None:
        """Record what was made of an original, and found out about it.

        Before anyone is told to go on: from then on the image may be completed by others.

        Raises:
            Superseded: The image ended, was deleted, or belongs to another attempt.
        """
        facts: dict[str, Any] = {**facts_of(original), "model_input_key": model_input_key}
        optional = {
            "info": info,
            "renditions": None if renditions is None else dict(renditions),
            "content_sha256": content_sha256,
        }
        facts |= {name: value for name, value in optional.items() if value is not None}
        self._writer.write_for(
            message,
            Attr("attempt").eq(message.attempt)
            & Attr("status").is_in(list(Status.COMPLETED.before())),
            now_ms=now_ms,
            set_values=facts,
        )

    def finish(
        self,
        message: ImageMessage,
        status: Status,
        *,
        now_ms: int,
        timings_ms: Mapping[str, int],
        original: Original | None = None,
        info: ImageInfo | None = None,
        renditions: Mapping[str, StoredCopy] | None = None,
        model_input_key: str | None = None,
        prediction: Prediction | None = None,
        results_key: str | None = None,
        content_sha256: str | None = None,
    ) -> Image:
        """Record that a step is done, and what it found.

        What was found is recorded even where the next step was quicker and has
        moved the status on already. The step that ends an attempt is recorded once.

        Raises:
            Superseded: The image was deleted, belongs to another attempt by now, or
                was to end here and has ended before.
        """
        facts: dict[str, Any] = {f"timings_ms.{step}": ms for step, ms in timings_ms.items()}
        facts |= facts_of(original)
        optional = {
            "info": info,
            "renditions": None if renditions is None else dict(renditions),
            "model_input_key": model_input_key,
            "prediction": prediction,
            "results_key": results_key,
            "content_sha256": content_sha256,
        }
        facts |= {name: value for name, value in optional.items() if value is not None}
        same_attempt = Attr("attempt").eq(message.attempt)
        try:
            return self._writer.write_for(
                message,
                same_attempt & Attr("status").is_in(list(status.before())),
                now_ms=now_ms,
                status=status,
                set_values=facts,
                remove=["last_error"],
            )
        except Superseded as superseded:
            if superseded.gone or status.final:
                raise
            return self._writer.write_for(message, same_attempt, now_ms=now_ms, set_values=facts)

    def fail(
        self,
        message: ImageMessage,
        status: Status,
        failure: Failure,
        *,
        now_ms: int,
        original: Original | None = None,
        unchanged_since_ms: int | None = None,
    ) -> Image:
        """End the attempt in a failed status, for good unless it is retried.

        Args:
            message: Whose work this is.
            status: The failed status.
            failure: Why.
            now_ms: Milliseconds since the Unix epoch.
            original: What was found out about the original.
            unchanged_since_ms: The last change of the row that the caller knows of, where it
                gives up only if nobody was heard of since.

        Raises:
            Superseded: The image ended before, somebody was heard of, it was deleted, or
                belongs to another attempt.
        """
        open_attempt = Attr("attempt").eq(message.attempt) & Attr("status").is_in(
            list(status.before())
        )
        if unchanged_since_ms is not None:
            open_attempt &= Attr("updated_at_ms").eq(unchanged_since_ms)

        def end(condition: ConditionBase, **facts: Any) -> Image:
            return self._writer.write_for(
                message,
                open_attempt & condition,
                now_ms=now_ms,
                status=status,
                set_values={"error": failure, **facts_of(original), **facts},
                remove=["last_error", "expires_at"],
            )

        pending = Attr("conversion_status").eq(ConversionStatus.PENDING)
        if status is Status.PREPROCESSING_FAILED:
            # What cannot be prepared cannot be converted, unless it was already: `preprocess`
            # may die after it has handed on.
            try:
                return end(pending, conversion_status=ConversionStatus.FAILED)
            except Superseded as superseded:
                if superseded.gone:
                    raise
                return end(~pending)
        return end(Attr("image_id").exists())

    def note_fault(self, message: ImageMessage, fault: Failure, *, now_ms: int) -> None:
        """Keep the reason of a try that failed, for the case that it was the last.

        Raises:
            Superseded: The image ended, was deleted, or belongs to another attempt.
        """
        self._writer.write_for(
            message,
            Attr("attempt").eq(message.attempt)
            & Attr("status").is_in(list(Status.COMPLETED.before())),
            now_ms=now_ms,
            set_values={"last_error": fault},
        )

    def retry(
        self,
        image: Image,
        status: Status,
        *,
        now_ms: int,
        completed: bool = False,
        model: str | None = None,
    ) -> Image:
        """Open the next attempt of a failed image at the given status.

        Args:
            image: The row as it was read.
            status: Where the work is taken up.
            now_ms: Milliseconds since the Unix epoch.
            completed: Whether a completed image is taken up again too: for another model.
            model: Which model is asked, None for the active one.

        Raises:
            NotRetryable: Nothing failed, or someone else retried it first, perhaps a request for
                another model that broke off before its own write.
            ImageNotFound: It was deleted.
        """
        changes: dict[str, Any] = {"attempt": image.attempt + 1}
        outdated = ["error", "last_error", "requeues", "conversion_requeues"]
        if model is None:
            outdated.append("model")
        else:
            changes["model"] = model
        if image.conversion_status is ConversionStatus.FAILED:
            wanted = image.wants(Output.FORMATS)
            changes["conversion_status"] = (
                ConversionStatus.PENDING if wanted else ConversionStatus.SKIPPED
            )
            outdated += ["conversion_error", "conversion_last_error"]
        ended: ConditionBase = Attr("status").eq(Status.COMPLETED)
        if not completed:
            ended &= Attr("conversion_status").eq(ConversionStatus.FAILED)
        retryable = Attr("status").is_in(list(_FAILED_BY_STEP)) | ended
        try:
            return self._writer.write(
                image.image_id,
                Attr("attempt").eq(image.attempt) & retryable,
                now_ms=now_ms,
                status=status,
                set_values=changes,
                remove=outdated,
            )
        except Refused as refused:
            if refused.item is None or "status" not in refused.item:
                raise ImageNotFound(image.image_id) from None
            known = image_of(refused.item)
            if (known.attempt, known.model) == (image.attempt + 1, model):
                # The worker was quicker than this write, or this write's answer was lost.
                return known
            raise NotRetryable(known.status) from None

    def count_requeue(self, image: Image, *, now_ms: int) -> None:
        """Record that the running attempt of an image was sent on its way once more.

        Of several who did so at once, one is counted.

        Raises:
            Superseded: Somebody else did, or the image has ended or gone meanwhile.
        """
        self._writer.write_for(
            message_about(image, now_ms=now_ms),
            Attr("attempt").eq(image.attempt)
            & Attr("status").is_in(list(Status.COMPLETED.before()))
            & counted("requeues", image.requeues),
            now_ms=now_ms,
            set_values={"requeues": image.requeues + 1},
        )

    def expire(self, image: Image, *, now_ms: int) -> None:
        """Record that an upload never came. One that comes still is accepted.

        Raises:
            Superseded: It has come, or the image was deleted.
        """
        try:
            self._writer.write(
                image.image_id,
                Attr("status").eq(Status.PENDING_UPLOAD) & Attr("generation").not_exists(),
                now_ms=now_ms,
                status=Status.EXPIRED,
                set_values={"expires_at": now_ms // 1000 + UNUSED_SECONDS},
            )
        except Refused:
            raise Superseded(f"image {image.image_id} does not wait for an upload") from None

    def begin_removal(self, image_id: str, *, now: int) -> Source | None:
        """Turn the row into a tombstone; where its original lies, for the removal that follows.

        Asked again while that removal is unfinished, it answers as it did before.

        Raises:
            ImageNotFound: There is no such row, or its removal was finished.
        """
        with translated():
            answer = self.table.get_item(Key={"image_id": image_id}, ConsistentRead=True)
            item = answer.get("Item")
            if item is None or ("status" not in item and "removing" not in item):
                raise ImageNotFound(image_id)
            source = item.get("source")
            if "status" in item:
                tombstone: dict[str, Any] = {
                    "image_id": image_id,
                    "removing": True,
                    "expires_at": now + TOMBSTONE_SECONDS,
                }
                seen: ConditionBase = Attr("source").not_exists()
                if source is not None:
                    tombstone["source"] = source
                    seen = Attr("source").exists()
                try:
                    self.table.put_item(Item=tombstone, ConditionExpression=seen)
                except ClientError as error:
                    if error_code(error) != "ConditionalCheckFailedException":
                        raise
                    # Uploaded, or removed by someone else, since it was read.
                    return self.begin_removal(image_id, now=now)
        return None if source is None else msgspec.convert(source, Source)

    def finish_removal(self, image_id: str) -> None:
        """Record that nothing of a deleted image is left."""
        with translated():
            self.table.update_item(
                Key={"image_id": image_id},
                UpdateExpression="REMOVE removing, #source",
                ConditionExpression=Attr("image_id").exists() & Attr("status").not_exists(),
                ExpressionAttributeNames={"#source": "source"},
            )

    def page(
        self, *, status: Status | None, limit: int, before: str | None
    ) -> tuple[list[Image], str | None]:
        """A page of images, newest first, and where the next one begins.

        Args:
            status: Only images with this status, or all.
            limit: How many at most.
            before: What an earlier page returned, or None for the first.

        Returns:
            The images, and the place after the last of them, None at the end.
        """
        shown, place = self._index.newest(status=status, limit=limit, before=before)
        found = {image.image_id: image for image in self._read(shown)}
        # An index lags behind its table: what was deleted or moved on meanwhile is left out.
        images = [
            found[image_id]
            for image_id in shown
            if image_id in found and status in (None, found[image_id].status)
        ]
        return images, place

    def oldest(
        self, status: Status | ConversionStatus, *, after: str | None
    ) -> tuple[list[Image], str | None]:
        """A page of images that have this status, and where the next one begins.

        For going through all of them: in no order that means anything, and each once.

        Args:
            status: Of the predictions, or ``pending`` copies at full size.
            after: What an earlier page returned, or None for the first.

        Returns:
            The images, and the place after the last of them, None at the end.
        """
        shown, place = self._index.oldest(status, limit=_BATCH_KEYS, after=after)
        return [
            image
            for image in self._read(shown)
            # An index lags behind its table.
            if status in (image.status, image.conversion_status)
        ], place

    def find(self, image_ids: Iterable[str]) -> dict[str, Image]:
        """Those of these images that are there, by their ids."""
        wanted = sorted(set(image_ids))
        return {
            image.image_id: image
            for start in range(0, len(wanted), _BATCH_KEYS)
            for image in self._read(wanted[start : start + _BATCH_KEYS])
        }

    def same_content(self, sha256: str, *, limit: int) -> list[Image]:
        """Images that were worked out of a file with this SHA-256, the newest first.

        An index lags behind its table: the last ones may be missing, and what is returned may
        have become something else since it was found.
        """
        ids = self._index.with_content(sha256, limit=limit)
        found = {image.image_id: image for image in self._read(ids)}
        return [
            found[image_id]
            for image_id in ids
            if image_id in found and found[image_id].content_sha256 == sha256
        ]

    def check(self) -> None:
        """Raise `ServiceUnavailable` unless the table is there and may be read."""
        with translated():
            self.table.get_item(Key={"image_id": "health-check"})

    def _read(self, image_ids: list[str]) -> Iterator[Image]:
        client = self.table.meta.client
        keys: list[Any] = [{"image_id": image_id} for image_id in image_ids]
        while keys:
            with translated():
                answer = client.batch_get_item(
                    RequestItems={self.table.name: {"Keys": keys, "ConsistentRead": True}}
                )
            for item in answer["Responses"].get(self.table.name, []):
                if "status" in item:
                    yield image_of(item)
            unread = answer.get("UnprocessedKeys", {}).get(self.table.name)
            keys = list(unread["Keys"]) if unread else []

    def _make_up_for_retry(
        self, message: ImageMessage, startable: list[Status], *, now_ms: int
    ) -> bool:
        """Open the attempt of a message whose retry has not written it, or not yet; whether the
        attempt is open now.
        """
        try:
            image = self.get(message.image_id)
            if (image.attempt, image.generation) == (message.attempt, message.generation):
                # The retry's own write came in between: the refusal was of the row before it.
                return image.status in startable
            completed = image.status is Status.COMPLETED and message.model is not None
            status = Status.PREPROCESSED if completed else image.retry_from
            if (
                not (image.status.failed or completed)
                or image.attempt != message.attempt - 1
                or image.generation != message.generation
                or status not in startable
            ):
                return False
            self.retry(image, status, now_ms=now_ms, completed=completed, model=message.model)
        except (ImageNotFound, NotRetryable):
            return False
        return True

    @cached_property
    def _writer(self) -> RowWriter:
        return RowWriter(table=self.table, index=self._index)

    @cached_property
    def _index(self) -> ImageIndex:
        return ImageIndex(table=self.table, shards=self.shards)


def counted(name: str, times: int) -> ConditionBase:
    """That a counter stands at this; one that was never written stands at 0."""
    same: ConditionBase = Attr(name).eq(times)
    return same if times else Attr(name).not_exists() | same


def asked_of(model: str | None) -> ConditionBase:
    """That the attempt asks this model, None for the active one.

    A retry that broke off before its row was written leaves a message of the same attempt as the
    retry that comes next; only the model tells them apart.
    """
    asked: ConditionBase = Attr("model").eq(model) if model else Attr("model").not_exists()
    return asked
