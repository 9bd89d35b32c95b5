"""Deliver events as the worst broker would, and hold what the handlers did against one calm delivery.

Every event of the samples goes through the real inbox, all in one transaction that is rolled back: first in order and
once; then again and again in another order, keys interleaved anew but each key's events in their own order, cut into
batches that overlap, each delivered twice, some before their predecessors. What the handlers left in the database must
be the same each time. A handler without a sample is a mistake, so a new handler cannot be forgotten.
"""

import datetime as dt
import random
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from django.db import connections, transaction

from migration_tools.conf import settings
from migration_tools.errors import StreamHole
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.dead_letters import count, key_of, letters
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.groups import inbox_name
from migration_tools.messaging.handlers import registered
from migration_tools.messaging.inbox import apply_inside, move_to
from migration_tools.stores.postgres import django_connection, sql

OURS = "strangle_"
LONGEST_BATCH = 4

Effects = dict[str, Counter[tuple[tuple[str, str], ...]]]


class EffectsDiffer(AssertionError):
    """A handler does not do the same for the same events; the message names the tables and the seed."""


class _Undo(Exception):
    """Ends a delivery's transaction without a trace."""


def assert_effects_once(
    samples: Sequence[Envelope],
    *,
    rounds: int = 10,
    seed: int = 0,
    group: str = "",
    using: str | None = None,
    ignore: Collection[str] = (),
    prepare: Callable[[], None] | None = None,
) -> int:
    """Deliver the samples calmly once and badly `rounds` times, and compare; returns how many deliveries were made.

    Args:
        samples: events of one stream, in an order in which they may happen; at least one of every type and version
            that the group's handlers take.
        rounds: how many bad deliveries.
        seed: of the first one; a failure names its own.
        group: whose handlers.
        using: the database they write to; other databases are compared too, but cannot be rolled back.
        ignore: columns, as table.column, that may differ: clocks, say. Keys that the database numbers are left out.
        prepare: makes the rows that the handlers expect, inside each delivery.

    Raises:
        EffectsDiffer: the effects are not the same, a sample is parked, or a handler has no sample.
    """
    alias = using or settings().DATABASE
    streams = {event.stream for event in samples}
    if len(streams) != 1:
        raise ValueError(f"samples are of the streams {sorted(streams)}; deliver one at a time")
    [stream] = streams
    _refuse_missing(stream, group, samples)
    first = [replace(event, position=place) for place, event in enumerate(samples, 1)]
    calm = _delivered([_batch(stream, first, 0, len(first))], group, alias, ignore, prepare, twice=False)
    for number in range(seed, seed + rounds):
        # Not for secrets: the same seed must give the same order.
        choose = random.Random(number)  # noqa: S311
        events = [replace(event, position=place) for place, event in enumerate(shuffled(samples, choose), 1)]
        bad = _delivered(list(overlapping(stream, events, choose)), group, alias, ignore, prepare, twice=True)
        differing = sorted(name for name in calm.keys() | bad.keys() if calm.get(name) != bad.get(name))
        if differing:
            raise EffectsDiffer(
                f"delivered twice and in the order {[str(e.event_id) for e in events]} (seed {number}), the events "
                f"have other effects in {differing}: {_difference(calm, bad, differing[0])}"
            )
    return rounds + 1


def shuffled(events: Iterable[Envelope], choose: random.Random) -> Iterator[Envelope]:
    """The events in another order, those of each key in their own."""
    queues: dict[tuple[str, str], list[Envelope]] = {}
    for event in events:
        queues.setdefault(key_of(event), []).append(event)
    while queues:
        key = choose.choice(sorted(queues))
        yield queues[key].pop(0)
        if not queues[key]:
            del queues[key]


def overlapping(stream: str, events: Sequence[Envelope], choose: random.Random) -> Iterator[Batch]:
    """Batches that cover all events, often more than once, and now and then before it is their turn."""
    at = 0
    while at < len(events):
        first = choose.randint(max(at - 2, 0), min(at + 1, len(events) - 1))
        last = min(first + choose.randint(1, LONGEST_BATCH), len(events))
        yield _batch(stream, events, first, last)
        if first <= at:
            at = max(at, last)


