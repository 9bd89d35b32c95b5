"""The runner: wakes sagas whose wait is over, here or by Celery's workers; several may run, none is needed twice."""

import logging
import threading
import time
from collections.abc import Callable
from typing import LiteralString

from django.db import connections
from django.db.utils import Error as DatabaseFailure

from migration_tools.conf import settings
from migration_tools.errors import StrangleError
from migration_tools.kernel import points
from migration_tools.sagas.ledger import postpone
from migration_tools.sagas.orchestrator import wake
from migration_tools.stores.postgres import describe_failure

log = logging.getLogger(__name__)

LARGEST_BATCH = 100
LONGEST_PAUSE_SECONDS = 1.0
SHORTEST_PAUSE_SECONDS = 0.01
RECONNECT_SECONDS = 0.5
HANDING_PAUSE_SECONDS = 0.1
# How long one is left alone that cannot be woken: its definition is gone, say.
POSTPONED_SECONDS = 60.0
# How long a saga that was handed to a worker is left to it, before it is handed out again.
HANDED_SECONDS = 10.0

Send = Callable[[str], None]

_DUE: LiteralString = """SELECT saga_id::text FROM saga_state WHERE status IN ('running', 'compensating')
    AND wake_at <= clock_timestamp() ORDER BY wake_at LIMIT %s"""
_NEXT: LiteralString = """SELECT EXTRACT(epoch FROM min(wake_at) - clock_timestamp())::float FROM saga_state
    WHERE status IN ('running', 'compensating') AND wake_at IS NOT NULL"""


class Runner:
    """Looks for sagas whose time has come until told to stop; with `send` it only says which."""

    def __init__(self, *, using: str | None = None, send: Send | None = None):
        self.using = using or settings().DATABASE
        self._send = send
        self._handed: dict[str, float] = {}

    def run(self, stop: threading.Event, on_woken: Callable[[int], None] | None = None) -> None:
        """Work until `stop` is set; a database or a broker that is away is waited for."""
        while not stop.is_set():
            try:
                woken = self.step()
                if on_woken is not None and woken:
                    on_woken(woken)
                stop.wait(SHORTEST_PAUSE_SECONDS if woken else self._pause())
            except (StrangleError, DatabaseFailure, OSError) as error:
                connections[self.using].close()
                log.warning("runner of sagas: %s; trying again", describe_failure(error))
                stop.wait(RECONNECT_SECONDS)

    def step(self) -> int:
        """Wake, or hand out, what is due now; returns how many. One that fails is told of and does not hold others."""
        with connections[self.using].cursor() as cursor:
            cursor.execute(_DUE, [LARGEST_BATCH])
            due = [row[0] for row in cursor.fetchall()]
        points.reached("sagas.due_read")
        if self._send is not None:
            return self._hand_out(due, self._send)
        woken = 0
        for saga_id in due:
            try:
                woken += wake(saga_id, using=self.using)
            except StrangleError as error:
                log.error("saga %s: %s", saga_id, error)
                postpone(self.using, saga_id, str(error), POSTPONED_SECONDS)
            except DatabaseFailure as error:
                # Its own transaction, its own fate: the others are woken all the same.
                log.warning("saga %s: %s; later again", saga_id, describe_failure(error))
                connections[self.using].close()
                postpone(self.using, saga_id, "", RECONNECT_SECONDS)
        return woken

    def _hand_out(self, due: list[str], send: Send) -> int:
        now = time.monotonic()
        self._handed = {each: at for each, at in self._handed.items() if now - at < HANDED_SECONDS}
        fresh = [each for each in due if each not in self._handed]
        for saga_id in fresh:
            send(saga_id)
            self._handed[saga_id] = now
        return len(fresh)

    def _pause(self) -> float:
        with connections[self.using].cursor() as cursor:
            cursor.execute(_NEXT)
            row = cursor.fetchone()
        seconds = row[0] if row and row[0] is not None else LONGEST_PAUSE_SECONDS
        return min(max(seconds, HANDING_PAUSE_SECONDS if self._send else SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
