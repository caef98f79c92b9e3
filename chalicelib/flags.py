"""What can be changed while the service runs, without deploying: two SSM parameters in JSON.

A field that is missing has its default, and a field that nobody knows is ignored, so that either
side of a deployment can read what the other wrote. `docs/configuration.md` lists them all; a test
holds the two together.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any

from msgspec import Meta


def _field(meaning: str, *, default: Any) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Features that can be switched. Off where SSM has never answered this process."""

    enhanced_tracking: bool = _field(
        "Answers about parcels say how far and how long the last step was.", default=False
    )
    batch_processing: bool = _field("`POST /track` takes many updates at once.", default=False)
    real_time_notifications: bool = _field(
        "A change of a parcel's status sends an e-mail.", default=False
    )


@dataclass(frozen=True, kw_only=True)
class Config:
    """Numbers that can be changed."""

    max_batch_updates: Annotated[int, Meta(ge=1, le=100)] = _field(
        "How many updates one `POST /track` may carry, 1 to 100.", default=100
    )
    stuck_parcel_days: Annotated[int, Meta(ge=0, le=365)] = _field(
        "Days without an update after which a parcel in transit is reported, 0 to 365; "
        "0 never reports.",
        default=0,
    )
