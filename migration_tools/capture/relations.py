"""The relations of a stream as they are installed: how rows of a source table become rows of a target table."""

from dataclasses import dataclass
from typing import Any

from migration_tools.capture.transforms import Made, from_json
from migration_tools.stores.postgres import Connection


@dataclass(frozen=True, kw_only=True)
class InstalledRelation:
    """A row of strangle_relation; without `key_parts` the key is what capture reports, in its order."""

    number: int
    projection: str
    kind: str
    source_table: str
    target_table: str
    key_columns: tuple[str, ...]
    key_types: tuple[str, ...]
    key_parts: tuple[dict[str, Any], ...] = ()
    columns: tuple[str, ...]
    query: str
    share: str = ""
    dependencies: list[dict[str, Any]]
    rank: int
    owned: bool
    transforms: tuple[Made, ...] = ()
    column_types: tuple[str, ...] = ()


def read_relations(conn: Connection, stream: str) -> list[InstalledRelation]:
    """The active relations of a stream in this database, parents before children."""
    return [
        InstalledRelation(
            number=row[0],
            projection=row[1],
            kind=row[2],
            source_table=row[3],
            target_table=row[4],
            key_columns=tuple(row[5]),
            key_types=tuple(row[6]),
            columns=tuple(row[7]),
            query=row[8],
            dependencies=row[9],
            rank=row[10],
            owned=row[11],
            key_parts=tuple(row[12] or ()),
            share=row[13],
            transforms=made,
            column_types=types,
        )
        for row in conn.execute(
            """SELECT id, projection, kind, source_table, target_table, key_columns, key_types, columns, query,
            dependencies,
                      rank, owned, key_parts, share, transforms
               FROM strangle_relation WHERE stream = %s AND active ORDER BY rank, id""",
            [stream],
        )
        for made, types in [from_json(row[14])]
    ]
