"""The suppressions table: whom no e-mail is sent to. It holds no address, only hashes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.aws.clients import error_code, translated
from chalicelib.notifications import Suppression

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

_EVERYTHING = "all"


@dataclass(frozen=True, kw_only=True)
class SuppressionTable:
    """Suppressions, each of an address for one parcel or for all. They never run out.

    All methods raise `ServiceUnavailable` where DynamoDB does not answer as it should.
    """

    table: "Table"

    def add(
        self, address_hash: str, reason: Suppression, *, parcel_hash: str | None, now: int
    ) -> None:
        """Suppress an address. One that is suppressed already keeps its first reason.

        Args:
            address_hash: `chalicelib.addresses.address_hash`.
            reason: Why.
            parcel_hash: For this parcel alone, or None for all.
            now: Unix seconds.
        """
        with translated():
            try:
                self.table.put_item(
                    Item={
                        "address_hash": address_hash,
                        "scope": _scope(parcel_hash),
                        "reason": reason.value,
                        "created_at": now,
                    },
                    ConditionExpression="attribute_not_exists(address_hash)",
                )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise

    def reason_against(self, address_hash: str, parcel_hash: str) -> Suppression | None:
        """Why nothing is sent to the address about the parcel, or None."""
        for scope in (_EVERYTHING, _scope(parcel_hash)):
            with translated():
                answer = self.table.get_item(
                    Key={"address_hash": address_hash, "scope": scope}, ConsistentRead=True
                )
            if "Item" in answer:
                return Suppression(str(answer["Item"]["reason"]))
        return None


def _scope(parcel_hash: str | None) -> str:
    return _EVERYTHING if parcel_hash is None else f"parcel#{parcel_hash}"
