"""Which patterns a context needs, from what was measured: the decision table of the seeds, with figures."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from migration_tools.analysis.report import Analysis
from migration_tools.errors import AnalysisError

LARGE_BYTES = 500_000_000_000
MANY_WRITES_PER_SECOND = 2_000.0
APPENDED_SHARE = 0.95
FEW_ROWS = 100_000
READS_A_WRITE = 100
# A region that has less of the rows is served from another's shard.
REGION_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One pattern, whether it applies, the figure that says so, and where it is in this toolkit."""

    pattern: str
    applies: bool
    because: str
    how: str


def advise(analysis: Analysis, context: str, regions: Mapping[str, float] | None = None) -> list[Advice]:
    """Every pattern that is known here, those that apply first; `regions` says which share of the rows each has.

    Raises:
        AnalysisError: there is no such context.
    """
    if context not in {each.name for each in analysis.contexts}:
        known = sorted(each.name for each in analysis.shown)
        raise AnalysisError(f"no context is called {context!r}; known are {known}")
    given = [*_from_couplings(analysis, context), *_from_figures(analysis, context), _by_geography(regions)]
    return sorted(given, key=lambda each: not each.applies)


def _from_couplings(analysis: Analysis, context: str) -> Iterator[Advice]:
    frameworks = {each.name for each in analysis.contexts if each.framework}
    found = [
        each
        for each in analysis.findings
        if each.source != each.target
        and not {each.source, each.target} & frameworks
        and (context in (each.source, each.target) or context in each.detail.get("contexts", ()))
    ]
    sagas = {str(each.detail.get("entry")) for each in found if each.rule == "SFA202"}
    joins = {each.tables for each in found if each.rule == "SFA201"}
    loops = {str(each.place) for each in found if each.rule == "SFA204" and each.source == context}
    reads = {each.target for each in found if each.rule in ("SFA205", "SFA204") and each.source == context}
    keys = [each for each in found if each.rule in ("SFA101", "SFA103")]
    yield Advice(
        pattern="saga",
        applies=bool(sagas),
        because=f"{len(sagas)} functions write it and another context in one transaction"
        + (f": {', '.join(sorted(sagas))}" if sagas else ""),
        how="a saga with compensations; it is not isolated as a transaction is, so pending states must be visible",
    )
    yield Advice(
        pattern="read model (CQRS)",
        applies=bool(joins),
        because=f"{len(joins)} JOINs reach across its border",
        how="a projection filled by events; it answers without a call and is behind by the lag",
    )
    yield Advice(
        pattern="API composition",
        applies=bool(reads) and not joins,
        because=f"its code reads {len(reads)} other contexts by single statements"
        + (f" ({_list(reads)})" if reads else ""),
        how="ask both sides in parallel with a deadline; enough while nothing has to be sorted or filtered across them",
    )
    yield Advice(
        pattern="batch endpoint",
        applies=bool(loops),
        because=f"{len(loops)} lines read another context in a loop",
        how="ask for all keys at once before the loop",
    )
    yield Advice(
        pattern="loose foreign keys",
        applies=bool(keys),
        because=f"{len(keys)} keys cross its border",
        how="migration_tools.seams.loose_key.LooseForeignKey",
    )


def _from_figures(analysis: Analysis, context: str) -> Iterator[Advice]:
    facts = next(each for each in analysis.contexts if each.name == context)
    tables = [each for each in analysis.tables if each["context"] == context]
    appended = [
        str(each["name"])
        for each in tables
        if each["inserted"]
        and each["inserted"] / (each["inserted"] + each["updated"] + each["deleted"]) >= APPENDED_SHARE
    ]
    rate = facts.writes_per_second
    yield Advice(
        pattern="event sourcing",
        applies=bool(appended) and len(appended) == len([each for each in tables if each["inserted"]]),
        because=f"{len(appended)} of {len(tables)} tables are only appended to"
        + (f" ({_list(appended)})" if appended else ""),
        how="where the history is the truth and has to be audited; not for rows that are edited",
    )
    yield Advice(
        pattern="sharding",
        applies=facts.bytes >= LARGE_BYTES or rate >= MANY_WRITES_PER_SECOND,
        because=f"{facts.bytes / 1e9:.1f} GB and {rate:.1f} written rows a second; from {LARGE_BYTES / 1e9:.0f} GB or "
        f"{MANY_WRITES_PER_SECOND:g} a second one database gets narrow",
        how="buckets over a stable hash, moved one by one",
    )
    read_mostly = 0 < facts.rows <= FEW_ROWS and facts.scans >= READS_A_WRITE * max(facts.written, 1)
    yield Advice(
        pattern="shared data service",
        applies=read_mostly,
        because=f"{facts.rows:,} rows, {facts.scans:,} scans and {facts.written:,} rows written",
        how="small, read by many, seldom written: publish snapshots and let everybody keep a copy",
    )


def _by_geography(regions: Mapping[str, float] | None) -> Advice:
    large = {name: share for name, share in (regions or {}).items() if share >= REGION_SHARE}
    told = ", ".join(f"{name} {share:.0%}" for name, share in sorted(large.items(), key=lambda each: -each[1]))
    return Advice(
        pattern="sharding by geography",
        applies=len(large) > 1,
        because=f"{len(large)} regions have {REGION_SHARE:.0%} of the rows or more: {told or 'none'}"
        if regions
        else "no column is named that says where a row belongs (--region)",
        how="a map by geography, where rows of a region must or should lie near it: they never leave its shards",
    )


def _list(names: object) -> str:
    return ", ".join(sorted(names))  # type: ignore[call-overload]
