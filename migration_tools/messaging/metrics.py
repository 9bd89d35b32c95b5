"""Streams, consumers and the horizon as figures for metrics, read from the database when asked."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from migration_tools.kernel.locks import LockClass, lock_keys
from migration_tools.messaging import lag as lags
from migration_tools.messaging.horizon import horizon

if TYPE_CHECKING:
    from migration_tools.stores.postgres import Connection

# Name: (type, what it says). Base units; no ids in labels.
FAMILIES = {
    "strangle_stream_position": ("gauge", "Last numbered position of a stream of this side."),
    "strangle_relay_leading": ("gauge", "1 while a relay leads the stream, else 0."),
    "strangle_outbox_pending": ("gauge", "Outbox rows that no tick has taken yet."),
    "strangle_outbox_oldest_age_seconds": ("gauge", "Age of the oldest of them."),
    "strangle_consumer_lag_events": ("gauge", "Records of this side's stream that a consumer has not confirmed."),
    "strangle_consumer_lag_seconds": ("gauge", "Age of the oldest of them."),
    "strangle_consumer_silent_seconds": ("gauge", "Since when the consumer has not been heard of."),
    "strangle_transport_lag_events": ("gauge", "Records of this side's stream that the broker has not confirmed."),
    "strangle_horizon_age_seconds": ("gauge", "Age of the oldest transaction of this database, if it can be seen."),
    "strangle_horizon_held_transactions": ("gauge", "How many transactions ago the oldest one that is open began."),
    "strangle_inbox_position": ("gauge", "Position up to which this side has applied another side's stream."),
    "strangle_events_applied_total": (
        "counter",
        "Records of another side's stream that this side has applied; parked events by what became of them.",
    ),
    "strangle_backfill_rows_total": ("counter", "Rows that were copied into this database, by projection."),
    "strangle_dead_letters": ("gauge", "Events that are parked on this side."),
}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One value of a family of FAMILIES."""

    name: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)


Collector = Callable[["Connection"], Iterator[Sample]]
_collectors: list[Collector] = []


def contribute(families: Mapping[str, tuple[str, str]], collector: Collector) -> None:
    """Let a room above this one tell its own families on the same page; for its `AppConfig.ready`."""
    FAMILIES.update(families)
    if collector not in _collectors:
        _collectors.append(collector)


def collect(conn: "Connection") -> Iterator[Sample]:
    """Everything this database knows: of its own streams, of their consumers, of what it consumes itself."""
    for (stream,) in conn.execute("SELECT stream FROM strangle_stream_identity ORDER BY stream").fetchall():
        yield from _of_stream(conn, stream)
    found = horizon(conn)
    if found is None or found.seconds is not None:
        yield Sample(name="strangle_horizon_age_seconds", value=found.seconds or 0.0 if found else 0.0)
    yield Sample(name="strangle_horizon_held_transactions", value=found.transactions if found else 0)
    inboxes = conn.execute(
        """SELECT i.stream, i.position, i.applied_records,
                  (SELECT count(*) FROM strangle_dead_letter d WHERE d.stream = i.stream)
           FROM strangle_inbox i ORDER BY i.stream"""
    ).fetchall()
    for inbox, position, applied, dead in inboxes:
        labels = {"stream": inbox}
        yield Sample(name="strangle_inbox_position", value=position, labels=labels)
        yield Sample(name="strangle_events_applied_total", value=applied, labels=labels | {"outcome": "applied"})
        yield Sample(name="strangle_dead_letters", value=dead, labels=labels)
    for inbox, outcome, ended in conn.execute(
        "SELECT stream, outcome, count(*) FROM strangle_dead_letter_log GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall():
        labels = {"stream": inbox, "outcome": outcome}
        yield Sample(name="strangle_events_applied_total", value=ended, labels=labels)
    for stream, projection, copied in conn.execute(
        "SELECT stream, projection, rows FROM strangle_copied_range ORDER BY 1, 2"
    ).fetchall():
        labels = {"context": stream, "projection": projection}
        yield Sample(name="strangle_backfill_rows_total", value=copied, labels=labels)
    for collector in _collectors:
        yield from collector(conn)


def _of_stream(conn: "Connection", stream: str) -> Iterator[Sample]:
    labels = {"stream": stream}
    first, second = lock_keys(LockClass.RELAY, stream)
    row = conn.execute(
        """SELECT COALESCE((SELECT base + records FROM strangle_tick WHERE stream = %s
                      ORDER BY number DESC LIMIT 1), 0),
                  (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid::bigint = %s
                     AND objid::bigint = %s
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))""",
        [stream, first, second & 0xFFFF_FFFF],
    ).fetchone()
    head, leading = row if row else (0, 0)
    yield Sample(name="strangle_stream_position", value=head, labels=labels)
    yield Sample(name="strangle_relay_leading", value=leading, labels=labels)
    waiting = lags.unnumbered(conn, stream)
    yield Sample(name="strangle_outbox_pending", value=waiting.rows, labels=labels)
    yield Sample(name="strangle_outbox_oldest_age_seconds", value=max(waiting.seconds, 0.0), labels=labels)
    for each in lags.consumers(conn, stream, replicas=True):
        of = labels | {"consumer": each.consumer}
        yield Sample(name="strangle_consumer_lag_events", value=each.events, labels=of)
        yield Sample(name="strangle_consumer_lag_seconds", value=each.seconds, labels=of)
        yield Sample(name="strangle_consumer_silent_seconds", value=each.silent_seconds, labels=of)
    for sent in lags.published(conn, stream):
        of = labels | {"transport": sent.transport}
        yield Sample(name="strangle_transport_lag_events", value=sent.events, labels=of)
