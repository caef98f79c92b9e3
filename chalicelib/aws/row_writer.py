"""Conditional writes to rows of the images table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.conditions import Attr, ConditionBase
from botocore.exceptions import ClientError

from chalicelib.aws.clients import error_code, translated
from chalicelib.aws.image_index import ImageIndex
from chalicelib.aws.image_rows import UpdateExpression, image_of, row_in_error
from chalicelib.errors import Superseded
from chalicelib.images import ConversionStatus, Image, Status
from chalicelib.messages import ImageMessage

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table


class Refused(Exception):
    """The condition of a write does not hold. ``item`` is the row as it is, if there is one."""

    def __init__(self, item: dict[str, Any] | None) -> None:
        super().__init__()
        self.item = item


@dataclass(frozen=True, kw_only=True)
class RowWriter:
    """Updates rows that exist and meet a condition, and keeps their index keys right.

    Args:
        table: The boto3 table.
        index: Its indexes.
    """

    table: "Table"
    index: ImageIndex

    def write_for(self, message: ImageMessage, condition: ConditionBase, **write: Any) -> Image:
        """A write on behalf of a message: the row must be of its generation.

        Raises:
            Superseded: The condition does not hold.
            ServiceUnavailable: DynamoDB does not answer as it should.
        """
        try:
            return self.write(
                message.image_id, Attr("generation").eq(message.generation) & condition, **write
            )
        except Refused as refused:
            raise _superseded(message, refused.item) from None

    def write(
        self,
        image_id: str,
        condition: ConditionBase,
        *,
        now_ms: int,
        status: Status | None = None,
        set_values: Mapping[str, Any],
        remove: list[str] | None = None,
    ) -> Image:
        """Update a row; the image as it is then.

        Args:
            image_id: Whose row.
            condition: What must hold of it, beside that it exists.
            now_ms: Milliseconds since the Unix epoch.
            status: The new one, if it changes.
            set_values: What to set, by path with dots.
            remove: Paths to remove.

        Raises:
            Refused: The condition does not hold.
            ServiceUnavailable: DynamoDB does not answer as it should.
        """
        values = {"updated_at_ms": now_ms, **set_values}
        if status is not None:
            values["status"] = status
            values["status_shard"] = self.index.status_shard(image_id, status)
        outdated = list(remove or [])
        if values.get("conversion_status") is ConversionStatus.PENDING:
            values["conversion_shard"] = self.index.conversion_shard(image_id)
        elif "conversion_status" in values:
            outdated.append("conversion_shard")
        expression = UpdateExpression(values, outdated)
        with translated():
            try:
                answer = self.table.update_item(
                    Key={"image_id": image_id},
                    UpdateExpression=expression.text,
                    ConditionExpression=Attr("image_id").exists() & condition,
                    ExpressionAttributeNames=expression.names,
                    ExpressionAttributeValues=expression.values,
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    raise Refused(row_in_error(error.response.get("Item"))) from None
                raise
        return image_of(answer["Attributes"])


def _superseded(message: ImageMessage, item: dict[str, Any] | None) -> Superseded:
    name = f"image {message.image_id}, attempt {message.attempt}"
    if item is None or "status" not in item:
        return Superseded(f"{name}: the image was deleted", gone=True)
    return Superseded(
        f"{name}, generation {message.generation}: the row is at {item['status']}, "
        f"attempt {item['attempt']}, generation {item.get('generation')}"
    )
