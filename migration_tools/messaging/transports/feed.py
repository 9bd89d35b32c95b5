"""The feed transport: the consumer asks the owner's HTTP endpoint for what follows its position."""

import contextlib
from collections.abc import Iterator, Mapping

import httpx2

from migration_tools.errors import TransferError, TransportError
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.transports.following import Following

CONNECT_SECONDS = 3.0
# How long batches come in one answer; the owner hears where we are when the next one is asked for.
FOLLOW_SECONDS = 0.25
LINES = "application/x-ndjson"


class HttpFeed:
    """Reads one stream over HTTP with a bearer token, for a group of handlers if named; keeps one connection alive."""

    def __init__(self, stream: str, *, url: str, token: str, group: str = ""):
        self.stream = stream
        self._group = {"group": group} if group else {}
        self.url = url.rstrip("/") + f"/{stream}/"
        self._client = httpx2.Client(headers={"Authorization": f"Bearer {token}"}, trust_env=False)
        self._following: Following | None = None

    def peek(self, after: int) -> Batch:
        """What follows a position, without a receipt: to see whether it can be served; raises as `fetch` does."""
        return self._get({"after": after, "limit": 1, "peek": 1}, 0)

    def fetch(self, *, after: int, limit: int, wait_seconds: float, mark: str = "") -> Batch:
        """See messaging.consumer.Feed. Who waits also follows: the next batches come in the same answer, and those that
        have come are given as one, of about `limit` records.

        Raises:
            TransportError: no answer, a refused token, or nonsense.
            TransferError: the owner says that the position cannot be served.
        """
        if self._following is not None:
            batch = self._take(limit) if wait_seconds > 0 else None
            if batch is not None and batch.first == after:
                return batch
            self._leave()
        follow = {"follow": FOLLOW_SECONDS} if wait_seconds > 0 else {}
        known = {"mark": mark} if mark else {}
        return self._get({"after": after, **known, "limit": limit, "wait": wait_seconds, **follow}, wait_seconds)

    def _get(self, params: Mapping[str, float | str], wait_seconds: float) -> Batch:
        timeout = httpx2.Timeout(wait_seconds + 10.0, connect=CONNECT_SECONDS)
        with self._answering():
            request = self._client.build_request("GET", self.url, params={**params, **self._group}, timeout=timeout)
            answer = self._client.send(request, stream=True)
            if answer.status_code == 200 and answer.headers.get("content-type", "").startswith(LINES):
                self._following = Following(answer)
                batch = self._take(int(params["limit"]))
                if batch is None:
                    raise TransportError(f"feed {self.url} broke off")
                return batch
            answer.read()
        if answer.status_code == 409:
            raise TransferError(str(answer.json().get("detail", "the feed refused the position")))
        if answer.status_code in {401, 403}:
            raise TransportError(f"feed {self.url} refused our token; compare FEEDS here with FEED_TOKENS there")
        if answer.status_code != 200:
            raise TransportError(f"feed {self.url} answered {answer.status_code}; see the owning side's log")
        return self._parse(answer.content)

    def _take(self, limit: int) -> Batch | None:
        """The next batches of the answer that is open; None at its end."""
        if self._following is None:
            return None
        with self._answering(), self._reading():
            return self._following.take(limit)

    def _parse(self, body: bytes) -> Batch:
        with self._reading():
            return Batch.from_json(body)

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except httpx2.HTTPError as error:
            self._leave()
            raise TransportError(
                f"feed {self.url} does not answer ({type(error).__name__}); is the owning side up?"
            ) from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, KeyError, TypeError, IndexError) as error:
            self._leave()
            raise TransportError(f"feed {self.url} answered something that is not a batch") from error

    def _leave(self) -> None:
        """Take no more lines of the answer that is open."""
        following, self._following = self._following, None
        if following is not None:
            following.leave()

    def origin(self) -> str:
        """The name of the side that owns this feed."""
        return self.fetch(after=0, limit=0, wait_seconds=0).origin
