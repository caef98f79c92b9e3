"""Page cursors: opaque, signed, and bound to the query that they were given out for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from itsdangerous import BadData, URLSafeSerializer

from chalicelib.errors import InvalidCursor


@dataclass(frozen=True, kw_only=True)
class Cursors:
    """Seals and opens cursors.

    Args:
        secret: Gives the secret; asked once, when the first cursor is needed.
    """

    secret: Callable[[], str]

    def seal(self, query: str, place: str) -> str:
        """A cursor to a place in the list that a query makes."""
        return str(self._serializer.dumps([query, place]))

    def open(self, query: str, cursor: str) -> str:
        """The place that a cursor leads to.

        Raises:
            InvalidCursor: It was altered, or was given out for another query.
        """
        try:
            _, place = self._serializer.loads(cursor)
        except (BadData, ValueError, TypeError):
            raise InvalidCursor from None
        # The signature alone does not do: base64 has room for changes that decode to the same.
        if self.seal(query, place) != cursor:
            raise InvalidCursor
        return str(place)

    @cached_property
    def _serializer(self) -> URLSafeSerializer:
        return URLSafeSerializer(self.secret(), salt="cursor")
