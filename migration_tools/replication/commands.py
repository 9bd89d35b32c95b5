"""Commands to other services: written with the change that wants them, sent until taken, never twice in effect.

Note [one effect]. A command is a row of the transaction that wants it, so it exists exactly if that one commits. A
sender takes it by a lease, sends it with its id as Idempotency-Key, and notes the answer. Whatever dies in between,
the command is sent again with the same key; the other side (see taking.py) remembers the key in the transaction of
the effect and gives the first answer again. So it arrives at least once and has its effect at most once.
"""

import json
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

import httpx2
from django.db import connections

from migration_tools.conf import settings
from migration_tools.errors import ReplicationError
from migration_tools.kernel import points
from migration_tools.kernel.ids import uuid7
from migration_tools.replication.asking import client
from migration_tools.stores.postgres.patience import waited_for

METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
ATTEMPTS = 12
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 300.0
LEASE_SECONDS = 60.0
IDLE_SECONDS = 0.5
# The other side cannot now, or answers our own repetition; everything else from 400 on is its decision.
PASSING = frozenset({408, 409, 423, 425, 429})

_WANT: LiteralString = """
    INSERT INTO strangle_command (id, service, method, path, body, state, attempts, error)
    VALUES (%s, %s, %s, %s, %s::jsonb, 'w', 0, '')"""
# The lease is what `next_at` says: a sender that dies gives the command back when it has run out.
_TAKE: LiteralString = """
    UPDATE strangle_command SET attempts = attempts + 1, next_at = now() + make_interval(secs => %s)
    WHERE id = (SELECT id FROM strangle_command WHERE state = 'w' AND next_at <= now()
                ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id::text, service, method, path, body::text, attempts"""
_END: LiteralString = """
    UPDATE strangle_command SET state = %s, status = %s, answer = %s::jsonb, error = %s, ended_at = now()
    WHERE id = %s AND state = 'w'"""
_AGAIN: LiteralString = """
    UPDATE strangle_command SET status = %s, error = %s, next_at = now() + make_interval(secs => %s)
    WHERE id = %s AND state = 'w'"""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A command in a sender's hands."""

    id: str
    service: str
    method: str
    path: str
    body: str | None
    attempts: int


def want(service: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> str:
    """Have a command sent once the running transaction commits; returns its id, which is its Idempotency-Key.

    Raises:
        ReplicationError: there is no open transaction, or the method has no effect to be kept to one.
    """
    alias = settings().DATABASE
    if method not in METHODS:
        raise ReplicationError(f"a command has method {method!r}; it may have {sorted(METHODS)}")
    if not connections[alias].in_atomic_block:
        raise ReplicationError(f"{method} {path!r} wanted outside a transaction; wrap the change and it in atomic()")
    key = str(uuid7())
    with connections[alias].cursor() as cursor:
        cursor.execute(_WANT, [key, service, method, path, None if body is None else json.dumps(dict(body))])
    return key


def send_due() -> str | None:
    """Send one command whose time has come; its id, or None when there is none."""
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(_TAKE, [LEASE_SECONDS])
        found = cursor.fetchone()
    if found is None:
        return None
    key, service, method, path, body, attempts = found
    _send(Taken(id=key, service=service, method=method, path=path, body=body, attempts=attempts))
    return str(key)


def run(stop: threading.Event) -> None:
    """Send until told to stop; several senders share the work. A database that is away is waited for."""
    while not stop.is_set():
        with waited_for(settings().DATABASE, stop, "sender of commands"):
            if send_due() is None:
                stop.wait(IDLE_SECONDS)


def retry(key: str) -> bool:
    """Send a dead command again, under the same key; whether there was one."""
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(
            "UPDATE strangle_command SET state = 'w', attempts = 0, next_at = now(), ended_at = NULL"
            " WHERE id = %s AND state = 'x'",
            [key],
        )
        return bool(cursor.rowcount)


def listed(state: str = "x", limit: int = 100) -> list[dict[str, Any]]:
    """Commands in a state, oldest first, without their bodies: these may be personal."""
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(
            "SELECT id::text, service, method, path, attempts, status, error, created_at::text FROM strangle_command"
            " WHERE state = %s ORDER BY created_at LIMIT %s",
            [state, limit],
        )
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _send(command: Taken) -> None:
    headers = {"Idempotency-Key": command.id, "Accept": "application/json"}
    if command.body is not None:
        headers["Content-Type"] = "application/json"
    try:
        with client(command.service) as asked:
            answer = asked.request(command.method, command.path, content=command.body, headers=headers)
    except (httpx2.HTTPError, ReplicationError) as error:
        _not_now(command, None, f"{type(error).__name__}: no answer")
        return
    points.reached("replication.sent")
    if answer.is_success:
        _note(_END, ["d", answer.status_code, _json(answer), "", command.id])
    elif answer.status_code >= 500 or answer.status_code in PASSING:
        _not_now(command, answer.status_code, f"answered {answer.status_code}")
    else:
        _note(_END, ["x", answer.status_code, _json(answer), f"refused with {answer.status_code}", command.id])


def _not_now(command: Taken, status: int | None, error: str) -> None:
    if command.attempts >= ATTEMPTS:
        _note(_END, ["x", status, None, f"{error}, {command.attempts} times", command.id])
        return
    pause = min(FIRST_PAUSE_SECONDS * 2 ** (command.attempts - 1), LONGEST_PAUSE_SECONDS)
    _note(_AGAIN, [status, error, pause * random.uniform(0.8, 1.2), command.id])  # noqa: S311  (no secret)


def _note(statement: LiteralString, values: list[Any]) -> None:
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(statement, values)


def _json(answer: httpx2.Response) -> str | None:
    try:
        return json.dumps(answer.json())
    except ValueError:
        return None
