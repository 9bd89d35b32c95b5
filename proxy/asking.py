"""Ask one side what a mirrored reader asked, guarded and within a time; a side that is not guarded is not asked."""

import http.client
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from migration_tools.routing.shadow.comparison import Answer
from migration_tools.routing.shadow.guard import PROBE, SHADOW_HEADER, WROTE_HEADER
from proxy.options import Address

BODY_BYTES_MOST = 1_000_000
PROBE_SECONDS = 5.0
_CHUNK_BYTES = 65_536
# What belongs to a connection, asks for half an answer, or poses as the toolkit or the proxy.
_CONNECTION = ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "expect")
_NOT_PASSED_ON = frozenset({*_CONNECTION, "accept-encoding", "range"})
_NOT_PASSED_ON_PREFIXES = ("x-strangler-", "x-envoy-", "x-sx-", "proxy-", "if-")


@dataclass(frozen=True, kw_only=True, repr=False)
class Read:
    """One mirrored request; it has no repr, since its headers are a person's."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]


class Sides:
    """The upstreams as the comparator asks them."""

    def __init__(self, upstreams: Mapping[str, tuple[Address, ...]], *, timeout_seconds: float) -> None:
        self._upstreams = upstreams
        self._timeout = timeout_seconds
        self._lock = threading.Lock()
        self._probed: dict[str, tuple[float, bool]] = {}

    def ask(self, upstream: str, read: Read) -> Answer:
        """One side's answer; an unguarded one (and it is not asked) when the side does not say that it guards.

        The question goes to a probe first: a reader's cookies must not reach what could act upon them.
        """
        if not self._is_guarded(upstream, read):
            return Answer()
        headers = [(k, v) for k, v in read.headers if _passed_on(k)]
        answer = self._send(upstream, read.method, read.target, [*headers, (SHADOW_HEADER, "1")])
        if not answer.guarded and not answer.failure:
            with self._lock:
                self._probed[upstream] = (time.monotonic(), False)
        return answer

    def _is_guarded(self, upstream: str, read: Read) -> bool:
        with self._lock:
            at, guarded = self._probed.get(upstream, (float("-inf"), False))
        if time.monotonic() - at < PROBE_SECONDS:
            return guarded
        host = [(key, value) for key, value in read.headers if key.lower() == "host"]
        answer = self._send(upstream, "GET", read.target.partition("?")[0], [*host, (SHADOW_HEADER, PROBE)])
        if not answer.failure:
            with self._lock:
                self._probed[upstream] = (time.monotonic(), answer.guarded)
        # A side that is away is asked all the same, and found away: nothing can be changed there.
        return answer.guarded or bool(answer.failure)

    def _send(self, upstream: str, method: str, target: str, headers: list[tuple[str, str]]) -> Answer:
        address = random.choice(self._upstreams[upstream])  # noqa: S311
        deadline = time.monotonic() + self._timeout
        connection = http.client.HTTPConnection(address.host, address.port, timeout=self._timeout)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for key, value in headers:
                connection.putheader(key, value)
            connection.putheader("accept-encoding", "identity")
            connection.putheader("connection", "close")
            connection.endheaders()
            response = connection.getresponse()
            body, truncated = self._read_body(connection, response, deadline)
        except TimeoutError:
            return Answer(failure="too_slow")
        except (OSError, http.client.HTTPException, ValueError):
            return Answer(failure="failed")
        finally:
            connection.close()
        return Answer(
            status=response.status,
            content_type=response.headers.get("content-type", ""),
            location=response.headers.get("location", ""),
            body=body,
            truncated=truncated,
            guarded=response.headers.get(SHADOW_HEADER) == "kept",
            wrote=response.headers.get(WROTE_HEADER, ""),
        )

    def _read_body(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline: float
    ) -> tuple[bytes, bool]:
        parts: list[bytes] = []
        size = 0
        while size <= BODY_BYTES_MOST:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if connection.sock is not None:
                connection.sock.settimeout(left)
            chunk = response.read1(_CHUNK_BYTES)
            if not chunk:
                return b"".join(parts), False
            parts.append(chunk)
            size += len(chunk)
        return b"".join(parts), True


def _passed_on(key: str) -> bool:
    name = key.lower()
    return name not in _NOT_PASSED_ON and not name.startswith(_NOT_PASSED_ON_PREFIXES)
