"""State as events: what an aggregate is now, published in its own stream, for read models whose history is not there.

Note [state is published under the lock of its row]. An event that says what an order *is* must stand where that was so:
behind the events before it and before the events after it. The rows of a chunk are locked as their writers lock them,
read, and published, all in one transaction; an outbox row's number is drawn under that lock, and ticks keep the order
of a key (see Note [commit order of outbox rows]). So a read model may begin at any position before the publication:
what it reads of the events meanwhile, newer or older than the state, merges with it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connections, models, transaction
from django.utils.module_loading import autodiscover_modules

from migration_tools.conf import settings
from migration_tools.errors import StrangleError
from migration_tools.kernel import points
from migration_tools.kernel.ids import uuid7
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import HandlerFunction
from migration_tools.messaging.outbox import publish, publish_many
from migration_tools.messaging.stream import head
from migration_tools.projections.declaration import ReadModel

COMPLETED = "strangle.state_published"
AGGREGATE = "strangle.state"
CHUNK_ROWS = 500


@dataclass(frozen=True, kw_only=True)
class StateOf:
    """How one aggregate type's state is published; see `publishes_state`."""

    event_type: str
    stream: str
    aggregate_type: str
    version: int
    queryset: Callable[[], "models.QuerySet[Any]"]
    aggregate_id: Callable[[Any], str]
    payload: Callable[[Any], Mapping[str, Any]]


_registry: dict[tuple[str, str], StateOf] = {}


def publishes_state(
    event_type: str,
    *,
    stream: str,
    aggregate_type: str,
    queryset: Callable[[], "models.QuerySet[Any]"],
    aggregate_id: Callable[[Any], str],
    payload: Callable[[Any], Mapping[str, Any]],
    version: int = 1,
) -> StateOf:
    """Declare, in a module `state_events.py` of an installed app, how rows become events that say their whole state.

    Rows are taken by primary key and locked with SELECT … FOR UPDATE while they are published, so a writer must lock
    or change the row itself in the transaction in which it changes what `payload` says of it.
    """
    made = StateOf(
        event_type=event_type,
        stream=stream,
        aggregate_type=aggregate_type,
        version=version,
        queryset=queryset,
        aggregate_id=aggregate_id,
        payload=payload,
    )
    return _registry.setdefault((stream, event_type), made)


def declared(stream: str) -> list[StateOf]:
    """What is declared for a stream, by event type."""
    autodiscover_modules("state_events")
    return [_registry[key] for key in sorted(_registry) if key[0] == stream]


@dataclass(frozen=True, kw_only=True)
class Published:
    """A publication's progress: from which position on a rebuild may read, and how many events it has written."""

    head: int
    rows: int
    done: bool


def publish_state(stream: str, *, chunk_rows: int = CHUNK_ROWS) -> Iterator[Published]:
    """Publish the state of everything that is declared for a stream, chunk by chunk; goes on where it was cut off.

    Each chunk is a transaction of its own. Afterwards an event says that all of it is there.

    Raises:
        StrangleError: nothing is declared for the stream.
    """
    kinds = declared(stream)
    if not kinds:
        raise StrangleError(
            f"no state is declared for the stream {stream!r}; call publishes_state() in a module state_events.py of an "
            "installed app"
        )
    alias = settings().DATABASE
    run, began = _begin(alias, stream, kinds[0])
    at = next((place for place, kind in enumerate(kinds) if kind.event_type == began["event_type"]), 0)
    after, rows = began["after"], began["rows"]
    for kind in kinds[at:]:
        while True:
            count, after = _chunk(alias, run, kind, after, chunk_rows)
            rows += count
            points.reached("state.chunk")
            if not count:
                break
            yield Published(head=began["head"], rows=rows, done=False)
        after = None
    _complete(alias, run, stream, began["head"], rows)
    yield Published(head=began["head"], rows=rows, done=True)


def handle_completed(model: ReadModel, slot: int) -> HandlerFunction:
    """A handler that notes in a slot being built that its stream's state was published since it began."""

    def take(event: Envelope) -> None:
        with connections[settings().DATABASE].cursor() as cursor:
            cursor.execute(
                """UPDATE strangle_read_slot SET complete = complete || to_jsonb(%s::text)
                   WHERE model = %s AND slot = %s AND COALESCE((after ->> %s)::bigint, 0) <= %s
                     AND NOT complete ? %s""",
                [event.stream, model.name, slot, event.stream, int(event.payload["head"]), event.stream],
            )

    take.__module__ = f"{type(model).__module__}.{type(model).__qualname__}.state"
    return take


def _begin(alias: str, stream: str, first: StateOf) -> tuple[str, dict[str, Any]]:
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT run::text, event_type, after, rows, head FROM strangle_state_run WHERE stream = %s AND NOT done",
            [stream],
        )
        row = cursor.fetchone()
        if row is None:
            row = (str(uuid7()), first.event_type, None, 0, head(cursor, stream))
            cursor.execute(
                "INSERT INTO strangle_state_run (run, stream, event_type, after, rows, head, done)"
                " VALUES (%s, %s, %s, %s, %s, %s, false)",
                [row[0], stream, *row[1:]],
            )
    return row[0], {"event_type": row[1], "after": row[2], "rows": row[3], "head": row[4]}


def _chunk(alias: str, run: str, kind: StateOf, after: str | None, limit: int) -> tuple[int, str | None]:
    with transaction.atomic(using=alias):
        rows = kind.queryset().using(alias).order_by("pk").select_for_update(of=("self",))
        if after is not None:
            rows = rows.filter(pk__gt=after)
        taken = list(rows[:limit])
        publish_many(
            kind.event_type,
            ((kind.aggregate_id(each), kind.payload(each)) for each in taken),
            aggregate_type=kind.aggregate_type,
            version=kind.version,
            stream=kind.stream,
            using=alias,
        )
        if taken:
            after = str(taken[-1].pk)
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "UPDATE strangle_state_run SET event_type = %s, after = %s, rows = rows + %s WHERE run = %s",
                [kind.event_type, after, len(taken), run],
            )
    return len(taken), after


def _complete(alias: str, run: str, stream: str, head: int, rows: int) -> None:
    with transaction.atomic(using=alias):
        publish(
            COMPLETED,
            aggregate_type=AGGREGATE,
            aggregate_id=run,
            payload={"run": run, "head": head, "rows": rows},
            stream=stream,
            using=alias,
        )
        with connections[alias].cursor() as cursor:
            cursor.execute("UPDATE strangle_state_run SET done = true WHERE run = %s", [run])


__all__ = ["COMPLETED", "Published", "StateOf", "declared", "handle_completed", "publish_state", "publishes_state"]
