"""Write a read model and its test from a JOIN: source text that passes lint and says the same as the query."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from migration_tools.projections.columns import TYPES
from migration_tools.projections.joins import JoinShape, Shown, UnfitJoin
from migration_tools.stores.postgres import Connection

# PostgreSQL's types by the name under which a read model has them.
AS = {
    "bigint": "bigint", "integer": "integer", "smallint": "integer", "numeric": "numeric", "boolean": "boolean",
    "text": "text", "character varying": "text", "character": "text", "citext": "text", "uuid": "uuid", "date": "date",
    "timestamp with time zone": "timestamptz", "jsonb": "jsonb",
}  # fmt: skip


@dataclass(kw_only=True)
class _Part:
    """One table of the read model: `name` in it, and what of the source it keeps."""

    alias: str
    source: str
    stream: str
    key: str
    name: str
    types: Mapping[str, str]
    own: dict[str, str] = field(default_factory=dict)
    copies: dict[str, tuple[str, str]] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    indexes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Generated:
    """The two files."""

    module: str
    test: str


def generate(
    conn: Connection,
    shape: JoinShape,
    *,
    name: str,
    streams: Mapping[str, str],
    module: str = "read_models",
) -> Generated:
    """Write the files; types and keys are read from the database in which the query runs.

    Args:
        conn: the database whose tables the query names.
        shape: what `read_join` made of it.
        name: of the read model and its view.
        streams: which stream tells of which table.
        module: from where the test imports the read model.

    Raises:
        UnfitJoin: a table is not there, has not one key column, or a column has a type that read models do not have.
    """
    mistakes: list[str] = []
    parts = _parts(conn, shape, name, streams, mistakes)
    if not mistakes:
        names = _fill(shape, parts)
        mistakes += _unfit(parts)
    if mistakes:
        raise UnfitJoin(mistakes)
    kind = "".join(word.capitalize() for word in name.split("_"))
    return Generated(module=_module(kind, name, parts, shape), test=_test(kind, name, shape.bare, parts, names, module))


def _parts(
    conn: Connection, shape: JoinShape, name: str, streams: Mapping[str, str], mistakes: list[str]
) -> dict[str, _Part]:
    parts: dict[str, _Part] = {}
    for alias, table in shape.tables.items():
        rows = conn.execute(
            """SELECT a.attname::text, t.typname::text, format_type(a.atttypid, NULL),
                      EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary
                              AND a.attnum = ANY (i.indkey))
               FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
               WHERE a.attrelid = to_regclass(quote_ident(%s)) AND a.attnum > 0 AND NOT a.attisdropped""",
            [table],
        ).fetchall()
        keys = [row[0] for row in rows if row[3]]
        if len(keys) != 1:
            mistakes.append(
                f"{table!r} {'has the key ' + str(keys) if rows else 'is not there'}; it needs one key column"
            )
            continue
        if table not in streams:
            mistakes.append(f"no stream tells of {table!r}; name it with --stream {table}=STREAM")
        root = alias == shape.root
        parts[alias] = _Part(
            alias=alias, source=table, stream=streams.get(table, ""), key=keys[0],
            name=name if root else f"{name}_{table}"[:50], types=_types(rows),
        )  # fmt: skip
    for alias, (_, _, column) in shape.links.items():
        if alias in parts and parts[alias].key != column:
            mistakes.append(f"{alias!r} is joined by {column!r}; a row is referred to by its key, {parts[alias].key!r}")
    return parts


def _types(rows: list[Any]) -> dict[str, str]:
    """By column, the type as read models call it; PostgreSQL's own name where they have none."""
    return {str(row[0]): AS.get(str(row[2]), str(row[2])) for row in rows}


def _fill(shape: JoinShape, parts: dict[str, _Part]) -> list[str]:
    """Put columns, copies and references into the parts; the view's column for each output of the query."""
    root = parts[shape.root]
    for alias, (inner, column, _) in shape.links.items():
        holder = parts[inner]
        holder.references[column] = alias
        if column != holder.key:
            holder.own[column] = column
    names = [_place(shape, parts, shown) for shown in shape.shown]
    root.indexes += [_place(shape, parts, wanted) for wanted in shape.wanted]
    return names


def _place(shape: JoinShape, parts: dict[str, _Part], shown: Shown) -> str:
    """The column of the root in which a shown one stands, made through every table on the way to its own."""
    part, root = parts[shown.alias], parts[shape.root]
    if part is root:
        if shown.column == root.key:
            return root.key
        root.own.setdefault(shown.column, shown.column)
        return shown.column
    if shown.column != part.key:
        part.own.setdefault(shown.column, shown.column)
    alias, carried = shown.alias, shown.column
    while alias != shape.root:
        inner, via, _ = shape.links[alias]
        holder = parts[inner]
        if carried == parts[alias].key:
            carried = via
        else:
            copy = shown.name if inner == shape.root else f"{alias}_{carried}"
            holder.copies.setdefault(copy, (via, carried))
            carried = copy
        alias = inner
    return carried


