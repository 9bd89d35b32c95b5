"""Who holds the horizon back: the oldest transaction, named so that somebody can end it; no value of its query."""

import logging
import re
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from migration_tools.conf import settings

if TYPE_CHECKING:
    from migration_tools.stores.postgres import Connection

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 5.0
SAY_EVERY_SECONDS = 60.0
NEVER = float("-inf")
OURS = "strangle:"

_COMMENT = re.compile(r"\s*(--[^\n]*\n|/\*.*?\*/)", re.DOTALL)
_WORD = re.compile(r"\s*\(?\s*([A-Za-z]{2,20})\b")

# What has neither a snapshot nor an id of its own holds nothing back, however long it is open.
_OLDEST = """
    SELECT pid, application, role, seconds, state, query, gid, held FROM (
      SELECT pid, COALESCE(application_name, '') AS application, COALESCE(usename, backend_type)::text AS role,
             extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds, state,
             COALESCE(left(query, 4000), '') AS query, '' AS gid,
             greatest(age(backend_xid), age(backend_xmin)) AS held
      FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL)
      UNION ALL
      SELECT NULL, '', owner::text, extract(epoch FROM clock_timestamp() - prepared)::float8, 'prepared', '', gid,
             age(transaction)
      FROM pg_prepared_xacts WHERE database = current_database()
    ) t ORDER BY held DESC, seconds DESC NULLS LAST LIMIT 1"""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The oldest transaction that keeps dead rows alive and, when it wrote, its own changes out of every stream."""

    pid: int | None
    application: str
    role: str
    seconds: float | None
    transactions: int
    state: str
    query_kind: str
    prepared_as: str = ""

    def __str__(self) -> str:
        # PostgreSQL hides age, state and query of other roles' sessions from roles without pg_read_all_stats.
        age = "of unknown age" if self.seconds is None else f"{self.seconds:.0f} s old"
        age += f", {self.transactions} transactions back"
        if self.prepared_as:
            return f"the prepared transaction {self.prepared_as!r} of role {self.role}, {age}"
        seen = ", state and query hidden" if self.seconds is None else f", {self.state}, last a {self.query_kind}"
        return f"{self.application or 'unnamed application'} (process {self.pid}, role {self.role}{seen}), {age}"

    def is_old(self, known_seconds: float = 0.0) -> bool:
        """Whether to warn; `known_seconds` is how long the caller has seen it, should its age be hidden."""
        return (known_seconds if self.seconds is None else self.seconds) > settings().HORIZON_WARN_SECONDS

    @property
    def ours(self) -> bool:
        """Whether the toolkit itself holds it: a copy, a verification, a relay."""
        return self.application.startswith(OURS)

    @property
    def remedy(self) -> str:
        """What an operator does about it."""
        if self.prepared_as:
            return "commit or roll it back by its name (COMMIT PREPARED, ROLLBACK PREPARED)"
        if self.ours:
            return "it is the toolkit's own and ends by itself"
        end = f"end it where it runs, or by SELECT pg_terminate_backend({self.pid})"
        if self.seconds is None:
            return end + "; GRANT pg_read_all_stats to the role that asks shows its age and state"
        if self.state.startswith("idle"):
            return end + "; idle_in_transaction_session_timeout keeps such sessions short"
        return end

    def to_json(self) -> dict[str, Any]:
        """As strangle_status prints it."""
        seconds = None if self.seconds is None else round(self.seconds, 3)
        return asdict(self) | {"seconds": seconds, "session": str(self), "remedy": self.remedy, "old": self.is_old()}


def horizon(conn: "Connection") -> Holder | None:
    """Whose transaction is the oldest in this database; None when there is none but the one that asks."""
    row = conn.execute(_OLDEST).fetchone()
    if row is None:
        return None
    return Holder(
        pid=row[0],
        application=row[1],
        role=row[2],
        seconds=None if row[3] is None else max(float(row[3]), 0.0),
        transactions=int(row[7]),
        state=row[4] or "",
        query_kind=query_kind(row[5]),
        prepared_as=row[6],
    )


def query_kind(query: str) -> str:
    """The first word of a statement, which holds no value; 'statement' when it does not begin with one."""
    while found := _COMMENT.match(query):
        query = query[found.end() :]
    word = _WORD.match(query)
    return word[1].upper() if word else "statement"


class HorizonWatch:
    """A relay's look at the horizon now and then: one line while something old holds it back, one when it is gone."""

    def __init__(self, stream: str):
        self._stream = stream
        self._looked = self._said = self._since = NEVER
        self._who: tuple[int | None, str] | None = None

    def look(self, conn: "Connection") -> None:
        """Look if it is time to."""
        now = time.monotonic()
        if now < self._looked + LOOK_EVERY_SECONDS:
            return
        self._looked = now
        found = horizon(conn)
        who = (found.pid, found.prepared_as) if found is not None else None
        if who != self._who:
            self._who, self._since = who, now
        if found is not None and found.is_old(now - self._since):
            if now > self._said + SAY_EVERY_SECONDS:
                self._said = now
                log.warning(
                    "relay %s: an old transaction keeps rows alive and its own writes back: %s; %s",
                    self._stream,
                    found,
                    found.remedy,
                    extra={"context": self._stream},
                )
        elif self._said > NEVER:
            self._said = NEVER
            log.info("relay %s: the horizon moves again", self._stream, extra={"context": self._stream})
