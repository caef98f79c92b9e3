"""Events for whoever wants to know, on EventBridge."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.aws.clients import translated
from chalicelib.errors import ServiceUnavailable

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient


@dataclass(frozen=True, kw_only=True)
class EventBus:
    """The account's default bus, which costs nothing to have (docs/adr/0007).

    Args:
        events: The client.
        source: What all our events are from: ``darkroom.STAGE``.
    """

    events: "EventBridgeClient"
    source: str

    def publish(self, kind: str, detail: Mapping[str, Any]) -> None:
        """Publish one event.

        Args:
            kind: Its ``detail-type``.
            detail: JSON data.

        Raises:
            ServiceUnavailable: EventBridge did not take it.
        """
        with translated():
            answer = self.events.put_events(
                Entries=[
                    {
                        "Source": self.source,
                        "DetailType": kind,
                        "Detail": msgspec.json.encode(detail).decode(),
                    }
                ]
            )
        # A refused entry raises nothing.
        if answer["FailedEntryCount"]:
            refused = answer["Entries"][0]
            raise ServiceUnavailable(f"PutEvents: {refused.get('ErrorCode')}")