def _unfit(parts: dict[str, _Part]) -> Iterable[str]:
    for part in parts.values():
        for column in [part.key, *part.own]:
            if column not in part.types:
                yield f"{part.source!r} has no column {column!r}; it has {sorted(part.types)}"
            elif part.types[column] not in TYPES:
                yield f"{part.source}.{column} is {part.types[column]}; read models have {sorted(TYPES)}"
        clash = sorted(set(part.own) & set(part.copies))
        if clash:
            yield f"{clash} of {part.source!r} and of a table that it refers to have one name; give one an alias"


def _module(kind: str, name: str, parts: dict[str, _Part], shape: JoinShape) -> str:
    ordered = _dependencies_first(parts, shape)
    used = ["Change", *(["Copied"] if any(p.copies for p in ordered) else []), "Gone", "Latest", "Put", "ReadModel"]
    used += ["Reference"] if any(p.references for p in ordered) else []
    lines = [
        f'"""The read model {name}, made from a JOIN; it is yours to change."""',
        "",
        "from collections.abc import Iterable",
        "",
        "from migration_tools.messaging.envelope import Envelope",
        "from migration_tools.projections import (",
        *[f"    {each}," for each in [*used, "Table", "on"]],
        ")",
        "",
        "",
        f"class {kind}(ReadModel):",
        f'    """One row a row of {parts[shape.root].source}, with what it refers to."""',
        "",
        f'    name = "{name}"',
        "    tables = (",
    ]
    for part in ordered:
        lines += _table(part, parts, private=part.alias != shape.root)
    lines.append("    )")
    for part in ordered:
        lines += _handlers(part)
    return "\n".join(lines) + "\n"


def _dependencies_first(parts: dict[str, _Part], shape: JoinShape) -> list[_Part]:
    return [parts[alias] for alias in [*reversed(list(shape.links)), shape.root]]


def _table(part: _Part, parts: dict[str, _Part], *, private: bool) -> list[str]:
    lines = [
        "        Table(",
        f'            name="{part.name}",',
        f'            key={{"{part.key}": "{part.types[part.key]}"}},',
        f'            source="{part.stream}",',
        "            columns={",
        *[f'                "{name}": Latest("{part.types[name]}"),' for name in part.own],
        *[f'                "{name}": Copied("{via}", "{column}"),' for name, (via, column) in part.copies.items()],
        "            },",
    ]
    if not part.own and not part.copies:
        lines[-2:] = ["            columns={},"]
    if part.references:
        lines.append("            references={")
        lines += [f'                "{via}": Reference(to="{parts[to].name}"),' for via, to in part.references.items()]
        lines.append("            },")
    if private:
        lines.append("            private=True,")
    indexes = [each for each in dict.fromkeys(part.indexes) if each != part.key]
    if indexes:
        lines.append("            indexes=(")
        lines += [f'                ("{each}",),' for each in indexes]
        lines.append("            ),")
    return [*lines, "        ),"]


def _handlers(part: _Part) -> list[str]:
    own = [f'"{name}",' for name in part.own]
    names = [f"        names = ({own[0]})"] if len(own) == 1 else ["        names = ("]
    if len(own) > 1:
        names += [*(f"            {each}" for each in own), "        )"]
    method = part.source.replace(".", "_")
    values = [*names, "        values = {name: event.payload[name] for name in names}"]
    said = "values" if part.own else "{}"
    key = f'{{"{part.key}": event.payload["{part.key}"]}}'
    return [
        "",
        f'    @on("{part.source}.changed", stream="{part.stream}")',
        f"    def {method}_changed(self, event: Envelope) -> Iterable[Change]:",
        *(values if part.own else []),
        f"        key = {key}",
        f'        return [Put("{part.name}", key, {said})]',
        "",
        f'    @on("{part.source}.deleted", stream="{part.stream}")',
        f"    def {method}_deleted(self, event: Envelope) -> Iterable[Change]:",
        f"        key = {key}",
        f'        return [Gone("{part.name}", key)]',
    ]


def _test(kind: str, name: str, query: str, parts: dict[str, _Part], shows: list[str], module: str) -> str:
    by_alias = {part.alias: part.source for part in parts.values()}
    lines = [
        f'"""The read model {name} shows what its JOIN gave."""',
        "",
        "from typing import Any",
        "",
        "from migration_tools.testing.joins import Source, assert_equals_join",
        "",
        'QUERY = """',
        *query.strip().splitlines(),
        '"""',
        "SOURCES = (",
    ]
    for part in parts.values():
        lines += [
            "    Source(",
            f'        table="{part.source}",',
            f'        stream="{part.stream}",',
            f'        key="{part.key}",',
            "        columns={",
            *[f'            "{each}": "{part.types[each]}",' for each in dict.fromkeys([part.key, *part.own])],
            "        },",
            "        references={",
            *[f'            "{via}": "{by_alias[to]}",' for via, to in part.references.items()],
            "        },",
            "    ),",
        ]
        if not part.references:
            lines[-3:] = ["    ),"]
    return "\n".join([
        *lines,
        ")",
        "SHOWS = (",
        *[f'    "{each}",' for each in shows],
        ")",
        "",
        "",
        f"def test_{name}_equals_the_join(db: Any) -> None:",
        f'    assert_equals_join("{module}.{kind}", QUERY, SOURCES, shows=SHOWS)',
        "",
    ])  # fmt: skip
