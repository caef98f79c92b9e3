"""Links to unsubscribe with: signed, for ever good, and with nobody's address in them.

They come into access logs, so they carry hashes. They have no end, because nobody may be kept from
unsubscribing; whoever has one can do nothing else with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from itsdangerous import BadData, URLSafeSerializer


@dataclass(frozen=True, kw_only=True)
class Subscriber:
    """Who is told of what.

    Attributes:
        address_hash: `chalicelib.addresses.address_hash`.
        parcel_hash: `chalicelib.addresses.parcel_hash`.
    """

    address_hash: str
    parcel_hash: str


@dataclass(frozen=True, kw_only=True)
class UnsubscribeLinks:
    """Makes and reads the tokens of links.

    Args:
        secret: Gives the secret; asked once, when the first token is needed.
    """

    secret: Callable[[], str]

    def token(self, subscriber: Subscriber) -> str:
        """The token that stands for a subscriber."""
        return str(self._serializer.dumps([subscriber.address_hash, subscriber.parcel_hash]))

    def subscriber(self, token: str) -> Subscriber | None:
        """Whom a token stands for; None if we did not make it."""
        try:
            address_hash, parcel_hash = self._serializer.loads(token)
        except (BadData, ValueError, TypeError):
            return None
        return Subscriber(address_hash=str(address_hash), parcel_hash=str(parcel_hash))

    @cached_property
    def _serializer(self) -> URLSafeSerializer:
        return URLSafeSerializer(self.secret(), salt="unsubscribe")
