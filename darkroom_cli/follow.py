"""Images on their way, until they have ended."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from chalicelib.images import ConversionStatus, Status
from darkroom_cli.problems import Refused, Unreachable
from darkroom_cli.service import Service

_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.3, 2.0


def has_ended(image: dict[str, Any]) -> bool:
    """Whether neither its predictions nor its copies are under way."""
    status = Status(image["status"])
    # Of an image whose preparation failed, or that never came, no copies are made.
    alone = status in {Status.EXPIRED, Status.PREPROCESSING_FAILED}
    converting = image["conversion_status"] == ConversionStatus.PENDING
    return status.final and (alone or not converting)


def succeeded(image: dict[str, Any]) -> bool:
    """Whether everything that was asked for is there."""
    return (
        image.get("status") == Status.COMPLETED
        and image.get("conversion_status") != ConversionStatus.FAILED
    )


def follow(
    service: Service,
    image_ids: Iterable[str],
    *,
    seen: Callable[[dict[str, Any]], None],
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,
) -> list[dict[str, Any]]:
    """The images once they have ended, in the order of their ids.

    Args:
        service: Where they are.
        image_ids: Which.
        seen: Told of each look at one that has not ended, and of its end.
        seconds: How long to wait for all.
        sleep: Waits so many seconds.

    Raises:
        Refused: One is not there.
        Unreachable: Not all have ended in time.
    """
    ids = list(dict.fromkeys(image_ids))
    ended: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + seconds
    pause = _SHORTEST_SECONDS
    while True:
        for image_id in ids:
            if image_id not in ended:
                image = look(service, image_id)
                seen(image)
                if has_ended(image):
                    ended[image_id] = image
        if len(ended) == len(ids):
            return [ended[image_id] for image_id in ids]
        if time.monotonic() > deadline:
            raise Unreachable(
                f"{len(ids) - len(ended)} of {len(ids)} images have not ended within "
                f"{seconds:.0f} s; darkroom watch goes on waiting."
            )
        sleep(pause)
        pause = min(pause * 1.3, _LONGEST_SECONDS)


def look(service: Service, image_id: str) -> dict[str, Any]:
    """One image as it is now; an id that is none is refused as the service would."""
    if "/" in image_id or not image_id.strip():
        raise Refused(f"{image_id!r} is no image id.", code="image_not_found")
    return service.get(f"/images/{image_id}")
