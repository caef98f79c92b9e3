"""SSM parameters."""

import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import ClientError

from chalicelib import telemetry
from chalicelib.aws.clients import error_code, translated

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.parameters import SSMProvider
    from mypy_boto3_ssm import SSMClient


@dataclass(frozen=True, kw_only=True)
class SecretParameter:
    """A random secret that is made at its first use and kept in SSM, encrypted.

    CloudFormation cannot create a SecureString, and a secret that a person has
    to type in is a step that is forgotten.
    """

    ssm: "SSMClient"
    name: str

    def value(self) -> str:
        """The secret. Two processes that meet at its first use agree on one.

        Raises:
            ServiceUnavailable: SSM does not answer as it should.
        """
        with translated():
            try:
                return self._read()
            except ClientError as error:
                if error_code(error) != "ParameterNotFound":
                    raise
            try:
                self.ssm.put_parameter(
                    Name=self.name,
                    Value=secrets.token_urlsafe(32),
                    Type="SecureString",
                    Description="Signs the page cursors of the API",
                    Overwrite=False,
                )
            except ClientError as error:
                if error_code(error) != "ParameterAlreadyExists":
                    raise
            return self._read()

    def _read(self) -> str:
        return self.ssm.get_parameter(Name=self.name, WithDecryption=True)["Parameter"]["Value"]


class JsonParameter[T]:
    """A JSON parameter that is read now and then, and outlives SSM's bad days.

    The last good value stays in force where SSM does not answer, or where somebody writes what
    cannot be read; before there was one, the default is.

    Args:
        provider: Powertools' reader, which keeps what it read.
        name: Of the parameter.
        schema: A dataclass that says what may stand in it.
        default: Until the first good value.
        max_age_seconds: How long a value is used before it is read again.
        retry_seconds: How long a failed read is not repeated: without it each request would wait.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        *,
        provider: "SSMProvider",
        name: str,
        schema: type[T],
        default: T,
        max_age_seconds: int = 300,
        retry_seconds: int = 30,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        self._name = name
        self._schema = schema
        self._value = default
        self._text: str | None = None
        self._max_age = max_age_seconds
        self._retry = retry_seconds
        self._clock = clock
        self._not_before = -math.inf

    def value(self) -> T:
        """The value in force; never raises for want of SSM or of sense in the parameter."""
        if self._clock() < self._not_before:
            return self._value
        try:
            text = str(self._provider.get(self._name, max_age=self._max_age))
        except GetParameterError as error:
            telemetry.logger().warning("%s: not read: %s", self._name, error)
            telemetry.count("parameters", ParameterUnavailable=1)
            self._not_before = self._clock() + self._retry
            return self._value
        # Powertools gives the same text again until it has read anew.
        if text != self._text:
            self._text = text
            self._take(text)
        return self._value

    def _take(self, text: str) -> None:
        try:
            self._value = msgspec.json.decode(text, type=self._schema)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            telemetry.logger().error("%s: refused: %s", self._name, error)
            telemetry.count("parameters", ParameterRejected=1)
