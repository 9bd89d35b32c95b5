"""A relation's rows for whoever reads them here: the query itself, or rows run through its functions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from migration_tools.capture.mapped_rows import literal_rows, raw_select
from migration_tools.capture.projector import unfit
from migration_tools.capture.relations import InstalledRelation
from migration_tools.capture.transforms import plan_of
from migration_tools.stores.postgres import Connection, errors, sql
from migration_tools.stores.postgres.copying import Piped, blocks_of, pipe
from migration_tools.transfer.functions import read, through


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
