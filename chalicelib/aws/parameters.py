"""SSM parameters."""

import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import ClientError

from chalicelib import telemetry
from chalicelib.aws.clients import error_code, translated
from chalicelib.errors import ModelError, ServiceUnavailable

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.parameters import SSMProvider
    from mypy_boto3_ssm import SSMClient

# How many earlier values a new process goes back through to find one that can be used.
_EARLIER_VALUES = 10


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

    def known(self) -> T:
        """The value in force, for whoever would lose something by acting on the default.

        Raises:
            ServiceUnavailable: SSM has not answered in this process yet.
        """
        value = self.value()
        if self._text is None:
            raise ServiceUnavailable(f"{self._name} was never read")
        return value

    def _take(self, text: str) -> None:
        try:
            self._value = msgspec.json.decode(text, type=self._schema)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            telemetry.logger().error("%s: refused: %s", self._name, error)
            telemetry.count("parameters", ParameterRejected=1)


@dataclass(kw_only=True)
class WatchedParameter[T]:
    """A parameter that is read again now and then, so that a change needs no deployment.

    A value that cannot be used never takes effect: the last good one stays, and a new process
    takes the latest good one of the parameter's history. The SDK of powertools keeps a value
    for some time too, but has none left once that time is over and SSM is down.

    Args:
        ssm: The client, None where no parameter is set up.
        name: Of the parameter.
        parse: Reads a value; raises `ModelError` for one that cannot be used.
        default: Counts where there is no such parameter.
        seconds: After how long it is read again.
        now: A clock that never goes back, in seconds.
    """

    ssm: "SSMClient | None"
    name: str
    parse: Callable[[str], T]
    default: T
    seconds: float
    now: Callable[[], float] = time.monotonic
    _known: T | None = field(default=None, init=False)
    _read_at: float = field(default=0.0, init=False)

    def value(self) -> T:
        """The last good value.

        Raises:
            ServiceUnavailable: SSM, or what a value is checked against, does not answer, and
                never has in this process.
        """
        if self._known is not None and self.now() - self._read_at < self.seconds:
            return self._known
        try:
            self._known = self._current()
        except ServiceUnavailable as error:
            if self._known is None:
                raise
            telemetry.logger().warning("%s: the last value is kept: %s", self.name, error)
        self._read_at = self.now()
        return self._known

    def _current(self) -> T:
        found = self._version(None)
        if found is None:
            return self.default
        text, latest = found
        try:
            return self.parse(text)
        except ModelError as error:
            telemetry.logger().error("%s: the value is not used: %s", self.name, error)
            telemetry.count("models", ModelChoiceRejected=1)
        return self._known if self._known is not None else self._earlier(latest)

    def _earlier(self, latest: int) -> T:
        for version in range(latest - 1, max(latest - 1 - _EARLIER_VALUES, 0), -1):
            found = self._version(version)
            if found is None:
                break
            try:
                return self.parse(found[0])
            except ModelError:
                continue
        return self.default

    def _version(self, version: int | None) -> tuple[str, int] | None:
        """A value of the parameter and its number; None where there is none."""
        if self.ssm is None:
            return None
        name = self.name if version is None else f"{self.name}:{version}"
        with translated():
            try:
                parameter = self.ssm.get_parameter(Name=name)["Parameter"]
            except ClientError as error:
                if error_code(error) in {"ParameterNotFound", "ParameterVersionNotFound"}:
                    return None
                raise
        return parameter["Value"], parameter["Version"]
