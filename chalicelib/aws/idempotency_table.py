"""The answers kept for `Idempotency-Key`: one row a key, for a day.

A row is written before the work begins and carries the id that the work will
use. A second try after a crash takes the row over with the same id, so that a
crash between the two writes never makes a second image. The libraries that
were looked at forget the first try instead (docs/adr/0003).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chalicelib.aws.clients import error_code, translated
from chalicelib.errors import IdempotencyInProgress, IdempotencyKeyReused

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a request with a key finds.

    Attributes:
        subject_id: The id that the work has to use.
        answer: The first answer as JSON text, or None where the work is still to be done.
    """

    subject_id: str
    answer: str | None = None


@dataclass(frozen=True, kw_only=True)
class IdempotencyTable:
    """The table of claims.

    All methods raise `ServiceUnavailable` where DynamoDB does not answer as it should.
    """

    table: "Table"
    kept_seconds: int
    lease_seconds: int

    def claim(self, key: str, fingerprint: str, *, subject_id: str, now: int) -> Claim:
        """Claim a key for a request, or find what became of it.

        Args:
            key: The client's key, with what it belongs to.
            fingerprint: Hash of the whole request.
            subject_id: The id to use if this is the first time.
            now: Unix seconds.

        Raises:
            IdempotencyKeyReused: The key belongs to another request.
            IdempotencyInProgress: Another process works on it at this moment.
        """
        with translated():
            try:
                self.table.put_item(
                    Item={
                        "idempotency_key": key,
                        "fingerprint": fingerprint,
                        "subject_id": subject_id,
                        "lease_until": now + self.lease_seconds,
                        "expires_at": now + self.kept_seconds,
                    },
                    ConditionExpression=(
                        "attribute_not_exists(idempotency_key) OR expires_at < :now"
                    ),
                    ExpressionAttributeValues={":now": now},
                )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise
            else:
                return Claim(subject_id=subject_id)
            row = self.table.get_item(Key={"idempotency_key": key}, ConsistentRead=True)
        return self._known(row.get("Item") or {}, key, fingerprint, now=now)

    def settle(self, key: str, answer: str) -> None:
        """Keep the answer to a claimed request; nothing, where the claim is gone."""
        with translated():
            try:
                self.table.update_item(
                    Key={"idempotency_key": key},
                    UpdateExpression="SET answer = :answer",
                    # An update alone would make half a row, which no claim could read.
                    ConditionExpression="attribute_exists(idempotency_key)",
                    ExpressionAttributeValues={":answer": answer},
                )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise

    def release(self, key: str) -> None:
        """Forget a claim whose work was refused, so that a corrected request may use the key."""
        with translated():
            self.table.delete_item(Key={"idempotency_key": key})

    def end_lease(self, key: str) -> None:
        """Let the next try take over a claim whose work broke off; it keeps the id."""
        with translated():
            try:
                self.table.update_item(
                    Key={"idempotency_key": key},
                    UpdateExpression="SET lease_until = :past",
                    ConditionExpression="attribute_exists(idempotency_key)",
                    ExpressionAttributeValues={":past": 0},
                )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise

    def _known(self, row: dict[str, Any], key: str, fingerprint: str, *, now: int) -> Claim:
        if not row:
            # Released between the two calls by the process that held it.
            raise IdempotencyInProgress(1)
        if row["fingerprint"] != fingerprint:
            raise IdempotencyKeyReused
        subject_id = str(row["subject_id"])
        if "answer" in row:
            return Claim(subject_id=subject_id, answer=str(row["answer"]))
        lease_until = int(row["lease_until"])
        if lease_until >= now:
            raise IdempotencyInProgress(lease_until - now + 1)
        with translated():
            try:
                self.table.update_item(
                    Key={"idempotency_key": key},
                    UpdateExpression="SET lease_until = :until",
                    ConditionExpression="lease_until = :seen AND attribute_not_exists(answer)",
                    ExpressionAttributeValues={
                        ":until": now + self.lease_seconds,
                        ":seen": lease_until,
                    },
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    raise IdempotencyInProgress(self.lease_seconds) from None
                raise
        return Claim(subject_id=subject_id)
