"""Keep another service's data in a local table by asking for it now and then: what is read says how old it is."""

import datetime as dt
import json
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

import httpx2
from django.db import connections, transaction

from migration_tools.conf import settings
from migration_tools.errors import ReplicationError
from migration_tools.replication.asking import Unanswered, client
from migration_tools.stores.postgres.patience import waited_for

LONGEST_PAUSE_SECONDS = 600.0
IDLE_SECONDS = 0.5

_PLACE: LiteralString = """
    INSERT INTO strangle_poll AS p (name, etag, last_modified, cursor, failures, next_at)
    VALUES (%s, '', '', '', 0, now()) ON CONFLICT (name) DO UPDATE SET name = p.name
    RETURNING etag, last_modified, cursor, failures"""
_ANSWERED: LiteralString = """
    UPDATE strangle_poll SET etag = %(etag)s, last_modified = %(last_modified)s, cursor = %(cursor)s, failures = 0,
        answered_at = now(), changed_at = CASE WHEN %(changed)s THEN now() ELSE changed_at END,
        next_at = now() + make_interval(secs => %(pause)s) WHERE name = %(name)s"""
_FAILED: LiteralString = """
    UPDATE strangle_poll SET failures = failures + 1, next_at = now() + make_interval(secs => %s) WHERE name = %s"""
_PUT: LiteralString = """
    INSERT INTO strangle_polled AS p (poll, key, document)
    SELECT %(poll)s, d ->> 'key', d -> 'document' FROM jsonb_array_elements(%(documents)s::jsonb) d
    ON CONFLICT (poll, key) DO UPDATE SET document = EXCLUDED.document
    WHERE p.document IS DISTINCT FROM EXCLUDED.document"""
_DROP: LiteralString = "DELETE FROM strangle_polled WHERE poll = %s AND NOT key = ANY (%s)"


@dataclass(frozen=True, kw_only=True)
class Poll:
    """An address that is asked every `every_seconds`, give or take `jitter` of it, so that clients do not ask in step.

    The answer is a list of rows (or a page of DRF's), kept by `key`. Without `since` each answer is everything. With
    it only rows whose member `since` is newer than the newest one kept are asked for, by `?updated_since=`; deletions
    then do not show.
    """

    name: str
    service: str
    path: str
    every_seconds: float
    jitter: float = 0.2
    key: str = "id"
    since: str = ""

    def __post_init__(self) -> None:
        if self.every_seconds <= 0 or not 0 <= self.jitter < 1:
            raise ReplicationError(
                f"poll {self.name!r} has every_seconds {self.every_seconds!r} and jitter {self.jitter!r}; "
                "give a number of seconds above 0, and a share from 0 to below 1"
            )
        polls[self.name] = self


