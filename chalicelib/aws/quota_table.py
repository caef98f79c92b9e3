"""What each caller has used of its quota: one row a caller and window, beside the idempotency keys.

Their rows are of the same kind, short-lived and written by the API alone, and no key of theirs, a
hash in hexadecimal, can begin as these do.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.aws.clients import error_code, translated

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

PREFIX = "quota#"


@dataclass(frozen=True, kw_only=True)
class QuotaTable:
    """The table of what was used."""

    table: "Table"

    def spend(self, key: str, cost: int, *, limit: int, expires_at: int) -> bool:
        """Use some of a quota; False, and nothing used, where less than that is left.

        The comparison and the addition are one write, so that callers who come together never
        get more than the limit. A write whose answer was lost, and that the SDK made again, counts
        twice: a caller may get less, and never more.

        Args:
            key: The caller and the window, without an address in it.
            cost: How much; at least 1.
            limit: The quota of the window.
            expires_at: Unix seconds, after which the row is not needed.

        Raises:
            ServiceUnavailable: DynamoDB does not answer as it should.
        """
        if cost > limit:
            # A row that is not there yet has nothing to be compared.
            return False
        with translated():
            try:
                self.table.update_item(
                    Key={"idempotency_key": f"{PREFIX}{key}"},
                    UpdateExpression="ADD used :cost SET expires_at = :expires_at",
                    ConditionExpression="attribute_not_exists(used) OR used <= :room",
                    ExpressionAttributeValues={
                        ":cost": cost,
                        ":room": limit - cost,
                        ":expires_at": expires_at,
                    },
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return False
                raise
        return True
