"""Try a mapping's functions on some rows before they are trusted: do they answer, always the same, and how fast."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from migration_tools.capture.mapped_rows import raw_select
from migration_tools.capture.transforms import Mapping, Plan, plan_of
from migration_tools.errors import TransformFailed
from migration_tools.stores.postgres import Connection, sql
from migration_tools.stores.postgres.copying import blocks_of
from migration_tools.transfer.functions import block_of, read, through

SAMPLE_ROWS = 500


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a mapping's functions did with some rows: seconds to read them, and to run the functions over them."""

    rows: int
    read_seconds: float
    python_seconds: float

    def __str__(self) -> str:
        if not self.rows:
            return "there is no row yet to try it on"
        alone = self.rows / max(self.read_seconds, 1e-6)
        made = self.rows / max(self.python_seconds, 1e-6)
        return f"about {made:,.0f} rows/s in one process, where PostgreSQL alone reads {alone:,.0f} rows/s"


def try_functions(conn: Connection, relation: Mapping, rows: int = SAMPLE_ROWS) -> Sample:
    """Run the mapping's functions over some of its rows: twice, the second time in another order and, inside
    functions.processes, in another process.

    Raises:
        TransformFailed: one failed, or did not answer the same to the same.
    """
    plan = plan_of(relation)
    query = sql.SQL("{} LIMIT {}").format(
        raw_select(relation, sql.SQL("({}) r").format(sql.SQL(relation.query))), sql.Literal(rows)
    )
    began = time.perf_counter()
    raw = _lines(list(blocks_of(conn, query)))
    read_in = time.perf_counter()
    first = _lines([block_of(plan, line) for line in raw])
    made_in = time.perf_counter()
    second = _lines(list(through(plan, elsewhere=True)([b"".join(reversed(raw))])))[::-1]
    for line, one, other in zip(raw, first, second, strict=True):
        if one != other:
            raise _changed(plan, line, one, other)
    return Sample(rows=len(raw), read_seconds=read_in - began, python_seconds=made_in - read_in)


def _lines(blocks: Sequence[bytes]) -> list[bytes]:
    """Each row as a block of its own."""
    return [line + b"\n" for block in blocks for line in block.split(b"\n")[:-1]]


def _changed(plan: Plan, line: bytes, one: bytes, other: bytes) -> TransformFailed:
    key = "/".join(str(read(field)) for field in line.rstrip(b"\n").split(b"\t")[: plan.key_width])
    columns = zip(plan.places, one[:-1].split(b"\t"), other[:-1].split(b"\t"), strict=True)
    made = plan.made[-1 - next(place for place, ours, theirs in columns if ours != theirs)]
    return TransformFailed(
        f"{made.function!r}, which makes {made.column!r} of {plan.target!r}, answers the same row otherwise the second "
        f"time (key {key} of {plan.table!r}); a mapping's function must depend on its inputs alone: no clock, no "
        "random number, no state, no order of a set"
    )
