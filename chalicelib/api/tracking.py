"""``POST /track`` and ``GET /status``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib import telemetry
from chalicelib.api import exact
from chalicelib.api.cursors import Cursors
from chalicelib.api.exact import ExactAnswer
from chalicelib.api.http import Answer, Request, problems_shown
from chalicelib.api.idempotency import HEADER, Idempotency
from chalicelib.api.quota import Quota
from chalicelib.api.schemas import STATUS_QUERY, TRACKING_BATCH
from chalicelib.api.tracking_view import TrackingView, step_between
from chalicelib.api.updates import NewUpdate, checked_update
from chalicelib.api.validation import check, refuse
from chalicelib.aws.image_table import ImageTable
from chalicelib.aws.tracking_table import Recorded, TrackingTable
from chalicelib.clock import now_ms
from chalicelib.errors import (
    DarkroomError,
    ImageNotFound,
    InvalidRequest,
    RequestError,
    ServiceUnavailable,
    UnsupportedMediaType,
)
from chalicelib.flags import Config, Flags
from chalicelib.images import Image, is_image_id
from chalicelib.parcels import is_later, part_of, received_at

DEFAULT_PAGE = 10


@dataclass(frozen=True, kw_only=True)
class TrackingApi:
    """What a client can do with parcels.

    All methods raise `ServiceUnavailable` where AWS does not answer as it should.

    Args:
        table: The updates of all parcels.
        images: Where the photos are known that prove them.
        view: Shows updates and parcels.
        cursors: Seals the places of pages.
        idempotency: Runs a request once for each key; its ids are those of `new_update_id`.
        flags: The switches in force.
        config: The numbers in force.
        quota: What each caller may ask for; None: as much as it likes.
    """

    table: TrackingTable
    images: ImageTable
    view: TrackingView
    cursors: Cursors
    idempotency: Idempotency
    flags: Callable[[], Flags]
    config: Callable[[], Config]
    quota: Quota | None = None

    def track(self, request: Request) -> Answer:
        """``POST /track``: one update, or many.

        Raises:
            InvalidRequest: Names every field that is wrong.
            ImageNotFound: The photo is not known.
            UnsupportedMediaType: The body is declared as something else than JSON.
            QuotaExceeded: The caller has asked for too much.
        """
        return self.idempotency.run(request, lambda update_id: self._track(update_id, request))

    def status(self, request: Request) -> Answer:
        """``GET /status``: how a parcel stands, and a page of its history, newest first.

        Raises:
            InvalidRequest: A parameter is wrong.
            InvalidCursor: The key was altered or belongs to another parcel.
        """
        query: dict[str, Any] = dict(request.query)
        query["limit"] = _number(query.get("limit", str(DEFAULT_PAGE)))
        check(query, STATUS_QUERY)
        tracking_id, limit = query["tracking_id"], query["limit"]
        scope = f"status?tracking_id={tracking_id}"
        last_key = query.get("last_key")
        before = None if last_key is None else int(self.cursors.open(scope, last_key))
        # One more: whether there is a next page, and what the oldest update of this one follows.
        updates = self.table.history(tracking_id, limit=limit + 1, before=before)
        page = updates[:limit]
        parcel = self.table.get(tracking_id)
        image_ids = {update.image_id for update in page} | {parcel.image_id if parcel else None}
        photos = self.images.find(image_id for image_id in image_ids if image_id is not None)
        enhanced = self.flags().enhanced_tracking
        place = page[-1].timestamp if len(updates) > limit else None
        return ExactAnswer(
            status=200,
            body={
                "tracking_id": tracking_id,
                "current": None
                if parcel is None
                else self.view.current(parcel, photos, now_ms=now_ms() if enhanced else None),
                "updates": self.view.history(updates, photos, enhanced=enhanced)[:limit],
                "count": len(page),
                "next_key": None if place is None else self.cursors.seal(scope, str(place)),
            },
        )

    def _track(self, update_id: str, request: Request) -> Answer:
        if request.content_type not in {"", "application/json"}:
            raise UnsupportedMediaType(
                f"The body must be JSON (application/json), not {request.content_type!r}."
            )
        body = exact.read_object(request.body)
        if "updates" in body:
            return self._track_many(update_id, body, request)
        new = checked_update(body, received_at(update_id))
        photos = self._photos([new])
        self._charge(caller=request.caller, updates=1)
        return Answer(status=200, body=self._kept(update_id, new, photos))

    def _track_many(self, update_id: str, body: Mapping[str, Any], request: Request) -> Answer:
        keyed = HEADER.lower() in request.headers
        if not self.flags().batch_processing:
            refuse([("updates", "is not taken here: the flag batch_processing is off")])
        check(body, TRACKING_BATCH)
        most = self.config().max_batch_updates
        if len(body["updates"]) > most:
            refuse([("updates", f"must be a list of 1 to {most} updates")])
        ids = [part_of(update_id, number) for number in range(len(body["updates"]))]
        checked = [
            _checked(update, received_at(part))
            for part, update in zip(ids, body["updates"], strict=True)
        ]
        good = [new for new in checked if isinstance(new, NewUpdate)]
        photos = self._photos(good)
        self._charge(caller=request.caller, updates=len(good))
        results = [
            self._result(part, new, photos, keyed=keyed)
            for part, new in zip(ids, checked, strict=True)
        ]
        stored = sum(result["status"] == 200 for result in results)
        return Answer(
            status=200,
            body={
                "message": f"{stored} of {len(results)} updates were stored.",
                "stored": stored,
                "results": results,
            },
        )

    def _charge(self, *, caller: str, updates: int) -> None:
        if self.quota is not None and updates:
            self.quota.charge(caller, updates)

    def _result(
        self,
        update_id: str,
        new: NewUpdate | InvalidRequest,
        photos: Mapping[str, Image],
        *,
        keyed: bool,
    ) -> dict[str, Any]:
        """What became of one of many, as a request of its own would have been told."""
        if isinstance(new, InvalidRequest):
            return _refusal(new)
        try:
            return {"status": 200, **self._kept(update_id, new, photos)}
        except ServiceUnavailable as error:
            # With a key the whole request can come again, and finds what was stored already. An
            # answer that is kept under the key would stay "unavailable" for a day.
            if keyed:
                raise
            return _refusal(error)
        except RequestError as error:
            return _refusal(error)

    def _kept(self, update_id: str, new: NewUpdate, photos: Mapping[str, Image]) -> dict[str, Any]:
        """Keep one update; what its client is told."""
        if new.image_id is not None and new.image_id not in photos:
            raise ImageNotFound(new.image_id)
        recorded = self.table.record(new.received(update_id), occurred_at=new.occurred_at)
        _account_for(recorded)
        update = recorded.update
        answer: dict[str, Any] = {
            "message": "The update was stored.",
            "tracking_id": update.tracking_id,
            "timestamp": update.timestamp,
            "occurred_at": update.occurred_at,
        }
        if self.flags().enhanced_tracking:
            before = self.table.history(update.tracking_id, limit=1, before=update.timestamp)
            answer |= step_between(before[0] if before else None, update)
        return answer

    def _photos(self, updates: Sequence[NewUpdate]) -> Mapping[str, Image]:
        wanted = {u.image_id for u in updates if u.image_id is not None and is_image_id(u.image_id)}
        return self.images.find(wanted)


def _checked(update: Any, received: int) -> NewUpdate | InvalidRequest:
    try:
        return checked_update(update, received)
    except InvalidRequest as refusal:
        return refusal


def _refusal(error: DarkroomError) -> dict[str, Any]:
    result: dict[str, Any] = {
        "status": error.status,
        "error": error.public_message,
        "code": error.code,
    }
    if isinstance(error, InvalidRequest):
        result["errors"] = problems_shown(error)
    return result


def _account_for(recorded: Recorded) -> None:
    """Count and log an update, once: by whoever wrote it."""
    if not recorded.new:
        return
    update, parcel = recorded.update, recorded.parcel
    late = not is_later(update, parcel)
    telemetry.count("track", TrackingUpdateStored=1, **({"TrackingUpdateLate": 1} if late else {}))
    telemetry.logger().info(
        "update stored%s",
        ", late" if late else "",
        tracking_id=update.tracking_id,
        timestamp=update.timestamp,
        status=update.status.value,
        change_seq=parcel.change_seq,
    )


def _number(text: str) -> int | str:
    """A parameter's number; what is none is left for the schema to refuse."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text
