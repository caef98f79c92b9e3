"""The API as the commands use it: retries where they do no harm, errors as sentences."""

import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from darkroom_cli.problems import Refused, Unreachable

_TRIES = 5
_LONGEST_WAIT_SECONDS = 30.0
_SAFE = {"GET", "DELETE"}
# 409 is asked again only where the first request with the key is still being answered.
_BUSY = {429, 502, 503, 504}


class Service:
    """A service of Darkroom.

    Args:
        client: With the API's address, and what signs.
        storage: For uploads, which go to the bucket and carry no signature of ours.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        storage: httpx.Client,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._storage = storage
        self._sleep = sleep

    @property
    def url(self) -> str:
        """Where the API is."""
        return str(self._client.base_url).rstrip("/")

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """What a path shows; parameters that are None are left out."""
        return self._json(self._asked("GET", path, params=params))

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        """Send something; repeated after a broken connection only with a key."""
        return self._json(self._asked("POST", path, params=params, body=body, key=idempotency_key))

    def delete(self, path: str) -> None:
        """Remove something; what is gone already counts as removed by an earlier try."""
        self._asked("DELETE", path)

    def upload(self, form: Mapping[str, Any], name: str, file: Any) -> None:
        """Send a file through a presigned form, straight to the bucket.

        Raises:
            Refused: The bucket's policy does not take it; ``upload_refused`` where the link is
                of no use any more.
            Unreachable: The bucket does not answer.
        """
        for attempt in range(1, _TRIES + 1):
            file.seek(0)
            answer: httpx.Response | None = None
            try:
                answer = self._storage.post(
                    form["url"], data=form["fields"], files={"file": (name, file)}
                )
            except httpx.TransportError as error:
                reason = _words(error)
            else:
                if answer.is_success:
                    return
                _check_upload(name, answer)
                reason = f"it answers {answer.status_code}"
            if attempt < _TRIES:
                self._wait(attempt, answer)
        raise Unreachable(f"The bucket did not take {name}: {reason}.")

    def _asked(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> httpx.Response:
        given = {name: value for name, value in (params or {}).items() if value is not None}
        headers = {} if key is None else {"Idempotency-Key": key}
        for attempt in range(1, _TRIES + 1):
            try:
                answer = self._client.request(
                    method, path, params=given or None, json=body, headers=headers
                )
            except httpx.TransportError as error:
                # Whether it arrived is not known, unless there never was a connection.
                repeatable = method in _SAFE or key is not None
                if not repeatable and not isinstance(error, httpx.ConnectError):
                    raise self._unreachable(error) from None
                if attempt == _TRIES:
                    raise self._unreachable(error) from None
                self._wait(attempt, None)
                continue
            busy = answer.status_code in _BUSY or _code(answer) == "idempotency_in_progress"
            # A quota may be used up for hours: to ask again in half a minute is of no use.
            spent = (
                _code(answer) == "quota_exceeded" and _asked_seconds(answer) > _LONGEST_WAIT_SECONDS
            )
            if spent or not busy:
                if answer.is_success:
                    return answer
                raise Refused(_sentence(answer), code=_code(answer))
            if attempt < _TRIES:
                self._wait(attempt, answer)
        raise Unreachable(f"{self.url} is busy or down, after {_TRIES} tries: {_sentence(answer)}")

    def _wait(self, attempt: int, answer: httpx.Response | None) -> None:
        """As long as the service asks for, or else twice as long each time; never in step."""
        asked = 0.0 if answer is None else _asked_seconds(answer)
        seconds = asked or 0.25 * 2**attempt
        jitter = random.uniform(0, 0.25)  # noqa: S311  # no secret
        self._sleep(min(seconds, _LONGEST_WAIT_SECONDS) + jitter)

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            result = answer.json()
        except ValueError:
            result = None
        if not isinstance(result, dict):
            raise Unreachable(f"{self.url} does not answer as Darkroom does; check the URL.")
        return result

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        return Unreachable(
            f"Nothing answers at {self.url} ({_words(error)}); is the service running (make run)?"
        )


def _asked_seconds(answer: httpx.Response) -> float:
    """How long the service asks to wait; 0 where it does not say."""
    asked = answer.headers.get("Retry-After", "")
    return float(asked) if asked.isascii() and asked.isdecimal() else 0.0


def _check_upload(name: str, answer: httpx.Response) -> None:
    """Raise `Refused` where asking again is of no use."""
    if "EntityTooLarge" in answer.text:
        raise Refused(f"{name} is larger than the service takes.", code="image_too_large")
    if answer.status_code < 500 and answer.status_code != 429:
        raise Refused(
            f"The bucket refused {name} with {answer.status_code}.", code="upload_refused"
        )


def _words(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__


def _body(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _code(answer: httpx.Response) -> str | None:
    code = _body(answer).get("code")
    return None if code is None else str(code)


def _sentence(answer: httpx.Response) -> str:
    said = _body(answer)
    # API Gateway's own answers have a ``message``.
    text = said.get("error") or said.get("message")
    return str(text) if text else f"The service answered {answer.status_code}."