#: Every declared poll by name.
polls: dict[str, Poll] = {}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is kept: documents by key, and how long ago the service said that this is how it is; None: it never did."""

    documents: Mapping[str, Any]
    age_seconds: float | None

    def headers(self) -> dict[str, str]:
        """The Age header of an answer that is made of it."""
        return {} if self.age_seconds is None else {"Age": str(int(self.age_seconds))}


def read(poll: Poll, keys: Iterable[object] | None = None) -> Reading:
    """What is kept of a poll, or of some keys; asks nobody."""
    wanted = None if keys is None else [str(key) for key in keys]
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(
            "SELECT key, document::text FROM strangle_polled WHERE poll = %(name)s"
            " AND (%(all)s OR key = ANY (%(keys)s))",
            {"name": poll.name, "all": wanted is None, "keys": wanted or []},
        )
        documents = {key: json.loads(document) for key, document in cursor.fetchall()}
        cursor.execute(
            "SELECT extract(epoch FROM now() - answered_at)::float8 FROM strangle_poll WHERE name = %s", [poll.name]
        )
        found = cursor.fetchone()
    return Reading(documents=documents, age_seconds=found[0] if found else None)


def ask(poll: Poll) -> bool:
    """Ask now; whether anything changed. Rows and validators change in one transaction; a failure leaves all as it is.

    Raises:
        Unanswered: the service did not answer; it is asked again after a pause that grows.
        ReplicationError: it answered nonsense, or refused.
    """
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(_PLACE, [poll.name])
        etag, last_modified, since, failures = cursor.fetchone()
    headers = {name: value for name, value in (("If-None-Match", etag), ("If-Modified-Since", last_modified)) if value}
    params = {"updated_since": since} if poll.since and since else {}
    try:
        answer = _get(poll, params, headers)
    except ReplicationError:
        pause = min(poll.every_seconds * 2 ** min(failures, 20), LONGEST_PAUSE_SECONDS)
        with connections[settings().DATABASE].cursor() as cursor:
            cursor.execute(_FAILED, [_with_jitter(pause, poll.jitter), poll.name])
        raise
    rows = None if answer.status_code == 304 else _rows(poll, answer)
    with transaction.atomic(using=settings().DATABASE), connections[settings().DATABASE].cursor() as cursor:
        changed = rows is not None and _keep(cursor, poll, rows)
        cursor.execute(
            _ANSWERED,
            {
                "name": poll.name,
                "etag": etag if rows is None else answer.headers.get("ETag", ""),
                "last_modified": last_modified if rows is None else answer.headers.get("Last-Modified", ""),
                "cursor": _newest(poll, rows or [], since),
                "changed": changed,
                "pause": _with_jitter(poll.every_seconds, poll.jitter),
            },
        )
    return changed


def due() -> list[Poll]:
    """The declared polls whose time has come."""
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute("SELECT name FROM strangle_poll WHERE next_at > now()")
        waiting = {name for (name,) in cursor.fetchall()}
    return [poll for poll in polls.values() if poll.name not in waiting]


def ask_due(tell: Callable[[str], object]) -> None:
    """Ask whatever is due, each in its turn; `tell` hears of those that were not answered."""
    for poll in due():
        try:
            ask(poll)
        except ReplicationError as error:
            tell(str(error))


def run(stop: threading.Event, tell: Callable[[str], object]) -> None:
    """Ask what is due until told to stop; a database that is away is waited for."""
    while not stop.is_set():
        with waited_for(settings().DATABASE, stop, "polls"):
            ask_due(tell)
            stop.wait(IDLE_SECONDS)


def _get(poll: Poll, params: Mapping[str, str], headers: Mapping[str, str]) -> httpx2.Response:
    with client(poll.service) as asked:
        try:
            answer = asked.get(poll.path, params=dict(params), headers=dict(headers))
        except httpx2.HTTPError as error:
            raise Unanswered(
                f"poll {poll.name!r}: service {poll.service!r} does not answer ({type(error).__name__})"
            ) from error
    if answer.status_code >= 500 or answer.status_code == 429:
        raise Unanswered(f"poll {poll.name!r}: service {poll.service!r} answered {answer.status_code}")
    if answer.status_code not in (200, 304):
        raise ReplicationError(f"poll {poll.name!r}: service {poll.service!r} refused it with {answer.status_code}")
    return answer


def _rows(poll: Poll, answer: httpx2.Response) -> list[dict[str, Any]]:
    try:
        document = answer.json()
        rows = document["results"] if isinstance(document, dict) else document
        return [{"key": str(row[poll.key]), "document": row} for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise ReplicationError(
            f"poll {poll.name!r}: service {poll.service!r} answered what is no list of rows with {poll.key!r}"
        ) from error


def _keep(cursor: Any, poll: Poll, rows: list[dict[str, Any]]) -> bool:
    cursor.execute(_PUT, {"poll": poll.name, "documents": json.dumps(rows)})
    changed = cursor.rowcount
    if not poll.since:
        cursor.execute(_DROP, [poll.name, [row["key"] for row in rows]])
        changed += cursor.rowcount
    return bool(changed)


def _newest(poll: Poll, rows: list[dict[str, Any]], since: str) -> str:
    """The newest moment seen; compared as moments, since texts of one moment differ."""
    moments = [str(row["document"].get(poll.since, "")) for row in rows] if poll.since else []
    return max([since, *moments], key=lambda text: dt.datetime.fromisoformat(text) if text else _FIRST)


_FIRST = dt.datetime(1, 1, 1, tzinfo=dt.UTC)


def _with_jitter(seconds: float, jitter: float) -> float:
    return seconds * random.uniform(1 - jitter, 1 + jitter)  # noqa: S311  (no secret)
