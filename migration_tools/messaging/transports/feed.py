"""The feed transport: the consumer asks the owner's HTTP endpoint for what follows its position."""

import httpx2

from migration_tools.errors import TransferError, TransportError
from migration_tools.messaging.batch import Batch

CONNECT_SECONDS = 3.0


class HttpFeed:
    """Reads one stream over HTTP with a bearer token, for a group of handlers if named; keeps one connection alive."""

    def __init__(self, stream: str, *, url: str, token: str, group: str = ""):
        self.stream = stream
        self._group = {"group": group} if group else {}
        self.url = url.rstrip("/") + f"/{stream}/"
        self._client = httpx2.Client(headers={"Authorization": f"Bearer {token}"}, trust_env=False)

    def peek(self, after: int) -> Batch:
        """What follows a position, without a receipt: to see whether it can be served; raises as `fetch` does."""
        return self._get({"after": after, "limit": 1, "peek": 1}, 0)

    def fetch(self, *, after: int, limit: int, wait_seconds: float) -> Batch:
        """See messaging.consumer.Feed.

        Raises:
            TransportError: no answer, a refused token, or nonsense.
            TransferError: the owner says that the position cannot be served.
        """
        return self._get({"after": after, "limit": limit, "wait": wait_seconds}, wait_seconds)

    def _get(self, params: dict[str, float], wait_seconds: float) -> Batch:
        timeout = httpx2.Timeout(wait_seconds + 10.0, connect=CONNECT_SECONDS)
        try:
            answer = self._client.get(self.url, params={**params, **self._group}, timeout=timeout)
        except httpx2.HTTPError as error:
            raise TransportError(
                f"feed {self.url} does not answer ({type(error).__name__}); is the owning side up?"
            ) from error
        if answer.status_code == 409:
            raise TransferError(str(answer.json().get("detail", "the feed refused the position")))
        if answer.status_code in {401, 403}:
            raise TransportError(f"feed {self.url} refused our token; compare FEEDS here with FEED_TOKENS there")
        if answer.status_code != 200:
            raise TransportError(f"feed {self.url} answered {answer.status_code}; see the owning side's log")
        try:
            return Batch.from_json(answer.content)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise TransportError(f"feed {self.url} answered something that is not a batch") from error

    def origin(self) -> str:
        """The name of the side that owns this feed."""
        return self.fetch(after=0, limit=0, wait_seconds=0).origin
