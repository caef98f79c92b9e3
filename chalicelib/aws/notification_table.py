"""The notifications table: one row for each e-mail about a change, kept longer than any message.

A row outlives its messages: the stream has its records for a day, the queues theirs for 14 days,
and the archive its dead letters for 90, so that a letter sent again meets the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.conditions import Attr, ConditionBase
from botocore.exceptions import ClientError

from chalicelib.aws.clients import error_code, translated
from chalicelib.aws.image_rows import UpdateExpression, row_in_error
from chalicelib.errors import NotificationInProgress, Superseded
from chalicelib.images import Failure
from chalicelib.messages import NotificationMessage
from chalicelib.notifications import Claim, NotificationState

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

_KEPT_SECONDS = 120 * 86400


class SendingBrokeOff(Exception):
    """A try marked the row, and its lease ended with no word of what became of it.

    Attributes:
        claim: The one of that try.
    """

    def __init__(self, claim: Claim) -> None:
        super().__init__(claim.notification_id)
        self.claim = claim


class _Refused(Exception):
    """The condition of a write does not hold. ``row`` is the row as it is, if there is one."""

    def __init__(self, row: dict[str, Any] | None) -> None:
        super().__init__()
        self.row = row


@dataclass(frozen=True, kw_only=True)
class NotificationTable:
    """Notifications.

    All methods raise `ServiceUnavailable` where DynamoDB does not answer as it should.

    Args:
        table: The boto3 table.
        lease_seconds: How long a claim may be in use: longer than its function can run.
    """

    table: "Table"
    lease_seconds: int

    def claim(self, message: NotificationMessage, *, owner: str, now_ms: int) -> Claim:
        """Mark a notification as being sent; whoever gets the claim may call SES once.

        Args:
            message: Which.
            owner: A name that only this try has: an answer that was lost is known by it.
            now_ms: Milliseconds since the Unix epoch.

        Raises:
            Superseded: It is over with.
            NotificationInProgress: Another try has it, and its lease is not over.
            SendingBrokeOff: Another try had it, and nobody knows what became of it.
        """
        values = {
            "state": NotificationState.SENDING,
            "owner": owner,
            "lease_until_ms": now_ms + self.lease_seconds * 1000,
        }
        try:
            row = self._write(message, _unclaimed(), values, now_ms=now_ms, new_attempt=True)
        except _Refused as refused:
            row = refused.row or {}
            # Our own write: the SDK repeated it because the first answer was lost.
            if (row.get("state"), row.get("owner")) != (NotificationState.SENDING, owner):
                raise _held_or_over(message, row, now_ms) from None
        return Claim(notification_id=message.notification_id, attempt=int(row["attempt"]))

    def sent(
        self, message: NotificationMessage, claim: Claim, *, message_id: str, now_ms: int
    ) -> None:
        """SES took it. Raises `Superseded` if the claim no longer holds."""
        values = {"state": NotificationState.SENT, "message_id": message_id}
        self._end(message, _held(claim), values, now_ms=now_ms)

    def not_sent(
        self, message: NotificationMessage, claim: Claim, reason: Failure, *, now_ms: int
    ) -> None:
        """It ends here, for this reason. Raises `Superseded` if the claim no longer holds."""
        self._end(message, _held(claim), _failed(reason), now_ms=now_ms)

    def release(self, message: NotificationMessage, claim: Claim, *, now_ms: int) -> None:
        """SES said that it did not take it: it may be tried again.

        Raises `Superseded` if the claim no longer holds.
        """
        self._end(message, _held(claim), {"state": NotificationState.PENDING}, now_ms=now_ms)

    def suppress(self, message: NotificationMessage, reason: str, *, now_ms: int) -> None:
        """It is not to be sent. Raises as `claim` does where somebody has begun."""
        values = {"state": NotificationState.SUPPRESSED, "reason": reason}
        self._end_unclaimed(message, values, now_ms=now_ms)

    def fail(self, message: NotificationMessage, reason: Failure, *, now_ms: int) -> None:
        """It is given up before anybody called SES. Raises as `suppress` does."""
        self._end_unclaimed(message, _failed(reason), now_ms=now_ms)

    def give_up(
        self, message: NotificationMessage, reason: Failure, if_sending: Failure, *, now_ms: int
    ) -> None:
        """It is a dead letter: nobody works on it any more.

        Where nobody had begun to send it, its message may be sent to the queue again, and then
        counts as if nothing had been.

        Args:
            message: Which.
            reason: Why, where nobody had begun to send it.
            if_sending: Why, where somebody had, and was never heard of again.
            now_ms: Milliseconds since the Unix epoch.

        Raises:
            Superseded: It is over with.
            NotificationInProgress: Somebody is sending it at this moment.
        """
        try:
            self._end_unclaimed(message, {**_failed(reason), "resendable": True}, now_ms=now_ms)
        except SendingBrokeOff as broken_off:
            self._end(message, _held(broken_off.claim), _failed(if_sending), now_ms=now_ms)

    def note_fault(self, message: NotificationMessage, fault: Failure, *, now_ms: int) -> None:
        """Keep the reason of a failed try. Raises `Superseded` where it is sent or being sent."""
        values = {
            "state": NotificationState.PENDING,
            "last_error": {"code": fault.code, "message": fault.message},
        }
        self._end(message, _unclaimed(), values, now_ms=now_ms)

    def last_fault(self, message: NotificationMessage) -> Failure | None:
        """The reason of the last try that failed, if one is known."""
        with translated():
            answer = self.table.get_item(
                Key={"notification_id": message.notification_id}, ConsistentRead=True
            )
        fault: Any = answer.get("Item", {}).get("last_error")
        return None if fault is None else Failure(code=fault["code"], message=fault["message"])

    def _end_unclaimed(
        self, message: NotificationMessage, values: Mapping[str, Any], *, now_ms: int
    ) -> None:
        try:
            self._write(message, _unclaimed(), values, now_ms=now_ms)
        except _Refused as refused:
            raise _held_or_over(message, refused.row or {}, now_ms) from None

    def _end(
        self,
        message: NotificationMessage,
        condition: ConditionBase,
        values: Mapping[str, Any],
        *,
        now_ms: int,
    ) -> None:
        try:
            self._write(message, condition, values, now_ms=now_ms)
        except _Refused as refused:
            raise _over(message, refused.row or {}) from None

    def _write(
        self,
        message: NotificationMessage,
        condition: ConditionBase,
        values: Mapping[str, Any],
        *,
        now_ms: int,
        new_attempt: bool = False,
    ) -> dict[str, Any]:
        expression = UpdateExpression(
            {
                "tracking_id": message.tracking_id,
                "change_seq": message.change_seq,
                "parcel_status": message.status,
                "updated_at_ms": now_ms,
                "expires_at": now_ms // 1000 + _KEPT_SECONDS,
                **values,
            },
            [] if "resendable" in values else ["resendable"],
        )
        text, counted = expression.text, dict(expression.values)
        if new_attempt:
            text, counted[":one"] = f"{text} ADD attempt :one", 1
        with translated():
            try:
                answer = self.table.update_item(
                    Key={"notification_id": message.notification_id},
                    UpdateExpression=text,
                    ConditionExpression=condition,
                    ExpressionAttributeNames=expression.names,
                    ExpressionAttributeValues=counted,
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    raise _Refused(row_in_error(error.response.get("Item"))) from None
                raise
        return answer["Attributes"]


def _unclaimed() -> ConditionBase:
    return (
        Attr("notification_id").not_exists()
        | Attr("state").eq(NotificationState.PENDING)
        | (Attr("state").eq(NotificationState.FAILED) & Attr("resendable").eq(value=True))
    )


def _held(claim: Claim) -> ConditionBase:
    return Attr("state").eq(NotificationState.SENDING) & Attr("attempt").eq(claim.attempt)


def _failed(reason: Failure) -> dict[str, Any]:
    return {
        "state": NotificationState.FAILED,
        "reason": reason.code,
        "last_error": {"code": reason.code, "message": reason.message},
    }


def _held_or_over(message: NotificationMessage, row: Mapping[str, Any], now_ms: int) -> Exception:
    """Why a notification cannot be begun."""
    if row.get("state") != NotificationState.SENDING:
        return _over(message, row)
    if int(row["lease_until_ms"]) >= now_ms:
        # Also where this message is a copy: whoever sends has another one.
        return NotificationInProgress(message.notification_id)
    return SendingBrokeOff(
        Claim(notification_id=message.notification_id, attempt=int(row["attempt"]))
    )


def _over(message: NotificationMessage, row: Mapping[str, Any]) -> Superseded:
    return Superseded(f"notification {message.notification_id!r} is {row.get('state', 'gone')}")
