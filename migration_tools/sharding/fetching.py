"""The map over HTTP, for processes without its database: `CachedMap(name, fetch=HttpMap(name, url=…, token=…))`."""

import httpx2

from migration_tools.errors import ShardingError
from migration_tools.sharding.mapping import Bucket, ShardMap, Strategy

ANSWER_SECONDS = 5.0


class HttpMap:
    """Asks `url`shard-map/<name>/ and keeps the last answer's version, so that an unchanged map is not sent again."""

    def __init__(self, name: str, *, url: str, token: str):
        self.name = name
        self.url = f"{url.rstrip('/')}/shard-map/{name}/"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._known: ShardMap | None = None

    def __call__(self) -> ShardMap:
        """The map as it is now.

        Raises:
            ShardingError: nobody answered, or nonsense.
        """
        headers = {} if self._known is None else {"If-None-Match": f'"{self._known.version}"'}
        try:
            with httpx2.Client(headers=self._headers, timeout=ANSWER_SECONDS, trust_env=False) as client:
                answer = client.get(self.url, headers=headers)
        except httpx2.HTTPError as error:
            raise ShardingError(f"map {self.url} cannot be had ({type(error).__name__})") from error
        if answer.status_code == 304 and self._known is not None:
            return self._known
        if answer.status_code != 200:
            raise ShardingError(f"map {self.url} cannot be had: the answer is {answer.status_code}")
        document = answer.json()
        self._known = ShardMap(
            name=self.name,
            strategy=Strategy(document["strategy"]),
            version=document["version"],
            buckets=tuple(Bucket(**bucket) for bucket in document["buckets"]),
            between=document.get("between", 0),
        )
        return self._known
