"""The tracking table: every update of every parcel, and how each parcel stands.

An update and what it makes of its parcel are written in one transaction: there
is no update that the current state does not know of, and no state without its
update. The parcel's item carries a version, so that of two updates at once the
second is judged again by what the first made of the parcel (docs/adr/0006).
"""

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.conditions import ConditionBase, Key
from botocore.exceptions import ClientError

from chalicelib.aws.clients import error_code, translated
from chalicelib.aws.tracking_rows import (
    PARCEL_KEY,
    item_of_parcel,
    item_of_update,
    parcel_of,
    update_of,
)
from chalicelib.errors import ServiceUnavailable
from chalicelib.parcels import Parcel, Update, taken_in

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

# More milliseconds in a row than ever hold an update of one parcel.
_STEPS = 20
# Beyond them the next places are spread over this many milliseconds.
_SPREAD_MS = 1000
# Each round at least one of those that meet gets through.
_ROUNDS = 40
_MAX_WAIT_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What became of an update.

    Attributes:
        update: As it stands in the history.
        parcel: How the parcel stands now.
        new: Whether this call wrote it; False where an earlier try of the same request had.
    """

    update: Update
    parcel: Parcel
    new: bool


@dataclass(frozen=True, kw_only=True)
class TrackingTable:
    """Updates and parcels.

    All methods raise `ServiceUnavailable` where DynamoDB does not answer as it should.

    Args:
        table: The boto3 table.
        shards: Hash keys that each status of the index is spread over.
        wait: Waits this many seconds before another round, where many write to one parcel.
    """

    table: "Table"
    shards: int
    wait: Callable[[float], None] = time.sleep

    def record(self, update: Update, *, occurred_at: int | None) -> Recorded:
        """Keep an update, and what it makes of its parcel.

        Recording the same ``update_id`` from the same first ``timestamp`` again finds what was
        kept, and writes nothing.

        Args:
            update: With the first ``timestamp`` to try; where that is taken by another update,
                a later one is.
            occurred_at: When it happened, or None for when it was received.
        """
        places = places_of(update)
        placed = _placed(update, next(places), occurred_at)
        for number in range(_ROUNDS):
            parcel = self.get(update.tracking_id)
            after = taken_in(parcel, placed)
            refused = self._write(placed, parcel, after)
            if refused is None:
                return Recorded(update=placed, parcel=after, new=True)
            if refused == "place":
                held = self._update_at(placed)
                if held is not None and held.update_id == update.update_id:
                    return Recorded(
                        update=held, parcel=self.get(update.tracking_id) or after, new=False
                    )
                placed = _placed(update, next(places), occurred_at)
            else:
                self.wait(min(0.01 * 2**number, _MAX_WAIT_SECONDS) * random.random())  # noqa: S311 - spreads load
        raise ServiceUnavailable(f"too many updates of parcel {update.tracking_id!r} at once")

    def get(self, tracking_id: str) -> Parcel | None:
        """How a parcel stands, as of the last finished write; None for one never seen."""
        with translated():
            answer = self.table.get_item(
                Key={"tracking_id": tracking_id, "timestamp": PARCEL_KEY}, ConsistentRead=True
            )
        item = answer.get("Item")
        return None if item is None else parcel_of(item)

    def history(self, tracking_id: str, *, limit: int, before: int | None = None) -> list[Update]:
        """The newest updates of a parcel, newest first.

        Args:
            tracking_id: Whose.
            limit: How many at most; 100 and one more fit one answer of DynamoDB, which is 1 MB.
            before: Only those with a timestamp below this one.
        """
        # Above the parcel's own item, below the page before.
        condition: ConditionBase = Key("tracking_id").eq(tracking_id)
        if before is None:
            condition &= Key("timestamp").gt(PARCEL_KEY)
        else:
            condition &= Key("timestamp").between(PARCEL_KEY + 1, before - 1)
        with translated():
            answer = self.table.query(
                KeyConditionExpression=condition,
                ScanIndexForward=False,
                Limit=limit,
                ConsistentRead=True,
            )
        return [update_of(item) for item in answer["Items"]]

    def check(self) -> None:
        """Raise `ServiceUnavailable` unless the table is there and may be read."""
        self.get("health-check")

    def _write(self, update: Update, before: Parcel | None, after: Parcel) -> str | None:
        """None where it was written, else what stood in the way: ``place`` or ``parcel``."""
        parcel_put: dict[str, Any] = {
            "TableName": self.table.name,
            "Item": item_of_parcel(after, shards=self.shards),
        }
        if before is None:
            parcel_put["ConditionExpression"] = "attribute_not_exists(tracking_id)"
        else:
            parcel_put["ConditionExpression"] = "#version = :seen"
            parcel_put["ExpressionAttributeNames"] = {"#version": "version"}
            parcel_put["ExpressionAttributeValues"] = {":seen": before.version}
        with translated():
            try:
                self.table.meta.client.transact_write_items(
                    TransactItems=[
                        {
                            "Put": {
                                "TableName": self.table.name,
                                "Item": item_of_update(update),
                                "ConditionExpression": "attribute_not_exists(tracking_id)",
                            }
                        },
                        {"Put": parcel_put},  # type: ignore[typeddict-item]
                    ]
                )
            except ClientError as error:
                reasons = _cancellation_reasons(error)
                if not reasons:
                    raise
                return "place" if reasons[0] == "ConditionalCheckFailed" else "parcel"
        return None

    def _update_at(self, update: Update) -> Update | None:
        with translated():
            answer = self.table.get_item(
                Key={"tracking_id": update.tracking_id, "timestamp": update.timestamp},
                ConsistentRead=True,
            )
        item = answer.get("Item")
        return None if item is None else update_of(item)


def places_of(update: Update) -> Iterator[int]:
    """The timestamps to try, in order: always the same for the same update.

    So whoever tries a request again comes by the place that its first try has taken.
    """
    yield from range(update.timestamp, update.timestamp + _STEPS)
    for number in range(_ROUNDS):
        digest = hashlib.sha256(f"{update.update_id}\n{number}".encode()).digest()
        yield update.timestamp + _STEPS + int.from_bytes(digest[:4]) % _SPREAD_MS


def _placed(update: Update, timestamp: int, occurred_at: int | None) -> Update:
    return replace(
        update,
        timestamp=timestamp,
        occurred_at=timestamp if occurred_at is None else occurred_at,
    )


# What may pass by itself: someone else writes to the same items at this moment.
_PASSING = {"ConditionalCheckFailed", "TransactionConflict"}


def _cancellation_reasons(error: ClientError) -> list[str]:
    """What DynamoDB says of each item of a refused transaction; empty for other errors."""
    if error_code(error) == "TransactionInProgressException":
        return ["None", "TransactionConflict"]
    reasons = [str(reason.get("Code")) for reason in error.response.get("CancellationReasons", [])]
    return reasons if _PASSING & set(reasons) else []
