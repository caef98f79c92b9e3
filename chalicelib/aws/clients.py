"""One boto3 client a service, made when it is first needed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import ServiceUnavailable
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient

# What every stack of the local AWS belongs to.
LOCAL_REGION = "us-east-1"
LOCAL_ENDPOINT_URL = "http://127.0.0.1:4566"
LOCAL_ACCESS_KEY = "test"
_QUICK = Config(retries={"mode": "standard", "max_attempts": 2}, connect_timeout=1, read_timeout=2)


class Clients:
    """The AWS clients of one process.

    On the local stage they speak to the local AWS with its own made-up
    credentials, whatever the environment holds: a laptop's real account must
    not be reachable from there.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def s3(self) -> "S3Client":
        """S3, signing with version 4, without which a presigned POST has no policy to enforce."""
        client: S3Client = self._client("s3")
        return client

    @cached_property
    def accelerated_s3(self) -> "S3Client":
        """S3 at the nearest edge, for the links of a bucket that is set up for it."""
        options = Config(s3={"use_accelerate_endpoint": True})
        client: S3Client = self._client("s3", config=self._options["config"].merge(options))
        return client

    @cached_property
    def sqs(self) -> "SQSClient":
        """SQS."""
        client: SQSClient = self._client("sqs")
        return client

    @cached_property
    def ssm(self) -> "SSMClient":
        """SSM."""
        client: SSMClient = self._client("ssm")
        return client

    @cached_property
    def quick_ssm(self) -> "SSMClient":
        """SSM for what there is a substitute for: nobody waits long for it."""
        client: SSMClient = self._client("ssm", config=_QUICK)
        return client

    @cached_property
    def events(self) -> "EventBridgeClient":
        """EventBridge."""
        client: EventBridgeClient = self._client("events")
        return client

    @cached_property
    def sns(self) -> "SNSClient":
        """SNS, twice a call: a stream's batch waits behind it, and comes again anyway."""
        client: SNSClient = self._client(
            "sns",
            config=Config(
                retries={"mode": "standard", "total_max_attempts": 2},
                connect_timeout=3,
                read_timeout=5,
            ),
        )
        return client

    @cached_property
    def ses(self) -> "SESV2Client":
        """SES, once a call: a repeated call may be a second e-mail."""
        client: SESV2Client = self._client(
            "sesv2",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=3, read_timeout=20),
        )
        return client

    def table(self, name: str) -> "Table":
        """A DynamoDB table."""
        table: Table = self._dynamodb.Table(name)
        return table

    def quick_table(self, name: str) -> "Table":
        """A DynamoDB table for what there is a substitute for: nobody waits long for it."""
        options = {**self._options, "config": self._options["config"].merge(_QUICK)}
        table: Table = self._session.resource("dynamodb", **options).Table(name)
        return table

    @cached_property
    def _dynamodb(self) -> Any:
        return self._session.resource("dynamodb", **self._options)

    def _client(self, service: str, **changes: Any) -> Any:
        # Its overloads want a literal name, one for each of 400 services.
        make: Callable[..., Any] = self._session.client
        return make(service, **{**self._options, **changes})

    @cached_property
    def _session(self) -> boto3.session.Session:
        # A function of the local AWS has a session of its own role, as on AWS: where IAM is
        # enforced there, it is what is judged.
        in_function = "AWS_SESSION_TOKEN" in os.environ and "AWS_LAMBDA_FUNCTION_NAME" in os.environ
        if not self._settings.is_local or in_function:
            return boto3.session.Session()
        return boto3.session.Session(
            aws_access_key_id=LOCAL_ACCESS_KEY,
            aws_secret_access_key=LOCAL_ACCESS_KEY,
            region_name=LOCAL_REGION,
        )

    @cached_property
    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "config": Config(
                signature_version="s3v4",
                retries={"mode": "standard", "max_attempts": 4},
                connect_timeout=3,
                read_timeout=20,
            )
        }
        if self._settings.is_local:
            options["endpoint_url"] = self._settings.aws_endpoint_url or LOCAL_ENDPOINT_URL
        else:
            # Otherwise botocore signs links for S3's global address, from which a young bucket
            # outside us-east-1 is a redirect: no browser follows that with an upload.
            regional = Config(s3={"addressing_style": "virtual"})
            options["config"] = options["config"].merge(regional)
        return options


def error_code(error: ClientError) -> str:
    """AWS's own name of what went wrong."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def translated() -> Iterator[None]:
    """Turn whatever the SDK raises in the block into our own error.

    Raises:
        ServiceUnavailable: The call failed, after the SDK's own retries.
    """
    try:
        yield
    except ClientError as error:
        raise ServiceUnavailable(f"{error.operation_name}: {error_code(error)}: {error}") from error
    except BotoCoreError as error:
        raise ServiceUnavailable(f"{type(error).__name__}: {error}") from error
