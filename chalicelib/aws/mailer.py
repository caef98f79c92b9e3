"""SES: one call, one e-mail, and an honest word on what became of it.

SES has no idempotency token, so a call whose answer is lost must not be repeated: the SDK's own
retries are off for this client (`Clients.ses`), and the queue tries again where that is safe.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ProxyConnectionError,
)

from chalicelib.aws.clients import error_code
from chalicelib.errors import MailOutcomeUnknown, MailRefused, ServiceUnavailable

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client

# What SES says of an e-mail that it will never take, as opposed to not now or not from us.
_REFUSALS = {"MessageRejected", "BadRequestException"}
# Failures of the SDK before anything of the request can have arrived. A read that timed out and a
# connection that was closed are none of them.
_BEFORE_SENDING = (
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ProxyConnectionError,
)


@dataclass(frozen=True, kw_only=True)
class Mailer:
    """Sends e-mails.

    Args:
        ses: The client, which must not retry by itself.
        configuration_set: The one that tells us of bounces and complaints.
    """

    ses: "SESV2Client"
    configuration_set: str

    def send(self, raw: bytes, *, recipient: str) -> str:
        """Send one e-mail; SES's id of it.

        Args:
            raw: The whole message, RFC 5322; its head names the sender.
            recipient: The one address that it goes to.

        Raises:
            MailRefused: SES does not take this e-mail.
            ServiceUnavailable: SES did not take it now; it may be sent again.
            MailOutcomeUnknown: It may have been taken; it must not be sent again.
        """
        try:
            answer = self.ses.send_email(
                Destination={"ToAddresses": [recipient]},
                Content={"Raw": {"Data": raw}},
                ConfigurationSetName=self.configuration_set,
            )
        # An answer that is an error says that SES did not take the e-mail: it gives a message id
        # for every one that it takes.
        except ClientError as error:
            # Without SES's own words, which name the address.
            detail = f"SendEmail: {error_code(error)}"
            if error_code(error) in _REFUSALS:
                raise MailRefused(detail) from None
            raise ServiceUnavailable(detail) from None
        except _BEFORE_SENDING as error:
            raise ServiceUnavailable(f"SendEmail: {type(error).__name__}") from None
        except BotoCoreError as error:
            raise MailOutcomeUnknown(f"SendEmail: {type(error).__name__}") from None
        return answer["MessageId"]
