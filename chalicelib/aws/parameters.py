"""SSM parameters."""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.aws.clients import error_code, translated

if TYPE_CHECKING:
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
