"""The slots of a read model: the numbered set of tables that readers see, and the one that is being built beside it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from migration_tools.errors import StrangleError
from migration_tools.stores.postgres import Connection

# `left` is one whose place another has taken, and whose tables are about to be dropped.
LIVE, BUILDING, LEFT = "live", "building", "left"
# Positions of a later origin of a stream are behind all of an earlier one: see `version_of`.
POSITIONS_OF_AN_ORIGIN = 1 << 48

_SLOTS = """SELECT slot, state, fingerprint, version, held::text, origins::text, after::text, complete::text
            FROM strangle_read_slot WHERE model = %s ORDER BY slot"""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One set of tables.

    `held` names the columns that its tables have, by table. `after` holds where a building slot began in each stream,
    and `complete` the streams of which it has seen a whole snapshot of state events.
    """

    model: str
    number: int
    state: str
    fingerprint: str
    version: int
    held: Mapping[str, tuple[str, ...]]
    origins: Mapping[str, tuple[str, int]]
    after: Mapping[str, int]
    complete: tuple[str, ...]


def slots(conn: Connection, model: str) -> list[Slot]:
    """All slots of a read model, by number."""
    return [
        Slot(
            model=model,
            number=row[0],
            state=row[1],
            fingerprint=row[2],
            version=row[3],
            held={table: tuple(columns) for table, columns in json.loads(row[4]).items()},
            origins={stream: (at[0], at[1]) for stream, at in json.loads(row[5]).items()},
            after=json.loads(row[6]),
            complete=tuple(json.loads(row[7])),
        )
        for row in conn.execute(_SLOTS, [model])
    ]


def live(conn: Connection, model: str) -> Slot | None:
    """The slot that readers see, or None before the first `migrate`."""
    return next((slot for slot in slots(conn, model) if slot.state == LIVE), None)


def building(conn: Connection, model: str) -> Slot | None:
    """The slot that is being built, if one is."""
    return next((slot for slot in slots(conn, model) if slot.state == BUILDING), None)


def left(conn: Connection, model: str) -> list[Slot]:
    """The slots that others have taken the place of."""
    return [slot for slot in slots(conn, model) if slot.state == LEFT]


def slot_of(conn: Connection, model: str, number: int | None) -> Slot:
    """The slot of this number, or the live one.

    Raises:
        StrangleError: there is none.
    """
    for slot in slots(conn, model):
        if slot.number == number or (number is None and slot.state == LIVE):
            return slot
    if number is None:
        raise StrangleError(f"read model {model!r} has no tables here; run migrate as the owner of the schema")
    raise StrangleError(f"read model {model!r} has no slot {number!r}; run strangle_rebuild {model} again")


def note(conn: Connection, slot: Slot) -> None:
    """Write a slot's row, in the running transaction."""
    values: dict[str, Any] = {
        "model": slot.model,
        "slot": slot.number,
        "state": slot.state,
        "fingerprint": slot.fingerprint,
        "version": slot.version,
        "held": json.dumps(slot.held),
        "origins": json.dumps(slot.origins),
        "after": json.dumps(slot.after),
        "complete": json.dumps(slot.complete),
    }
    conn.execute(
        """INSERT INTO strangle_read_slot (model, slot, state, fingerprint, version, held, origins, after, complete)
           VALUES (%(model)s, %(slot)s, %(state)s, %(fingerprint)s, %(version)s, %(held)s::jsonb, %(origins)s::jsonb,
                   %(after)s::jsonb, %(complete)s::jsonb)
           ON CONFLICT (model, slot) DO UPDATE SET state = EXCLUDED.state, fingerprint = EXCLUDED.fingerprint,
               version = EXCLUDED.version, held = EXCLUDED.held, origins = EXCLUDED.origins, after = EXCLUDED.after,
               complete = EXCLUDED.complete""",
        values,
    )


def version_of(conn: Connection, slot: Slot, *, stream: str, origin: str, position: int) -> int:
    """What orders an event among those of its stream, also across a hand-over of the context.

    Positions count anew where another side publishes the stream. A slot follows one origin of a stream at a time, so
    whenever the origin changes it is a later one, though it may have been the origin before.
    """
    known, era = slot.origins.get(stream, ("", 0))
    if known != origin:
        era += 1 if known else 0
        conn.execute(
            """UPDATE strangle_read_slot SET origins = origins || jsonb_build_object(%s::text, jsonb_build_array(
               %s::text, %s::int)) WHERE model = %s AND slot = %s""",
            [stream, origin, era, slot.model, slot.number],
        )
    return era * POSITIONS_OF_AN_ORIGIN + position
