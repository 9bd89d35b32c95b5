"""Compare a copy with its source, repair what differs, or build it anew beside live events."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connections

from migration_tools.conf import settings
from migration_tools.errors import ReplicationError
from migration_tools.kernel import points
from migration_tools.kernel.watch import UNWATCHED, ProgressBar, Watch
from migration_tools.replication.copying import end_rows, forget, learn
from migration_tools.replication.declaration import Copy, Source
from migration_tools.replication.targets import OnDelete, Target
from migration_tools.stores.postgres import sql

PAGE_ROWS = 100
KEYS_SHOWN = 20


@dataclass(kw_only=True)
class Reconciled:
    """What was found: keys by kind, and how many of them were repaired."""

    copy: str
    rows: int = 0
    missing: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    repaired: int = 0

    @property
    def equal(self) -> bool:
        """Whether nothing differed."""
        return not (self.missing or self.changed or self.extra)

    def to_json(self) -> dict[str, Any]:
        """Counts, and some of the keys."""
        kinds = {"missing": self.missing, "changed": self.changed, "extra": self.extra}
        return {
            "copy": self.copy,
            "rows": self.rows,
            **{kind: len(keys) for kind, keys in kinds.items()},
            "keys": {kind: keys[:KEYS_SHOWN] for kind, keys in kinds.items() if keys},
            "repaired": self.repaired,
        }


def reconcile(copy: Copy, *, repair: bool, watch: Watch = UNWATCHED) -> Reconciled:
    """Walk the source's rows and the copy's, and report what differs; with `repair` make it equal.

    Each row is repaired in a transaction of its own, by the version that the source told with it: events that arrive
    meanwhile are newer and win. A row that differs may be one whose event is on its way, so a report without repair is
    of a moment. Keys of the source are held in memory.

    Raises:
        ReplicationError: the copy has no source, or it does not answer.
        Interrupted: `watch` said so, between two pages; rows that were repaired stay so.
    """
    report = Reconciled(copy=copy.name)
    seen: set[str] = set()
    with watch.progress(f"compare copy {copy.name!r} with its source", _held(copy)) as bar:
        for page in _pages(copy):
            _take(report, bar, page)
            seen |= {str(row[copy.key]) for row in page}
            absent, different = _differences(copy, page)
            report.missing += absent
            report.changed += different
            for row in page:
                if repair and str(row[copy.key]) in {*absent, *different}:
                    report.repaired += _learn(copy, row)
            watch.heed(_stopped(report))
    _extra(copy, seen, report, watch, repair=repair)
    return report


def rebuild(copy: Copy, *, watch: Watch = UNWATCHED) -> Reconciled:
    """Forget the versions and learn every row from the source again; readers see each row old or new, never none.

    Raises:
        ReplicationError: the copy has no source, or it does not answer.
        Interrupted: `watch` said so, between two pages; what was not learned yet is as it was.
    """
    total = _held(copy)
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute("DELETE FROM strangle_copied WHERE copy = %s", [copy.name])
    report = Reconciled(copy=copy.name)
    seen: set[str] = set()
    with watch.progress(f"learn copy {copy.name!r}", total) as bar:
        for page in _pages(copy):
            _take(report, bar, page)
            for row in page:
                seen.add(str(row[copy.key]))
                report.repaired += _learn(copy, row)
            watch.heed(_stopped(report))
    _extra(copy, seen, report, watch, repair=True)
    return report


def _held(copy: Copy) -> int | None:
    """How many rows the copy knows of: about as many as its source has, unless it is being filled."""
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM strangle_copied WHERE copy = %s", [copy.name])
        return int(cursor.fetchone()[0]) or None


def _take(report: Reconciled, bar: ProgressBar, page: Sequence[Mapping[str, Any]]) -> None:
    points.reached("replication.page")
    report.rows += len(page)
    bar.advance(len(page))


def _stopped(report: Reconciled) -> str:
    return (
        f"stopped after {report.rows} rows of copy {report.copy!r}, {report.repaired} of them written; the others are "
        "as they were. Run the same command again: it begins anew"
    )


def _source(copy: Copy) -> Source:
    if copy.source is None:
        raise ReplicationError(f"copy {copy.name!r} has no source to compare with; declare source=")
    return copy.source


def _pages(copy: Copy) -> Iterator[Sequence[Mapping[str, Any]]]:
    after: str | None = None
    while page := _source(copy).page(after, PAGE_ROWS):
        yield page
        last = str(page[-1][copy.key])
        if last == after:
            raise ReplicationError(f"the source of {copy.name!r} answers the same page after {after!r} again")
        after = last


def _learn(copy: Copy, row: Mapping[str, Any]) -> bool:
    values = {name: row[name] for name in copy.fields if name in row}
    return learn(copy, str(row[copy.key]), int(row[copy.version or ""]), values, again=True)


def _differences(copy: Copy, page: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Keys that own rows lack, and keys whose values differ in some target."""
    missing: set[str] = set()
    changed: set[str] = set()
    keys = [str(row[copy.key]) for row in page]
    for target in copy.targets:
        for place, absent, differs in _compare(copy, target, page):
            if absent and target.own_row:
                missing.add(keys[place - 1])
            elif differs and not absent:
                changed.add(keys[place - 1])
    return sorted(missing, key=keys.index), sorted(changed - missing, key=keys.index)