def _batch(stream: str, events: Sequence[Envelope], first: int, last: int) -> Batch:
    return Batch(stream=stream, origin="samples", first=first, last=last, events=list(events[first:last]))


def _refuse_missing(stream: str, group: str, samples: Sequence[Envelope]) -> None:
    there = {(event.event_type, event.event_version) for event in samples}
    missing = [
        f"{handler.event_type} {version} (for {handler.name})"
        for handler in registered(stream, group)
        for version in range(handler.versions[0], handler.versions[1] + 1)
        if (handler.event_type, version) not in there
    ]
    if missing:
        raise EffectsDiffer(f"no sample of {', '.join(missing)}; a handler that gets no event is not tested")


def _delivered(
    batches: Sequence[Batch],
    group: str,
    alias: str,
    ignore: Collection[str],
    prepare: Callable[[], None] | None,
    *,
    twice: bool,
) -> Effects:
    """The effects of a delivery, whose transaction is rolled back."""
    found: Effects = {}
    stream = batches[0].stream
    try:
        with transaction.atomic(using=alias):
            if prepare is not None:
                prepare()
            conn = django_connection(alias)
            inbox = inbox_name(stream, group)
            move_to(conn, inbox, 0, rows=True, identity="")
            before = count(conn, inbox)
            for batch in batches:
                for _ in range(2 if twice else 1):
                    try:
                        apply_inside(batch, None, using=alias, group=group)
                    except StreamHole:
                        break
            conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
            if count(conn, inbox) > before:
                parked = [f"{each.event.event_type}: {each.reason}: {each.detail}" for each in letters(conn, inbox)]
                raise EffectsDiffer(f"samples were parked: {parked[before:]}")
            found = {f"{alias}.{name}": rows for name, rows in read_effects(alias, ignore)}
            raise _Undo
    except _Undo:
        pass
    for other in connections:
        if other != alias and connections[other].vendor == "postgresql":
            found |= {f"{other}.{name}": rows for name, rows in read_effects(other, ignore)}
    return found


def read_effects(
    alias: str, ignore: Collection[str] = ()
) -> Iterator[tuple[str, Counter[tuple[tuple[str, str], ...]]]]:
    """The rows of every table that is not ours, without the keys that the database numbers."""
    conn = django_connection(alias)
    columns: dict[str, list[str]] = {}
    for table, column, numbered in conn.execute(
        """SELECT c.table_name, c.column_name, c.is_identity = 'YES' OR c.column_default LIKE 'nextval(%'
           FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
           WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE' ORDER BY 1, c.ordinal_position"""
    ):
        if not table.startswith(OURS):
            kept = columns.setdefault(table, [])
            if not numbered and f"{table}.{column}" not in ignore:
                kept.append(column)
    for table, names in columns.items():
        values = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in names)
        rows = conn.execute(sql.SQL("SELECT {} FROM {}").format(values, sql.Identifier(table))).fetchall()
        yield table, Counter(tuple(zip(names, map(str, row), strict=True)) for row in rows)


def _difference(calm: Effects, bad: Effects, table: str) -> str:
    left, right = calm.get(table, Counter()), bad.get(table, Counter())
    lost, added = list((left - right).elements())[:2], list((right - left).elements())[:2]
    return f"{table} lacks {lost} and has {added} instead"


def sample(
    event_type: str,
    payload: dict[str, object],
    *,
    stream: str,
    aggregate_type: str,
    aggregate_id: object,
    version: int = 1,
    **more: object,
) -> Envelope:
    """An event to deliver; further attributes of the envelope may be given."""
    values: dict[str, object] = {
        "event_id": uuid.uuid4(),
        "aggregate_id": str(aggregate_id),
        "aggregate_type": aggregate_type,
        "event_type": event_type,
        "event_version": version,
        "timestamp": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        "correlation_id": None,
        "causation_id": None,
        "payload": payload,
        "stream": stream,
        "origin": "samples",
        "position": 0,
    }
    return Envelope(**{**values, **more})  # type: ignore[arg-type]
