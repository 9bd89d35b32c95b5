"""Requests to one Elasticsearch or OpenSearch, and what it says when it refuses, without the values that it quotes."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import httpx2

from migration_tools.errors import StoreAway, StoreError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0
# It is there and will take the same later: too busy, or without the shards that it needs.
PASSING = {429, 502, 503, 504}
CONFLICT = "version_conflict_engine_exception"
EXISTS = "resource_already_exists_exception"

_TYPE = re.compile(r"[a-z][a-z_]*\Z")
_FIELD = re.compile(r"field \[([^\]]+)\]")


class Cluster:
    """One Elasticsearch or OpenSearch by URL: `http(s)://user:password@host:port`, a path before the indexes if any.

    User and password go into a header, so they stand in no message, log or trace.
    """

    def __init__(self, url: str):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise StoreError("the URL of an Elasticsearch store must be http(s)://user:password@host:port")
        place = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
        user = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
        self._client = httpx2.Client(
            base_url=place,
            auth=user,
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,
        )

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str | int] | None = None,
        expecting: Collection[int] = (),
    ) -> tuple[int, Any]:
        """Status and document of an answer; statuses from 400 only where they are expected.

        A body that is text is sent as lines of JSON, any other as JSON.

        Raises:
            StoreAway: it does not answer, or not now.
            StoreError: it refuses.
        """
        lines = isinstance(body, str)
        content = body if lines or body is None else json.dumps(body, ensure_ascii=False)
        headers = {"Content-Type": "application/x-ndjson" if lines else "application/json"}
        try:
            answer = self._client.request(
                method, path, content=None if content is None else content.encode(), params=params, headers=headers
            )
        except httpx2.HTTPError as error:
            raise StoreAway(
                f"Elasticsearch does not answer ({type(error).__name__}); start it, then run the same command again"
            ) from error
        if answer.status_code in PASSING:
            raise StoreAway(
                f"Elasticsearch cannot answer now (status {answer.status_code}); run the same command again"
            )
        try:
            document = answer.json() if answer.content else {}
        except ValueError as error:
            raise StoreError(f"what answers with status {answer.status_code} is no Elasticsearch: no JSON") from error
        if answer.status_code >= 300 and answer.status_code not in expecting:
            raise StoreError(f"Elasticsearch refused: {described(answer.status_code, document)}")
        return answer.status_code, document

    def make(self, index: str, body: Mapping[str, Any]) -> bool:
        """Make an index; False when there is one of that name."""
        status, answer = self.ask("HEAD", f"/{escaped(index)}", expecting={404})
        if status != 404:
            return False
        status, answer = self.ask("PUT", f"/{escaped(index)}", body, expecting={400})
        if status == 400 and answer.get("error", {}).get("type") != EXISTS:
            raise StoreError(f"Elasticsearch refused the index {index!r}: {described(status, answer)}")
        return status != 400

    def search(self, index: str, body: Mapping[str, Any]) -> Any:
        """The answer of a whole search: one that some shards did not take part in would be rows that are missing.

        Raises:
            StoreError: as `ask`, or a part of the index did not answer.
        """
        _, found = self.ask("POST", f"/{index}/_search", body, params={"allow_partial_search_results": "false"})
        return _whole(found)

    def refresh(self, index: str) -> None:
        """Let searches see all that was written."""
        _whole(self.ask("POST", f"/{index}/_refresh")[1])


def escaped(name: str) -> str:
    """A name of index, alias or document in a path."""
    return quote(name, safe="")


def described(status: int, document: Any, columns: Iterable[str] = ()) -> str:
    """An error by status, type and, where it names one of the columns, that; its reason quotes values of rows."""
    error = document.get("error") if isinstance(document, dict) else None
    kind = error.get("type") if isinstance(error, dict) else None
    named = _FIELD.search(str(error.get("reason"))) if isinstance(error, dict) else None
    where = f" at column {named[1]!r}" if named and named[1] in set(columns) else ""
    hint = "; see the user in the store's URL" if status in (401, 403) else ""
    return f"{status} {kind if _TYPE.match(str(kind)) else ''}".rstrip() + where + hint


def _whole(answer: Any) -> Any:
    if answer.get("timed_out") or answer.get("_shards", {}).get("failed"):
        raise StoreAway("a part of the index did not answer Elasticsearch; run the same command again")
    return answer
