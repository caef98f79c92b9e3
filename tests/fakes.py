"""In-memory edges: the rules of the real ones, and a record of what was asked of them.

`tests/contract` runs the same tests against these and against the real classes on the local AWS,
so a fake that is kinder than AWS fails there.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from chalicelib.aws.announcement_table import AnnouncementTable
from chalicelib.aws.check_log import CheckLog, Heartbeat
from chalicelib.aws.conversion_rows import ConversionRows
from chalicelib.aws.event_bus import EventBus
from chalicelib.aws.event_topic import EventTopic
from chalicelib.aws.idempotency_table import Claim, IdempotencyTable
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.mailer import Mailer
from chalicelib.aws.notification_table import NotificationTable, SendingBrokeOff
from chalicelib.aws.object_store import ObjectStore, ObjectVersion, StoredObject, UploadForm
from chalicelib.aws.parameters import SecretParameter, WatchedParameter
from chalicelib.aws.parcel_index import ParcelIndex
from chalicelib.aws.queues import Level, Queue
from chalicelib.aws.quota_table import QuotaTable
from chalicelib.aws.suppression_table import SuppressionTable
from chalicelib.aws.tracking_table import TrackingTable
from chalicelib.errors import (
    AnnouncementInProgress,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    ImageExists,
    ImageNotFound,
    NotificationInProgress,
    NotRetryable,
    ObjectMissing,
    ServiceUnavailable,
    Superseded,
)
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
from chalicelib.messages import ImageMessage, NotificationMessage, message_about
from chalicelib.notifications import Claim as NotificationClaim
from chalicelib.notifications import NotificationState, Suppression
from chalicelib.parcels import Parcel, ParcelStatus, Update

# What a fake has in place of a boto3 table.
NO_TABLE: Any = None

type Phase = Literal["before", "after"]


class Crash(BaseException):
    """The process died here: none of its own code runs any more."""


def unavailable() -> None:
    """An action for `Trail.at`: AWS does not answer."""
    raise ServiceUnavailable("made to fail")


def crash() -> None:
    """An action for `Trail.at`: the process dies."""
    raise Crash


class Trail:
    """The calls of all edges that share it, in order.

    An action can be hung on one of them: before it, the call is never made where
    the action raises; after it, the call was made and its answer is lost. ``fired`` holds
    the numbers of those whose action was hung on their number.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fired: list[int] = []
        self._actions: dict[tuple[int, Phase], Callable[[], None]] = {}
        self._named: dict[tuple[str, Phase], Callable[[], None]] = {}

    def at(self, number: int, phase: Phase, action: Callable[[], None]) -> None:
        """Do this once, at the call with this number, counted from 0 over all edges."""
        self._actions[number, phase] = action

    def at_next(self, name: str, phase: Phase, action: Callable[[], None]) -> None:
        """Do this once, at the next call with this name."""
        self._named[name, phase] = action

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """One call to an edge."""
        number = len(self.calls)
        self.calls.append(name)
        self._fire(number, name, "before")
        try:
            yield
        finally:
            # Whatever the answer is, also a refusal, it can be lost.
            self._fire(number, name, "after")

    def _fire(self, number: int, name: str, phase: Phase) -> None:
        numbered = self._actions.pop((number, phase), None)
        if numbered is not None:
            self.fired.append(number)
            numbered()
        named = self._named.pop((name, phase), None)
        if named is not None:
            named()


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """What is left of a deleted row."""

    source: Source | None
    removing: bool


