"""An SNS topic that events are published to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib.aws.clients import translated

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


@dataclass(frozen=True, kw_only=True)
class EventTopic:
    """A topic.

    Args:
        sns: The client.
        arn: Which topic.
    """

    sns: "SNSClient"
    arn: str

    def publish(self, body: str, attributes: Mapping[str, str]) -> None:
        """Publish one event.

        An answer that is lost on the way leaves more than one copy.

        Args:
            body: The event as text.
            attributes: What subscriptions can be filtered by.

        Raises:
            ServiceUnavailable: SNS did not take it, or nobody knows.
        """
        with translated():
            self.sns.publish(
                TopicArn=self.arn,
                Message=body,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value}
                    for name, value in attributes.items()
                },
            )
