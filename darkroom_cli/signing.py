"""Signature Version 4 on httpx's requests, as API Gateway asks for with ``AWS_IAM``."""

from collections.abc import Generator
from urllib.parse import quote, urlencode

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

# What the signature covers beside what botocore adds; httpx may change the others on the way.
_SIGNED = ("content-type", "idempotency-key")


class Signed(httpx.Auth):
    """Signs each request, each try anew: a signature is good for five minutes.

    Args:
        credentials: Whose; refreshed by botocore where they expire.
        region: Where the API is.
    """

    requires_request_body = True

    def __init__(self, credentials: Credentials, *, region: str) -> None:
        self._credentials = credentials
        self._region = region

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """The request with its signature."""
        # As the algorithm writes a query: httpx would send + for a space, and AWS checks %20.
        query = urlencode(request.url.params.multi_items(), quote_via=quote, safe="~")
        if query:
            request.url = request.url.copy_with(query=query.encode())
        signed = AWSRequest(
            method=request.method,
            url=str(request.url),
            data=request.content,
            headers={name: request.headers[name] for name in _SIGNED if name in request.headers},
        )
        SigV4Auth(self._credentials.get_frozen_credentials(), "execute-api", self._region).add_auth(
            signed
        )
        request.headers.update(dict(signed.headers.items()))
        yield request