def _compare(copy: Copy, target: Target, page: Sequence[Mapping[str, Any]]) -> list[tuple[int, bool, bool]]:
    """The place of each row in the page, whether the target has no row of it, and whether that differs."""
    documents = []
    for row in page:
        lacking = sorted(set(target.columns.values()) - set(row))
        if lacking:
            raise ReplicationError(f"the source of {copy.name!r} answers rows without {lacking}")
        documents.append({target.key: row[copy.key], **{c: row[name] for c, name in target.columns.items()}})
    columns = [sql.Identifier(name) for name in target.columns]
    statement = sql.SQL(
        "SELECT e.place, t.{key} IS NULL, ({ours}) IS DISTINCT FROM ({theirs})"
        " FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS e (said, place)"
        " CROSS JOIN LATERAL jsonb_populate_record(NULL::{table}, e.said) AS r LEFT JOIN {table} t ON t.{key} = r.{key}"
    ).format(
        key=sql.Identifier(target.key),
        table=sql.Identifier(target.table),
        ours=sql.SQL(", ").join(sql.SQL("t.{}").format(name) for name in columns),
        theirs=sql.SQL(", ").join(sql.SQL("r.{}").format(name) for name in columns),
    )
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(statement, [json.dumps(documents)])
        return list(cursor.fetchall())


def _extra(copy: Copy, seen: set[str], report: Reconciled, watch: Watch, *, repair: bool) -> None:
    """Rows of entities that the source does not have: asked again by key, since they may be newer than the walk."""
    held: set[str] = set()
    for target in copy.targets:
        if target.own_row and target.on_delete is OnDelete.CASCADE:
            with connections[settings().DATABASE].cursor() as cursor:
                cursor.execute(
                    sql.SQL("SELECT {}::text FROM {}").format(sql.Identifier(target.key), sql.Identifier(target.table))
                )
                held |= {key for (key,) in cursor.fetchall()}
    suspects = sorted(held - seen)
    for start in range(0, len(suspects), PAGE_ROWS):
        watch.heed(_stopped(report))
        keys = suspects[start : start + PAGE_ROWS]
        newest = {key: _newest(copy, key) for key in keys}
        there = {str(row[copy.key]) for row in _source(copy).rows(keys)}
        for key in keys:
            if key not in there:
                report.extra.append(key)
                # Only if nothing was said of it since: a later event knows better than we do.
                if repair and newest[key] == _newest(copy, key):
                    forget(copy, key, newest[key])
                    # A row that no event ever told of has no version to end: planted, or older than the copy.
                    any([end_rows(target, key) for target in copy.targets])
                    report.repaired += 1


def _newest(copy: Copy, key: str) -> int:
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute("SELECT fields::text, floor FROM strangle_copied WHERE copy = %s AND key = %s", [copy.name, key])
        found = cursor.fetchone()
    return max([found[1], *json.loads(found[0]).values()]) if found else -1
