"""The announcements table: one row for each event about an image, kept longer than its record.

A row outlives whatever could bring its event again: the stream has its records for a day, the
archive for 90.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.conditions import Attr, ConditionBase
from botocore.exceptions import ClientError

from chalicelib.aws.clients import error_code, translated
from chalicelib.aws.image_rows import UpdateExpression, row_in_error
from chalicelib.errors import AnnouncementInProgress

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

_KEPT_SECONDS = 120 * 86400
_CLAIMED, _PUBLISHED = "claimed", "published"


@dataclass(frozen=True, kw_only=True)
class AnnouncementTable:
    """What was published.

    All methods raise `ServiceUnavailable` where DynamoDB does not answer as it should.

    Args:
        table: The boto3 table.
        lease_seconds: How long a claim may be in use: longer than its function can run.
    """

    table: "Table"
    lease_seconds: int

    def claim(self, event_id: str, *, image_id: str, owner: str, now_ms: int) -> bool:
        """Claim the right to publish an event; whether it is still to be published.

        Args:
            event_id: Which.
            image_id: What it is about, for people who look at the table.
            owner: A name that only this try has: an answer that was lost is known by it.
            now_ms: Milliseconds since the Unix epoch.

        Raises:
            AnnouncementInProgress: Another try has it, and its lease is not over.
        """
        values = {
            "image_id": image_id,
            "state": _CLAIMED,
            "owner": owner,
            "lease_until_ms": now_ms + self.lease_seconds * 1000,
            "expires_at": now_ms // 1000 + _KEPT_SECONDS,
        }
        free = Attr("event_id").not_exists() | (
            Attr("state").eq(_CLAIMED)
            # Or our own write: the SDK repeated it because the first answer was lost.
            & (Attr("lease_until_ms").lt(now_ms) | Attr("owner").eq(owner))
        )
        try:
            self._write(event_id, free, values)
        except _Refused as refused:
            if refused.row.get("state") == _PUBLISHED:
                return False
            raise AnnouncementInProgress(event_id) from None
        return True

    def settle(self, event_id: str, *, now_ms: int) -> None:
        """Record that an event was published, by whomever."""
        values = {"state": _PUBLISHED, "published_at_ms": now_ms}
        try:
            # Nobody removes a row, but an update alone would make half of one.
            self._write(event_id, Attr("event_id").exists(), values)
        except _Refused:
            return

    def release(self, event_id: str, *, owner: str) -> None:
        """Give a claim back whose event could not be published, so that nobody has to wait."""
        ours = Attr("state").eq(_CLAIMED) & Attr("owner").eq(owner)
        try:
            self._write(event_id, ours, {"lease_until_ms": 0})
        except _Refused:
            # Somebody took over; the claim is no longer ours to give.
            return

    def _write(self, event_id: str, condition: ConditionBase, values: dict[str, Any]) -> None:
        expression = UpdateExpression(values, [])
        with translated():
            try:
                self.table.update_item(
                    Key={"event_id": event_id},
                    UpdateExpression=expression.text,
                    ConditionExpression=condition,
                    ExpressionAttributeNames=expression.names,
                    ExpressionAttributeValues=expression.values,
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    raise _Refused(row_in_error(error.response.get("Item")) or {}) from None
                raise


class _Refused(Exception):
    """The condition of a write does not hold. ``row`` is the row as it is."""

    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__()
        self.row = row
