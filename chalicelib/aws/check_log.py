"""When the check ran, what it found, and where it stopped: one item beside the images.

It stands in the images table, under a key that no image can have, and in none of its indexes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from boto3.dynamodb.conditions import Attr
from botocore.exceptions import ClientError

from chalicelib.aws.clients import error_code, translated

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

KEY = "check"
# As `app.py` schedules it.
INTERVAL_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """One run of the check.

    Attributes:
        at_ms: When it ended, in milliseconds since the Unix epoch.
        took_ms: How long it took.
        found: What it found, by name; what it did not find is not in it.
        not_done: The parts that failed.
        places: Where the parts stopped that had no time left.
    """

    at_ms: int
    took_ms: int
    found: Mapping[str, int] = field(default_factory=dict)
    not_done: tuple[str, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CheckLog:
    """The last run of the check.

    All methods raise `ServiceUnavailable` where DynamoDB does not answer as it should.

    Args:
        table: The boto3 table of images.
    """

    table: "Table"

    def last(self) -> Heartbeat | None:
        """The last run, None where there was none."""
        with translated():
            answer = self.table.get_item(Key={"image_id": KEY}, ConsistentRead=True)
        document = answer.get("Item", {}).get("heartbeat")
        return None if document is None else msgspec.json.decode(str(document), type=Heartbeat)

    def write(self, heartbeat: Heartbeat) -> None:
        """Record a run; of several at once the one that ended last stays."""
        with translated():
            try:
                self.table.put_item(
                    Item={
                        "image_id": KEY,
                        "at_ms": heartbeat.at_ms,
                        "heartbeat": msgspec.json.encode(heartbeat).decode(),
                    },
                    ConditionExpression=Attr("image_id").not_exists()
                    | Attr("at_ms").lte(heartbeat.at_ms),
                )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise
