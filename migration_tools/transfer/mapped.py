"""A relation's rows for whoever reads them here: the query itself, or rows run through its functions."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from migration_tools.capture.mapped_rows import literal_rows, raw_select
from migration_tools.capture.projector import InstalledRelation, unfit
from migration_tools.capture.transforms import Maker, plan_of
from migration_tools.errors import TransformFailed
from migration_tools.stores.postgres import Connection, errors, sql
from migration_tools.stores.postgres.copying import Piped, blocks_of, pipe
from migration_tools.transfer.functions import read, through

SAMPLE_ROWS = 200


def copy_rows(
    reader: Connection,
    relation: InstalledRelation,
    where: sql.Composable,
    receiver: Connection,
    table: str,
    types: Sequence[str],
) -> Piped:
    """COPY the relation's rows (alias r) into the table, of whose columns `types` are the types.

    Raises:
        TransformFailed: a function of the mapping failed; see also copying.pipe.
    """
    if relation.transforms:
        query = sql.SQL("{} WHERE {}").format(raw_select(relation, _rows(relation)), where)
        with _fitting(relation):
            return pipe(reader, query, receiver, table, relation.columns, types, through=through(plan_of(relation)))
    names = sql.SQL(", ").join(sql.SQL("r.{}").format(sql.Identifier(name)) for name in relation.columns)
    query = sql.SQL("SELECT {} FROM {} WHERE {}").format(names, _rows(relation), where)
    return pipe(reader, query, receiver, table, relation.columns, types)


def rows_within(reader: Connection, relation: InstalledRelation, where: sql.Composable | None) -> sql.Composable:
    """The relation's rows (alias r) that meet the condition, as a FROM item with alias r.

    Where Python has a part in the mapping they are read now, and held in memory as a part of the statement.
    """
    if not relation.transforms:
        whole = _rows(relation)
        return whole if where is None else sql.SQL("(SELECT * FROM {} WHERE {}) r").format(whole, where)
    query = sql.SQL("{} WHERE {}").format(raw_select(relation, _rows(relation)), where or sql.SQL("true"))
    plan = plan_of(relation)
    width = len(relation.key_types)
    at = [relation.columns.index(name) for name in relation.key_columns]

    def finished() -> Iterator[list[str | None]]:
        for block in through(plan)(blocks_of(reader, query)):
            for line in block.split(b"\n")[:-1]:
                row = [read(field) for field in line.split(b"\t")]
                yield [*(row[place] for place in at), *row]

    assert len(at) == width  # noqa: S101  (the key is what the target is told by)
    return literal_rows(relation, finished())


def _rows(relation: InstalledRelation) -> sql.Composed:
    return sql.SQL("({}) r").format(sql.SQL(relation.query))


@contextmanager
def _fitting(relation: InstalledRelation) -> Iterator[None]:
    """PostgreSQL's own message about a value that it cannot read would hold the value."""
    try:
        yield
    except errors.DataError as error:
        raise unfit(relation, error) from None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a mapping's functions did with some rows: seconds to read them, and to run the functions over them."""

    rows: int
    read_seconds: float
    python_seconds: float

    @property
    def rates(self) -> tuple[float, float]:
        """(rows a second without the functions, rows a second with them in one process)."""
        return (
            self.rows / max(self.read_seconds, 1e-6),
            self.rows / max(self.read_seconds + self.python_seconds, 1e-6),
        )


def try_functions(conn: Connection, relation: InstalledRelation, rows: int = SAMPLE_ROWS) -> Sample:
    """Run the mapping's functions over some of its rows, twice and in another order.

    Raises:
        TransformFailed: one failed, or did not answer the same to the same.
    """
    plan = plan_of(relation)
    maker = Maker(plan)
    query = sql.SQL("{} LIMIT {}").format(raw_select(relation, _rows(relation)), sql.Literal(rows))
    began = time.perf_counter()
    found = conn.execute(query).fetchall()
    read_in = time.perf_counter()
    first = [maker.values(row) for row in found]
    made_in = time.perf_counter()
    second = [maker.values(row) for row in reversed(found)][::-1]
    for row, one, other in zip(found, first, second, strict=True):
        for made, ours, theirs in zip(plan.made, one, other, strict=True):
            if ours != theirs:
                key = "/".join(str(part) for part in row[: plan.key_width])
                raise TransformFailed(
                    f"{made.function!r}, which makes {made.column!r} of {plan.target!r}, answers the same row "
                    f"otherwise the second time (key {key} of {plan.table!r}); a mapping's function must depend on its "
                    "inputs alone: no clock, no random number, no state, no order of a set"
                )
    return Sample(rows=len(found), read_seconds=read_in - began, python_seconds=made_in - read_in)
