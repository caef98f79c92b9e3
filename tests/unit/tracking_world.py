"""Parcels on fakes: one place to send updates to, and to ask what became of them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from chalicelib.api.cursors import Cursors
from chalicelib.api.http import Answer, Request
from chalicelib.api.idempotency import Idempotency
from chalicelib.api.image_view import ImageView
from chalicelib.api.tracking import TrackingApi
from chalicelib.api.tracking_view import TrackingView
from chalicelib.flags import Config, Flags
from chalicelib.images import ConversionStatus, Image, Prediction, Status, StoredCopy
from chalicelib.parcels import Parcel, Update, new_update_id
from chalicelib.pipeline.stuck_parcels import StuckParcels
from tests.fakes import (
    FakeEventBus,
    FakeIdempotencyTable,
    FakeImageTable,
    FakeObjectStore,
    FakeParcelIndex,
    FakeQuotaTable,
    FakeSecret,
    FakeTrackingTable,
    Trail,
)
from tests.unit.pipeline.world import quota_of

NOW = 1_795_000_000_000
PARCEL = "PX-1"
UPDATE: Mapping[str, Any] = {
    "tracking_id": PARCEL,
    "status": "in_transit",
    "location": {"lat": 40.7128, "lng": -74.006},
}


class TrackingWorld:
    """Everything about parcels over fakes that share one trail. ``now`` is the server's clock."""

    def __init__(self, trail: Trail | None = None) -> None:
        self.now = NOW
        self.flags = Flags()
        self.config = Config()
        self.trail = Trail() if trail is None else trail
        self.tracking = FakeTrackingTable(self.trail)
        self.images = FakeImageTable(self.trail)
        self.claims = FakeIdempotencyTable(self.trail)
        self.quotas = FakeQuotaTable(self.trail)
        self.bus = FakeEventBus(self.trail)
        self.index = FakeParcelIndex(self.tracking)
        self.renditions = FakeObjectStore(versioned=False, label="renditions")
        self.api = TrackingApi(
            table=self.tracking,
            images=self.images,
            view=TrackingView(photos=ImageView(renditions=self.renditions, link_seconds=60)),
            cursors=Cursors(secret=FakeSecret().value),
            idempotency=Idempotency(table=self.claims, new_id=lambda: new_update_id(self.now)),
            flags=lambda: self.flags,
            config=lambda: self.config,
        )
        self.stuck_parcels = StuckParcels(
            index=self.index, bus=self.bus, config=lambda: self.config, now_ms=lambda: self.now
        )

    def with_quota(self, updates: int) -> Self:
        """This world, where each caller may send so many updates an hour."""
        self.api = replace(self.api, quota=quota_of(self.quotas, updates))
        return self

    def send(self, body: Any, *, key: str | None = None) -> Answer:
        """``POST /track``, with JSON data or with bytes."""
        return self.api.track(tracked(body, key=key))

    def update(self, status: str = "in_transit", **fields: Any) -> Any:
        """Send a good update; the answer's body."""
        answer = self.send({**UPDATE, "status": status, **fields})
        assert answer.status == 200
        return json.loads(answer.text())

    def status(self, tracking_id: str = PARCEL, **query: str) -> Any:
        """``GET /status``, through JSON and back."""
        answer = self.api.status(asked(tracking_id=tracking_id, **query))
        assert answer.status == 200
        return json.loads(answer.text())

    def history(self, tracking_id: str = PARCEL) -> list[Update]:
        """What is kept of a parcel, oldest first."""
        return [update for _, update in sorted(self.tracking.updates[tracking_id].items())]

    def parcel(self, tracking_id: str = PARCEL) -> Parcel:
        """How a parcel stands."""
        return self.tracking.parcels[tracking_id]

    def photo(self, image_id: str, *, completed: bool) -> Image:
        """A photo that this service knows."""
        image = Image(
            image_id=image_id,
            status=Status.COMPLETED if completed else Status.QUEUED,
            conversion_status=ConversionStatus.PENDING,
            created_at_ms=NOW,
            updated_at_ms=NOW,
            renditions={
                "thumb": StoredCopy(
                    key=f"renditions/{image_id}/thumb.jpg",
                    content_type="image/jpeg",
                    bytes=6123,
                    width=150,
                    height=150,
                )
            }
            if completed
            else {},
            prediction=Prediction(
                classes=("parcel", "door"),
                probabilities=(0.75, 0.125),
                model_name="test",
                model_version="1",
            )
            if completed
            else None,
        )
        self.images.rows[image_id] = image
        return image


def tracked(body: Any, *, key: str | None = None) -> Request:
    """A request for ``POST /track``."""
    return Request(
        method="POST",
        path="/track",
        headers={"content-type": "application/json"}
        | ({} if key is None else {"idempotency-key": key}),
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
    )


def asked(**query: str) -> Request:
    """A request for ``GET /status``."""
    return Request(method="GET", path="/status", query=query)
