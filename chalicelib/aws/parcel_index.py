"""Finds parcels that nothing was heard of, and sees to it that each is reported once a day."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.conditions import Attr, Key
from botocore.exceptions import ClientError

from chalicelib.aws.clients import error_code, translated
from chalicelib.aws.tracking_rows import PARCEL_KEY, parcel_of
from chalicelib.parcels import Parcel, ParcelStatus

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

BY_STATUS_INDEX = "by_status"


@dataclass(frozen=True, kw_only=True)
class ParcelIndex:
    """The tracking table's index by status, and the marks of reports on parcels.

    All methods raise `ServiceUnavailable` where DynamoDB does not answer as it should.

    Args:
        table: The boto3 table.
        shards: Hash keys that each status is spread over.
    """

    table: "Table"
    shards: int

    def silent(self, status: ParcelStatus, *, before_ms: int) -> Iterator[str]:
        """The ids of all parcels with this status and no update since, read page by page."""
        for shard in range(self.shards):
            # `last_update_at` is the index's range key: the rest of a shard is never read.
            query: dict[str, Any] = {
                "IndexName": BY_STATUS_INDEX,
                "KeyConditionExpression": Key("status_shard").eq(f"{status}#{shard}")
                & Key("last_update_at").lt(before_ms),
            }
            while True:
                with translated():
                    page = self.table.query(**query)
                yield from (str(item["tracking_id"]) for item in page["Items"])
                if "LastEvaluatedKey" not in page:
                    break
                query["ExclusiveStartKey"] = page["LastEvaluatedKey"]

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
        """Take on the report of one parcel for one day.

        The index lags behind its table, and somebody else may look at the same time: so what it
        said is asked again of the parcel itself.

        Args:
            tracking_id: Which.
            status: What it has to have still.
            before_ms: Since when nothing may have been heard of it.
            day: Days since the Unix epoch, UTC.
            now_ms: Milliseconds since the Unix epoch.
            lease_ms: How long nobody else may take it on.

        Returns:
            The parcel, or None where there is nothing to report, or someone else does.
        """
        with translated():
            try:
                answer = self.table.update_item(
                    Key={"tracking_id": tracking_id, "timestamp": PARCEL_KEY},
                    UpdateExpression="SET report_lease_until = :until",
                    ConditionExpression=Attr("status").eq(status.value)
                    & Attr("last_update_at").lt(before_ms)
                    & (Attr("reported_day").not_exists() | Attr("reported_day").ne(day))
                    & (
                        Attr("report_lease_until").not_exists()
                        | Attr("report_lease_until").lt(now_ms)
                    ),
                    ExpressionAttributeValues={":until": now_ms + lease_ms},
                    ReturnValues="ALL_NEW",
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return None
                raise
        return parcel_of(answer["Attributes"])

    def settle_report(self, tracking_id: str, *, day: int) -> None:
        """Record that a parcel was reported on this day. Its next update forgets it."""
        with translated():
            self.table.update_item(
                Key={"tracking_id": tracking_id, "timestamp": PARCEL_KEY},
                UpdateExpression="SET reported_day = :day REMOVE report_lease_until",
                ConditionExpression=Attr("tracking_id").exists(),
                ExpressionAttributeValues={":day": day},
            )