class FakeImageTable(ImageTable):
    """Rows in a dictionary. ``history`` holds every row as it was written, in order.

    ``changes`` holds what each write found and left, in order, as the stream does. Who is in ``readers`` sees each row at the moment at which a client could read it.
    """

    # Of `oldest`: so small that a few images are many pages.
    page_size = 3

    def __init__(self, trail: Trail | None = None) -> None:
        self.rows: dict[str, Image | Tombstone] = {}
        self.history: list[Image] = []
        self.changes: list[tuple[Image | Tombstone | None, Image | Tombstone]] = []
        self.readers: list[Callable[[Image], None]] = []
        self.trail = Trail() if trail is None else trail

    def create(self, image: Image) -> None:
        with self.trail.call("images.create"):
            if image.image_id in self.rows:
                raise ImageExists(image.image_id)
            self._put(image)

    def get(self, image_id: str) -> Image:
        with self.trail.call("images.get"):
            row = self.rows.get(image_id)
            if not isinstance(row, Image):
                raise ImageNotFound(image_id)
            return row

    def accept(
        self, image_id: str, *, generation: str, source: Source, size_bytes: int, now_ms: int
    ) -> Image:
        with self.trail.call("images.accept"):
            row = self.rows.get(image_id)
            if row is None:
                raise ImageNotFound(image_id)
            if isinstance(row, Tombstone):
                raise Superseded("deleted", gone=True)
            if row.status in {Status.PENDING_UPLOAD, Status.EXPIRED} and row.generation is None:
                return self._put(
                    replace(
                        row,
                        status=Status.QUEUED,
                        generation=generation,
                        source=source,
                        original=replace(row.original, bytes=size_bytes),
                        link_expires_at=None,
                        updated_at_ms=now_ms,
                    )
                )
            if row.generation != generation:
                raise Superseded("another version was accepted")
            return row

    def start(self, message: ImageMessage, status: Status, *, now_ms: int) -> Image:
        with self.trail.call("images.start"):
            row = self._row_of(message)
            startable = (*status.before(), status)
            again = row.status is Status.COMPLETED and message.model is not None
            if row.attempt == message.attempt - 1 and (row.status.failed or again):
                status_then = Status.PREPROCESSED if again else row.retry_from
                row = _retried(row, status_then, now_ms, message.model)
            if row.attempt != message.attempt or row.status not in startable:
                raise Superseded("over, or of another attempt")
            if row.model != message.model and not message.remade:
                raise Superseded("another model is asked")
            return self._put(
                replace(row, status=status, error=None, last_error=None, updated_at_ms=now_ms)
            )

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
        with self.trail.call("images.describe"):
            row = self._row_of(message)
            if row.attempt != message.attempt or row.status.final:
                raise Superseded("ended, or of another attempt")
            self._put(
                replace(
                    row,
                    original=row.original if original is None else _merged(row.original, original),
                    info=info or row.info,
                    renditions=row.renditions if renditions is None else dict(renditions),
                    model_input_key=model_input_key,
                    content_sha256=content_sha256 or row.content_sha256,
                    updated_at_ms=now_ms,
                )
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
        with self.trail.call("images.finish"):
            row = self._row_of(message)
            if row.attempt != message.attempt:
                raise Superseded("of another attempt")
            found = replace(
                row,
                updated_at_ms=now_ms,
                timings_ms={**row.timings_ms, **timings_ms},
                original=_merged(row.original, original),
                info=info or row.info,
                renditions=row.renditions if renditions is None else dict(renditions),
                model_input_key=model_input_key or row.model_input_key,
                prediction=prediction or row.prediction,
                results_key=results_key or row.results_key,
                content_sha256=content_sha256 or row.content_sha256,
            )
            if row.status in status.before():
                return self._put(replace(found, status=status, last_error=None))
            if status.final:
                raise Superseded("ended before")
            return self._put(found)

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
        with self.trail.call("images.fail"):
            row = self._row_of(message)
            if row.attempt != message.attempt or row.status not in status.before():
                raise Superseded("ended before, or of another attempt")
            if unchanged_since_ms not in (None, row.updated_at_ms):
                raise Superseded("somebody was heard of")
            conversion = row.conversion_status
            pending = conversion is ConversionStatus.PENDING
            if status is Status.PREPROCESSING_FAILED and pending:
                conversion = ConversionStatus.FAILED
            return self._put(
                replace(
                    row,
                    status=status,
                    conversion_status=conversion,
                    error=failure,
                    last_error=None,
                    original=_merged(row.original, original),
                    updated_at_ms=now_ms,
                )
            )

    def note_fault(self, message: ImageMessage, fault: Failure, *, now_ms: int) -> None:
        with self.trail.call("images.note_fault"):
            row = self._row_of(message)
            if row.attempt != message.attempt or row.status.final:
                raise Superseded("ended, or of another attempt")
            self._put(replace(row, last_error=fault, updated_at_ms=now_ms))

    def retry(
        self,
        image: Image,
        status: Status,
        *,
        now_ms: int,
        completed: bool = False,
        model: str | None = None,
    ) -> Image:
        with self.trail.call("images.retry"):
            row = self.rows.get(image.image_id)
            if not isinstance(row, Image):
                raise ImageNotFound(image.image_id)
            again = completed and row.status is Status.COMPLETED
            if row.attempt == image.attempt and (row.retryable or again):
                return self._put(_retried(row, status, now_ms, model))
            if (row.attempt, row.model) == (image.attempt + 1, model):
                return row
            raise NotRetryable(row.status)

    def count_requeue(self, image: Image, *, now_ms: int) -> None:
        with self.trail.call("images.count_requeue"):
            row = self.rows.get(image.image_id)
            known = (image.generation, image.attempt, image.requeues)
            if not isinstance(row, Image):
                raise Superseded("deleted", gone=True)
            if (row.generation, row.attempt, row.requeues) != known or row.status.final:
                raise Superseded("counted, ended, or of another attempt")
            self._put(replace(row, requeues=row.requeues + 1, updated_at_ms=now_ms))

    def expire(self, image: Image, *, now_ms: int) -> None:
        with self.trail.call("images.expire"):
            row = self.rows.get(image.image_id)
            if not isinstance(row, Image) or row.status is not Status.PENDING_UPLOAD:
                raise Superseded("uploaded or deleted")
            self._put(replace(row, status=Status.EXPIRED, updated_at_ms=now_ms))

    def begin_removal(self, image_id: str, *, now: int) -> Source | None:
        with self.trail.call("images.begin_removal"):
            row = self.rows.get(image_id)
            if row is None or (isinstance(row, Tombstone) and not row.removing):
                raise ImageNotFound(image_id)
            self._store(image_id, Tombstone(source=row.source, removing=True))
            return row.source

    def finish_removal(self, image_id: str) -> None:
        with self.trail.call("images.finish_removal"):
            self._store(image_id, Tombstone(source=None, removing=False))

    def page(
        self, *, status: Status | None, limit: int, before: str | None
    ) -> tuple[list[Image], str | None]:
        with self.trail.call("images.page"):
            ordered = sorted(
                (f"{row.created_at_ms:013d}#{row.image_id}", row.image_id)
                for row in self.rows.values()
                if isinstance(row, Image) and status in (None, row.status)
            )
            wanted = [entry for entry in reversed(ordered) if before is None or entry[0] < before]
            shown = wanted[:limit]
            images = [row for _, key in shown if isinstance(row := self.rows[key], Image)]
            return images, shown[-1][0] if len(wanted) > limit else None

    def oldest(
        self, status: Status | ConversionStatus, *, after: str | None
    ) -> tuple[list[Image], str | None]:
        with self.trail.call("images.oldest"):
            wanted = sorted(
                (f"{row.created_at_ms:013d}#{row.image_id}", row.image_id)
                for row in self.rows.values()
                if isinstance(row, Image) and status in (row.status, row.conversion_status)
            )
            left = [entry for entry in wanted if after is None or entry[0] > after]
            shown = left[: self.page_size]
            images = [row for _, key in shown if isinstance(row := self.rows[key], Image)]
            return images, shown[-1][0] if len(left) > self.page_size else None

    def find(self, image_ids: Iterable[str]) -> dict[str, Image]:
        wanted = set(image_ids)
        if not wanted:
            return {}
        with self.trail.call("images.find"):
            return {
                image_id: row
                for image_id in wanted
                if isinstance(row := self.rows.get(image_id), Image)
            }

    def same_content(self, sha256: str, *, limit: int) -> list[Image]:
        with self.trail.call("images.same_content"):
            found = sorted(
                (f"{row.created_at_ms:013d}#{row.image_id}", row)
                for row in self.rows.values()
                if isinstance(row, Image) and row.content_sha256 == sha256
            )
            return [row for _, row in reversed(found)][:limit]

    def check(self) -> None:
        with self.trail.call("images.check"):
            pass

    def _row_of(self, message: ImageMessage) -> Image:
        row = self.rows.get(message.image_id)
        if not isinstance(row, Image):
            raise Superseded("deleted", gone=True)
        if row.generation != message.generation:
            raise Superseded("of another generation")
        return row

    def _put(self, image: Image) -> Image:
        self._store(image.image_id, image)
        self.history.append(image)
        for reader in self.readers:
            reader(image)
        return image

    def _store(self, image_id: str, row: Image | Tombstone) -> None:
        self.changes.append((self.rows.get(image_id), row))
        self.rows[image_id] = row


def _merged(known: Original, found: Original | None) -> Original:
    facts = (
        {} if found is None else {entry.name: getattr(found, entry.name) for entry in fields(found)}
    )
    return replace(known, **{name: value for name, value in facts.items() if value is not None})


class FakeConversionRows(ConversionRows):
    """The other half of the rows of a fake table."""

    def __init__(self, images: FakeImageTable) -> None:
        self._fake = images

    def start(self, message: ImageMessage, *, now_ms: int) -> Image:
        with self._fake.trail.call("conversions.start"):
            row = self._fake._row_of(message)
            ahead = row.attempt == message.attempt - 1
            again = row.status is Status.COMPLETED and message.model is not None
            if ahead and (row.retryable or again) and row.retries_conversion:
                if again or row.retry_from is not Status.COMPLETED:
                    raise ServiceUnavailable("not recorded yet")
                row = _retried(row, row.retry_from, now_ms)
            return self._put(row, message, conversion_last_error=None, updated_at_ms=now_ms)

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
        with self._fake.trail.call("conversions.finish"):
            row = self._fake._row_of(message)
            return self._put(
                row,
                message,
                conversion_status=status,
                formats=dict(formats),
                timings_ms={**row.timings_ms, "conversion": took_ms},
                original=_merged(row.original, original),
                conversion_last_error=None,
                updated_at_ms=now_ms,
            )

    def fail(
        self,
        message: ImageMessage,
        failure: Failure,
        *,
        now_ms: int,
        unchanged_since_ms: int | None = None,
    ) -> Image:
        with self._fake.trail.call("conversions.fail"):
            row = self._fake._row_of(message)
            if unchanged_since_ms not in (None, row.updated_at_ms):
                raise Superseded("somebody was heard of")
            return self._put(
                row,
                message,
                conversion_status=ConversionStatus.FAILED,
                conversion_error=failure,
                conversion_last_error=None,
                updated_at_ms=now_ms,
            )

    def count_requeue(self, image: Image, *, now_ms: int) -> None:
        with self._fake.trail.call("conversions.count_requeue"):
            message = message_about(image, now_ms=now_ms)
            row = self._fake._row_of(message)
            if row.conversion_requeues != image.conversion_requeues:
                raise Superseded("counted")
            times = row.conversion_requeues + 1
            self._put(row, message, conversion_requeues=times, updated_at_ms=now_ms)

    def note_fault(self, message: ImageMessage, fault: Failure, *, now_ms: int) -> None:
        with self._fake.trail.call("conversions.note_fault"):
            row = self._fake._row_of(message)
            self._put(row, message, conversion_last_error=fault, updated_at_ms=now_ms)

    def add_renditions(
        self, message: ImageMessage, renditions: Mapping[str, StoredCopy], *, now_ms: int
    ) -> None:
        with self._fake.trail.call("conversions.add_renditions"):
            row = self._fake._row_of(message)
            known = {**row.renditions, **renditions}
            self._fake._put(replace(row, renditions=known, updated_at_ms=now_ms))

    def _put(self, row: Image, message: ImageMessage, **changes: Any) -> Image:
        pending = row.conversion_status is ConversionStatus.PENDING
        if row.attempt != message.attempt or not pending:
            raise Superseded("of another attempt, or not pending")
        return self._fake._put(replace(row, **changes))


def _retried(row: Image, status: Status, now_ms: int, model: str | None = None) -> Image:
    conversion = row.conversion_status
    if conversion is ConversionStatus.FAILED:
        wanted = row.wants(Output.FORMATS)
        conversion = ConversionStatus.PENDING if wanted else ConversionStatus.SKIPPED
        row = replace(row, conversion_error=None, conversion_last_error=None)
    return replace(
        row,
        status=status,
        attempt=row.attempt + 1,
        conversion_status=conversion,
        error=None,
        last_error=None,
        model=model,
        requeues=0,
        conversion_requeues=0,
        updated_at_ms=now_ms,
    )


class FakeCheckLog(CheckLog):
    """The last run of the check, in an attribute."""

    def __init__(self, trail: Trail | None = None) -> None:
        self.known: Heartbeat | None = None
        self.trail = Trail() if trail is None else trail

    def last(self) -> Heartbeat | None:
        with self.trail.call("check_log.last"):
            return self.known

    def write(self, heartbeat: Heartbeat) -> None:
        with self.trail.call("check_log.write"):
            if self.known is None or self.known.at_ms <= heartbeat.at_ms:
                self.known = heartbeat


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of an object; a delete marker has no object."""

    version_id: str | None
    stored: StoredObject | None


@dataclass(frozen=True, kw_only=True)
class Link:
    """A link that was handed out, with everything that it was made from."""

    method: Literal["POST", "PUT", "GET"]
    key: str
    expires_in: int
    content_type: str | None = None
    max_bytes: int | None = None


class FakeObjectStore(ObjectStore):
    """A bucket. ``versions`` holds the versions of each key, oldest first."""

    bucket = "uploads-bucket"

    def __init__(
        self, trail: Trail | None = None, *, versioned: bool = True, label: str = "bucket"
    ) -> None:
        self.versions: dict[str, list[Version]] = {}
        self.links: list[Link] = []
        self.trail = Trail() if trail is None else trail
        self.label = label
        self._versioned = versioned
        self._made = 0

    @property
    def objects(self) -> dict[str, bytes]:
        """The current objects by key, as a client that lists the bucket sees them."""
        return {
            key: newest.stored.body
            for key, versions in self.versions.items()
            if versions and (newest := versions[-1]).stored is not None
        }

    def get(self, key: str, *, version_id: str | None = None) -> StoredObject:
        with self.trail.call(f"{self.label}.get"):
            return self._stored(key, version_id)

    def put(
        self, key: str, body: bytes, *, content_type: str, cache_control: str = "private"
    ) -> str | None:
        with self.trail.call(f"{self.label}.put"):
            stored = StoredObject(body=body, content_type=content_type)
            return self._append(key, stored)

    def copy(self, key: str, target: str) -> None:
        with self.trail.call(f"{self.label}.copy"):
            self._append(target, self._stored(key, None))

    def delete(self, key: str, *, version_id: str | None = None) -> None:
        with self.trail.call(f"{self.label}.delete"):
            if version_id is not None:
                self._remove(key, {version_id})
            elif self._versioned:
                self._append(key, None)
            else:
                self.versions.pop(key, None)

    def delete_prefix(self, prefix: str) -> int:
        with self.trail.call(f"{self.label}.delete_prefix"):
            keys = [key for key in self.versions if key.startswith(prefix)]
            return sum(len(self.versions.pop(key)) for key in keys)

    def oldest_version(self, key: str) -> ObjectVersion | None:
        with self.trail.call(f"{self.label}.oldest_version"):
            for version in self.versions.get(key, []):
                if version.stored is not None:
                    return ObjectVersion(
                        key=key,
                        version_id=version.version_id,
                        etag=hashlib.md5(version.stored.body).hexdigest(),  # noqa: S324
                        size_bytes=len(version.stored.body),
                    )
            return None

    def keys(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        with self.trail.call(f"{self.label}.keys"):
            found = sorted(
                key for key in self.objects if key.startswith(prefix) and key > (after or "")
            )
        yield from found

    def check(self) -> None:
        with self.trail.call(f"{self.label}.check"):
            pass

    def upload_form(
        self, key: str, *, content_type: str | None, max_bytes: int, expires_in: int
    ) -> UploadForm:
        link = Link(
            method="POST",
            key=key,
            expires_in=expires_in,
            content_type=content_type,
            max_bytes=max_bytes,
        )
        with self.trail.call(f"{self.label}.upload_form"):
            self.links.append(link)
        return UploadForm(
            url=f"https://{self.label}.test/",
            fields={"key": key, "Content-Type": content_type or "image/*"},
        )

    def upload_url(self, key: str, *, expires_in: int) -> str:
        with self.trail.call(f"{self.label}.upload_url"):
            self.links.append(Link(method="PUT", key=key, expires_in=expires_in))
        return f"https://{self.label}.test/{key}?put"

    def download_url(self, key: str, *, content_type: str, expires_in: int) -> str:
        link = Link(method="GET", key=key, expires_in=expires_in, content_type=content_type)
        with self.trail.call(f"{self.label}.download_url"):
            self.links.append(link)
        return f"https://{self.label}.test/{key}?get"

    def _stored(self, key: str, version_id: str | None) -> StoredObject:
        for version in reversed(self.versions.get(key, [])):
            if version_id in (None, version.version_id):
                if version.stored is None:
                    break
                return version.stored
        raise ObjectMissing(key)

    def _append(self, key: str, stored: StoredObject | None) -> str | None:
        if not self._versioned:
            self.versions[key] = [Version(version_id=None, stored=stored)]
            return None
        self._made += 1
        version_id = f"version-{self._made}"
        self.versions.setdefault(key, []).append(Version(version_id=version_id, stored=stored))
        return version_id

    def _remove(self, key: str, version_ids: set[str]) -> None:
        kept = [v for v in self.versions.pop(key, []) if v.version_id not in version_ids]
        if kept:
            self.versions[key] = kept


@dataclass
class Held:
    """A message in a queue."""

    body: str
    receives: int = 0
    visible: bool = True


class FakeQueue(Queue):
    """A queue. ``sent`` holds every body ever sent, ``held`` what is in it, by receipt handle."""

    def __init__(self, trail: Trail | None = None, *, label: str = "queue") -> None:
        self.sent: list[str] = []
        self.held: dict[str, Held] = {}
        self.postponed: dict[str, int] = {}
        self.delays: list[int] = []
        self.trail = Trail() if trail is None else trail
        self.label = label

    def send(self, body: str, *, delay_seconds: int = 0) -> None:
        with self.trail.call(f"{self.label}.send"):
            visible = delay_seconds == 0
            self.held[f"{self.label}-{len(self.sent)}"] = Held(body=body, visible=visible)
            self.delays.append(delay_seconds)
            self.sent.append(body)

    def delete(self, receipt_handles: Sequence[str]) -> None:
        with self.trail.call(f"{self.label}.delete"):
            self.removed(receipt_handles)

    def postpone(self, receipt_handle: str, seconds: int) -> None:
        with self.trail.call(f"{self.label}.postpone"):
            self.postponed[receipt_handle] = seconds
            self.held[receipt_handle].visible = seconds == 0

    def level(self) -> Level:
        with self.trail.call(f"{self.label}.level"):
            waiting = sum(message.visible for message in self.held.values())
            return Level(waiting=waiting, in_flight=len(self.held) - waiting)

    def receive(self, most: int = 10) -> list[dict[str, Any]]:
        """What a poller gets: records as in a Lambda event, invisible from now on."""
        records: list[dict[str, Any]] = []
        for handle, message in self.held.items():
            if message.visible and len(records) < most:
                message.visible = False
                message.receives += 1
                records.append(
                    {
                        "messageId": f"id-of-{handle}",
                        "receiptHandle": handle,
                        "body": message.body,
                        "attributes": {
                            "ApproximateReceiveCount": str(message.receives),
                            "SentTimestamp": "1795000000000",
                        },
                    }
                )
        return records

    def duplicate(self) -> None:
        """Deliver everything that is in the queue once more, as SQS may."""
        for handle, message in list(self.held.items()):
            self.held[f"{handle}-again"] = Held(body=message.body)

    def replay(self) -> None:
        """Deliver everything that was ever sent once more, also what was removed long ago."""
        for number, body in enumerate(self.sent):
            self.held[f"{self.label}-replay-{len(self.held)}-{number}"] = Held(body=body)

    def removed(self, receipt_handles: Sequence[str]) -> None:
        """As the poller removes what a handler returned from without an error."""
        for handle in receipt_handles:
            self.held.pop(handle, None)

    def reappear(self) -> None:
        """The visibility timeout of everything in flight is over."""
        for message in self.held.values():
            message.visible = True


@dataclass
class ClaimRow:
    """A claimed key."""

    fingerprint: str
    subject_id: str
    lease_until: int
    expires_at: int
    answer: str | None = None


class FakeIdempotencyTable(IdempotencyTable):
    """Claims in a dictionary."""

    def __init__(
        self, trail: Trail | None = None, *, kept_seconds: int = 86400, lease_seconds: int = 35
    ) -> None:
        self.claims: dict[str, ClaimRow] = {}
        self.trail = Trail() if trail is None else trail
        self._kept = kept_seconds
        self._lease = lease_seconds

    def claim(self, key: str, fingerprint: str, *, subject_id: str, now: int) -> Claim:
        with self.trail.call("idempotency.claim"):
            row = self.claims.get(key)
            if row is None or row.expires_at < now:
                self.claims[key] = ClaimRow(
                    fingerprint=fingerprint,
                    subject_id=subject_id,
                    lease_until=now + self._lease,
                    expires_at=now + self._kept,
                )
                return Claim(subject_id=subject_id)
            if row.fingerprint != fingerprint:
                raise IdempotencyKeyReused
            if row.answer is not None:
                return Claim(subject_id=row.subject_id, answer=row.answer)
            if row.lease_until >= now:
                raise IdempotencyInProgress(row.lease_until - now + 1)
            row.lease_until = now + self._lease
            return Claim(subject_id=row.subject_id)

    def settle(self, key: str, answer: str) -> None:
        with self.trail.call("idempotency.settle"):
            if key in self.claims:
                self.claims[key].answer = answer

    def release(self, key: str) -> None:
        with self.trail.call("idempotency.release"):
            self.claims.pop(key, None)

    def end_lease(self, key: str) -> None:
        with self.trail.call("idempotency.end_lease"):
            if key in self.claims:
                self.claims[key].lease_until = 0


class FakeQuotaTable(QuotaTable):
    """What was used, in a dictionary."""

    def __init__(self, trail: Trail | None = None) -> None:
        self.used: dict[str, int] = {}
        self.expires_at: dict[str, int] = {}
        self.trail = Trail() if trail is None else trail

    def spend(self, key: str, cost: int, *, limit: int, expires_at: int) -> bool:
        with self.trail.call("quota.spend"):
            if self.used.get(key, 0) + cost > limit:
                return False
            self.used[key] = self.used.get(key, 0) + cost
            self.expires_at[key] = expires_at
            return True


class FakeSecret(SecretParameter):
    """A secret in a dictionary that stands for SSM."""

    def __init__(
        self, parameters: dict[str, str] | None = None, *, label: str = "/test/secret"
    ) -> None:
        self.parameters: dict[str, str] = {} if parameters is None else parameters
        self.label = label

    def value(self) -> str:
        return self.parameters.setdefault(self.label, f"secret-{len(self.parameters)}-of-a-test")


class FakeWatchedParameter[T](WatchedParameter[T]):
    """A parameter that is set by hand; what it is set to must be good, or an error to raise."""

    def __init__(self, known: T) -> None:
        self.known: T | Exception = known

    def value(self) -> T:
        if isinstance(self.known, Exception):
            raise self.known
        return self.known


# --- Parcels ----------------------------------------------------------------------------------


class FakeTrackingTable(TrackingTable):
    """Updates and parcels in dictionaries; how they are taken in is left to the real class.

    ``updates`` holds the history of each parcel by timestamp, ``parcels`` how each stands, and
    ``changes`` every state of a parcel that was ever written, in order, as the stream would.
    """

    def __init__(self, trail: Trail | None = None) -> None:
        super().__init__(table=NO_TABLE, shards=4, wait=lambda _: None)
        fields = {
            "trail": Trail() if trail is None else trail,
            "updates": {},
            "parcels": {},
            "changes": [],
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    trail: Trail
    updates: dict[str, dict[int, Update]]
    parcels: dict[str, Parcel]
    changes: list[Parcel]

    def get(self, tracking_id: str) -> Parcel | None:
        with self.trail.call("tracking.get"):
            return self.parcels.get(tracking_id)

    def history(self, tracking_id: str, *, limit: int, before: int | None = None) -> list[Update]:
        with self.trail.call("tracking.history"):
            ordered = sorted(self.updates.get(tracking_id, {}).items(), reverse=True)
            wanted = [update for key, update in ordered if before is None or key < before]
            return wanted[:limit]

    def _write(self, update: Update, before: Parcel | None, after: Parcel) -> str | None:
        with self.trail.call("tracking.write"):
            updates = self.updates.setdefault(update.tracking_id, {})
            known = self.parcels.get(update.tracking_id)
            if update.timestamp in updates:
                return "place"
            if (known and known.version) != (before and before.version):
                return "parcel"
            updates[update.timestamp] = update
            self.parcels[update.tracking_id] = after
            self.changes.append(after)
            return None

    def _update_at(self, update: Update) -> Update | None:
        with self.trail.call("tracking.update_at"):
            return self.updates.get(update.tracking_id, {}).get(update.timestamp)


@dataclass
class ReportMark:
    """What a parcel's item says of its reports."""

    version: int
    day: int | None = None
    lease_until: int | None = None


class FakeParcelIndex(ParcelIndex):
    """The parcels of a `FakeTrackingTable`, found by their status."""

    def __init__(self, tracking: FakeTrackingTable) -> None:
        self.tracking = tracking
        self.trail = tracking.trail
        self.marks: dict[str, ReportMark] = {}

    def silent(self, status: ParcelStatus, *, before_ms: int) -> Iterator[str]:
        with self.trail.call("parcels.silent"):
            found = [
                parcel.tracking_id
                for parcel in self.tracking.parcels.values()
                if parcel.status is status and parcel.last_update_at < before_ms
            ]
        yield from found

    def claim_report(
        self,
        tracking_id: str,
        status: ParcelStatus,
        *,
        before_ms: int,
        day: int,
        now_ms: int,
        lease_ms: int,
    ) -> Parcel | None:
        with self.trail.call("parcels.claim_report"):
            parcel = self.tracking.parcels.get(tracking_id)
            if parcel is None or parcel.status is not status or parcel.last_update_at >= before_ms:
                return None
            mark = self._mark(parcel)
            if mark.day == day or (mark.lease_until is not None and mark.lease_until >= now_ms):
                return None
            mark.lease_until = now_ms + lease_ms
            return parcel

    def settle_report(self, tracking_id: str, *, day: int) -> None:
        with self.trail.call("parcels.settle_report"):
            mark = self._mark(self.tracking.parcels[tracking_id])
            mark.day, mark.lease_until = day, None

    def _mark(self, parcel: Parcel) -> ReportMark:
        mark = self.marks.get(parcel.tracking_id)
        # An update writes the item anew, without marks.
        if mark is None or mark.version != parcel.version:
            mark = self.marks[parcel.tracking_id] = ReportMark(version=parcel.version)
        return mark


class FakeEventBus(EventBus):
    """A bus. ``published`` holds every event that it took: its kind and its detail."""

    def __init__(self, trail: Trail | None = None) -> None:
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.trail = Trail() if trail is None else trail

    def publish(self, kind: str, detail: Mapping[str, Any]) -> None:
        with self.trail.call("bus.publish"):
            self.published.append((kind, dict(detail)))


class FakeEventTopic(EventTopic):
    """A topic. ``published`` holds every event that it took: its text and its attributes."""

    def __init__(self, trail: Trail | None = None) -> None:
        self.published: list[tuple[str, dict[str, str]]] = []
        self.trail = Trail() if trail is None else trail

    def publish(self, body: str, attributes: Mapping[str, str]) -> None:
        with self.trail.call("topic.publish"):
            self.published.append((body, dict(attributes)))


@dataclass
class AnnouncementRow:
    """An event as it is marked."""

    image_id: str
    owner: str
    lease_until_ms: int
    published: bool = False


class FakeAnnouncementTable(AnnouncementTable):
    """Rows in a dictionary."""

    def __init__(self, trail: Trail | None = None, *, lease_seconds: int = 70) -> None:
        self.rows: dict[str, AnnouncementRow] = {}
        self.trail = Trail() if trail is None else trail
        self._lease_ms = lease_seconds * 1000

    def claim(self, event_id: str, *, image_id: str, owner: str, now_ms: int) -> bool:
        with self.trail.call("announcements.claim"):
            row = self.rows.get(event_id)
            if row is not None and row.published:
                return False
            if row is not None and row.lease_until_ms >= now_ms and row.owner != owner:
                raise AnnouncementInProgress(event_id)
            self.rows[event_id] = AnnouncementRow(
                image_id=image_id, owner=owner, lease_until_ms=now_ms + self._lease_ms
            )
            return True

    def settle(self, event_id: str, *, now_ms: int) -> None:
        with self.trail.call("announcements.settle"):
            if event_id in self.rows:
                self.rows[event_id].published = True

    def release(self, event_id: str, *, owner: str) -> None:
        with self.trail.call("announcements.release"):
            row = self.rows.get(event_id)
            if row is not None and not row.published and row.owner == owner:
                row.lease_until_ms = 0


@dataclass
class NotificationRow:
    """A notification as it is stored."""

    state: NotificationState
    attempt: int = 0
    owner: str = ""
    lease_until_ms: int = 0
    reason: str | None = None
    message_id: str | None = None
    last_error: Failure | None = None
    resendable: bool = False

    @property
    def open(self) -> bool:
        """Whether it may be claimed."""
        return self.state is NotificationState.PENDING or self.resendable


class FakeNotificationTable(NotificationTable):
    """Rows in a dictionary."""

    def __init__(self, trail: Trail | None = None, *, lease_seconds: int = 70) -> None:
        self.rows: dict[str, NotificationRow] = {}
        self.trail = Trail() if trail is None else trail
        self._lease_ms = lease_seconds * 1000

    def claim(self, message: NotificationMessage, *, owner: str, now_ms: int) -> NotificationClaim:
        with self.trail.call("notifications.claim"):
            row = self.rows.setdefault(
                message.notification_id, NotificationRow(state=NotificationState.PENDING)
            )
            claim = NotificationClaim(notification_id=message.notification_id, attempt=row.attempt)
            if row.open:
                row.resendable = False
                row.state, row.owner = NotificationState.SENDING, owner
                row.attempt, row.lease_until_ms = row.attempt + 1, now_ms + self._lease_ms
                return replace(claim, attempt=row.attempt)
            if row.state is NotificationState.SENDING and row.owner == owner:
                return claim
            raise self._held_or_over(message, row, now_ms)

    def sent(
        self,
        message: NotificationMessage,
        claim: NotificationClaim,
        *,
        message_id: str,
        now_ms: int,
    ) -> None:
        with self.trail.call("notifications.sent"):
            row = self._held(message, claim)
            row.state, row.message_id = NotificationState.SENT, message_id

    def not_sent(
        self,
        message: NotificationMessage,
        claim: NotificationClaim,
        reason: Failure,
        *,
        now_ms: int,
    ) -> None:
        with self.trail.call("notifications.not_sent"):
            _fail(self._held(message, claim), reason)

    def release(
        self, message: NotificationMessage, claim: NotificationClaim, *, now_ms: int
    ) -> None:
        with self.trail.call("notifications.release"):
            self._held(message, claim).state = NotificationState.PENDING

    def suppress(self, message: NotificationMessage, reason: str, *, now_ms: int) -> None:
        with self.trail.call("notifications.suppress"):
            row = self._unclaimed(message, now_ms)
            row.state, row.reason = NotificationState.SUPPRESSED, str(reason)

    def fail(self, message: NotificationMessage, reason: Failure, *, now_ms: int) -> None:
        with self.trail.call("notifications.fail"):
            _fail(self._unclaimed(message, now_ms), reason)

    def give_up(
        self, message: NotificationMessage, reason: Failure, if_sending: Failure, *, now_ms: int
    ) -> None:
        with self.trail.call("notifications.give_up"):
            try:
                row = self._unclaimed(message, now_ms)
            except SendingBrokeOff as broken_off:
                _fail(self._held(message, broken_off.claim), if_sending)
            else:
                _fail(row, reason)
                row.resendable = True

    def note_fault(self, message: NotificationMessage, fault: Failure, *, now_ms: int) -> None:
        with self.trail.call("notifications.note_fault"):
            row = self._unclaimed(message)
            row.state, row.last_error = NotificationState.PENDING, fault

    def last_fault(self, message: NotificationMessage) -> Failure | None:
        with self.trail.call("notifications.last_fault"):
            row = self.rows.get(message.notification_id)
            return None if row is None else row.last_error

    def _held_or_over(
        self, message: NotificationMessage, row: NotificationRow, now_ms: int
    ) -> Exception:
        if row.state is not NotificationState.SENDING:
            return Superseded(f"is {row.state}")
        if row.lease_until_ms >= now_ms:
            return NotificationInProgress(message.notification_id)
        return SendingBrokeOff(
            NotificationClaim(notification_id=message.notification_id, attempt=row.attempt)
        )

    def _unclaimed(
        self, message: NotificationMessage, now_ms: int | None = None
    ) -> NotificationRow:
        row = self.rows.get(message.notification_id)
        if row is None:
            row = NotificationRow(state=NotificationState.PENDING)
            self.rows[message.notification_id] = row
        if not row.open:
            if now_ms is None:
                raise Superseded(f"is {row.state}")
            raise self._held_or_over(message, row, now_ms)
        row.resendable = False
        return row

    def _held(self, message: NotificationMessage, claim: NotificationClaim) -> NotificationRow:
        row = self.rows.get(message.notification_id)
        if (
            row is None
            or row.state is not NotificationState.SENDING
            or row.attempt != claim.attempt
        ):
            raise Superseded("no longer held")
        return row


def _fail(row: NotificationRow, reason: Failure) -> None:
    row.state, row.reason, row.last_error = NotificationState.FAILED, reason.code, reason


class FakeSuppressionTable(SuppressionTable):
    """Suppressions in a dictionary, by address and parcel; None stands for all parcels."""

    def __init__(self, trail: Trail | None = None) -> None:
        self.rows: dict[tuple[str, str | None], Suppression] = {}
        self.trail = Trail() if trail is None else trail

    def add(
        self, address_hash: str, reason: Suppression, *, parcel_hash: str | None, now: int
    ) -> None:
        with self.trail.call("suppressions.add"):
            self.rows.setdefault((address_hash, parcel_hash), reason)

    def reason_against(self, address_hash: str, parcel_hash: str) -> Suppression | None:
        with self.trail.call("suppressions.reason_against"):
            everything = self.rows.get((address_hash, None))
            return everything or self.rows.get((address_hash, parcel_hash))


@dataclass(frozen=True, kw_only=True)
class SentMail:
    """An e-mail as the mail service took it."""

    raw: bytes
    recipient: str


class FakeMailer(Mailer):
    """Keeps what it is given in ``taken``."""

    def __init__(self, trail: Trail | None = None) -> None:
        self.taken: list[SentMail] = []
        self.trail = Trail() if trail is None else trail

    def send(self, raw: bytes, *, recipient: str) -> str:
        with self.trail.call("mailer.send"):
            self.taken.append(SentMail(raw=raw, recipient=recipient))
            return f"message-{len(self.taken)}"
