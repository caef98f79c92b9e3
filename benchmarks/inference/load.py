"""Clients that send one photo after the other, each waiting for its answer."""

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

_BOUNDARY = "darkroom-benchmark"
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Slice:
    """What one contender did in one round.

    Attributes:
        wall_seconds: From the first request to the last answer.
        cpu_seconds: User and system time of all its processes.
        latencies_ms: Of each photo.
    """

    wall_seconds: float
    cpu_seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def images_a_second(self) -> float:
        """Throughput."""
        return len(self.latencies_ms) / self.wall_seconds

    @property
    def cpu_ms_an_image(self) -> float:
        """Cost."""
        return self.cpu_seconds * 1000 / len(self.latencies_ms)


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a server listens, and whether it takes a form with the photo in the field image."""

    port: int
    path: str
    form: bool


def ask(address: Address, photos: Mapping[str, bytes]) -> dict[str, Any]:
    """What a server says of each photo, one after the other.

    Raises:
        ConnectionError: It is not there.
        ValueError: It answered with an error.
    """
    headers, bodies = _requests(address, photos)
    with closing(_connection(address)) as connection:
        return {
            name: json.loads(_post(connection, address, headers, body))
            for name, body in zip(photos, bodies, strict=True)
        }


def send(
    address: Address, photos: Mapping[str, bytes], *, concurrency: int, seconds: float
) -> Slice:
    """Keep as many requests open at a time, for so long; the CPU time is left to the caller."""
    headers, bodies = _requests(address, photos)

    def client(number: int) -> list[float]:
        latencies_ms: list[float] = []
        # Each begins elsewhere, so that the photos come mixed.
        own: Iterator[bytes] = islice(cycle(bodies), number, None)
        with closing(_connection(address)) as connection:
            while time.perf_counter() < until:
                before = time.perf_counter()
                _post(connection, address, headers, next(own))
                latencies_ms.append((time.perf_counter() - before) * 1000)
        return latencies_ms

    started = time.perf_counter()
    until = started + seconds
    with ThreadPoolExecutor(concurrency) as clients:
        found = list(clients.map(client, range(concurrency)))
    return Slice(
        wall_seconds=time.perf_counter() - started,
        latencies_ms=[latency for latencies in found for latency in latencies],
    )


def form_of(body: bytes) -> bytes:
    """A photo as multipart/form-data, in the field ``image``."""
    return (
        (
            f"--{_BOUNDARY}\r\n"
            'Content-Disposition: form-data; name="image"; filename="photo.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        ).encode()
        + body
        + f"\r\n--{_BOUNDARY}--\r\n".encode()
    )


def _requests(address: Address, photos: Mapping[str, bytes]) -> tuple[dict[str, str], list[bytes]]:
    if not address.form:
        return {"Content-Type": "image/jpeg"}, list(photos.values())
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    return headers, [form_of(body) for body in photos.values()]


def _connection(address: Address) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", address.port, timeout=_TIMEOUT_SECONDS)


def _post(
    connection: http.client.HTTPConnection,
    address: Address,
    headers: Mapping[str, str],
    body: bytes,
) -> bytes:
    connection.request("POST", address.path, body=body, headers=headers)
    response = connection.getresponse()
    answer = response.read()
    if response.status != 200:
        raise ValueError(f"{address.path}: {response.status}: {answer[:300]!r}")
    return answer
