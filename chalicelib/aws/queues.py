"""SQS queues by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from chalicelib.aws.clients import translated

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# SQS takes at most this many entries in one batch call.
_BATCH_ENTRIES = 10


@dataclass(frozen=True, kw_only=True)
class Level:
    """How full a queue is, in messages: what waits, and what was received and is worked on."""

    waiting: int
    in_flight: int


@dataclass(frozen=True, kw_only=True)
class Queue:
    """One queue.

    All methods raise `ServiceUnavailable` where SQS does not answer as it should.
    """

    sqs: "SQSClient"
    name: str

    def send(self, body: str, *, delay_seconds: int = 0) -> None:
        """Send one message, to be seen after this delay.

        An answer that is lost on the way leaves more than one copy.
        """
        with translated():
            self.sqs.send_message(QueueUrl=self._url, MessageBody=body, DelaySeconds=delay_seconds)

    def delete(self, receipt_handles: Sequence[str]) -> None:
        """Remove messages that were received and are done with."""
        with translated():
            for start in range(0, len(receipt_handles), _BATCH_ENTRIES):
                handles = receipt_handles[start : start + _BATCH_ENTRIES]
                self.sqs.delete_message_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {"Id": str(number), "ReceiptHandle": handle}
                        for number, handle in enumerate(handles)
                    ],
                )

    def postpone(self, receipt_handle: str, seconds: int) -> None:
        """Show a received message again after this many seconds."""
        with translated():
            self.sqs.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=receipt_handle, VisibilityTimeout=seconds
            )

    def waiting(self) -> int:
        """About how many messages wait to be received."""
        return self.level().waiting

    def level(self) -> Level:
        """About how full it is."""
        with translated():
            answer = self.sqs.get_queue_attributes(
                QueueUrl=self._url,
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesNotVisible",
                ],
            )
        attributes = answer["Attributes"]
        return Level(
            waiting=int(attributes["ApproximateNumberOfMessages"]),
            in_flight=int(attributes["ApproximateNumberOfMessagesNotVisible"]),
        )

    @cached_property
    def _url(self) -> str:
        return self.sqs.get_queue_url(QueueName=self.name)["QueueUrl"]
