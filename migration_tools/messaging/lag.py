"""How far behind a stream's consumers are, measured where the stream is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migration_tools.messaging.groups import PREFIX as GROUP_PREFIX

if TYPE_CHECKING:
    from migration_tools.stores.postgres import Connection

# Consumers of this prefix are replicas: retention waits for them as for any, a move between phases does not.
REPLICA_PREFIX = "replica "


@dataclass(frozen=True, kw_only=True)
class Lag:
    """One consumer's distance: records not applied, age of the oldest of them, and when it was last heard of."""

    consumer: str
    position: int
    events: int
    seconds: float
    silent_seconds: float


@dataclass(frozen=True, kw_only=True)
class Unnumbered:
    """Outbox rows that no tick has taken yet: how many, and how old the oldest is; grows when no relay runs."""

    rows: int
    seconds: float


def consumers(conn: "Connection", stream: str, *, replicas: bool = False) -> list[Lag]:
    """Every consumer that ever asked for the stream; with `replicas` those of further stores and named groups too."""
    rows = conn.execute(
        """WITH head AS (SELECT COALESCE((SELECT base + records FROM strangle_tick WHERE stream = %(stream)s
                         ORDER BY number DESC LIMIT 1), 0) AS at)
           SELECT c.name, c.position, GREATEST(head.at - c.position, 0),
                  COALESCE(extract(epoch FROM clock_timestamp() - (SELECT s.occurred_at FROM strangle_stream s
                      WHERE s.stream = c.stream AND s.position = c.position + 1)), 0)::float8,
                  extract(epoch FROM clock_timestamp() - c.seen_at)::float8
           FROM strangle_consumer c, head WHERE c.stream = %(stream)s
             AND (%(replicas)s OR NOT (starts_with(c.name, %(replica)s) OR starts_with(c.name, %(group)s)))
           ORDER BY c.name""",
        {"stream": stream, "replicas": replicas, "replica": REPLICA_PREFIX, "group": GROUP_PREFIX},
    ).fetchall()
    return [
        Lag(consumer=r[0], position=r[1], events=r[2], seconds=max(r[3], 0.0), silent_seconds=max(r[4], 0.0))
        for r in rows
    ]


def unnumbered(conn: "Connection", stream: str) -> Unnumbered:
    """What waits for the relay; by the rule of messaging.ticks, see Note [news by index] there."""
    row = conn.execute(
        """WITH last AS (SELECT snapshot FROM strangle_tick WHERE stream = %(stream)s ORDER BY number DESC LIMIT 1)
           SELECT count(*), COALESCE(extract(epoch FROM clock_timestamp() - min(occurred_at)), 0)::float8 FROM (
             SELECT occurred_at FROM strangle_outbox WHERE stream = %(stream)s
                AND xid >= COALESCE((SELECT pg_snapshot_xmax(snapshot) FROM last), '0'::xid8)
             UNION ALL
             SELECT occurred_at FROM strangle_outbox WHERE stream = %(stream)s
                AND xid = ANY (ARRAY(SELECT pg_snapshot_xip(snapshot) FROM last))) news""",
        {"stream": stream},
    ).fetchone()
    return Unnumbered(rows=int(row[0]), seconds=float(row[1])) if row else Unnumbered(rows=0, seconds=0.0)


@dataclass(frozen=True, kw_only=True)
class Published:
    """How far a broker has confirmed a stream, saved about once a second."""

    transport: str
    position: int
    events: int
    confirmed_seconds: float


def published(conn: "Connection", stream: str) -> list[Published]:
    """Every broker transport that ever confirmed a batch of the stream."""
    rows = conn.execute(
        """SELECT transport, position, GREATEST(COALESCE((SELECT base + records FROM strangle_tick
                      WHERE stream = %(stream)s ORDER BY number DESC LIMIT 1), 0) - position, 0),
                  extract(epoch FROM clock_timestamp() - confirmed_at)::float8
           FROM strangle_transport WHERE stream = %(stream)s ORDER BY transport""",
        {"stream": stream},
    ).fetchall()
    return [Published(transport=r[0], position=r[1], events=r[2], confirmed_seconds=max(r[3], 0.0)) for r in rows]
