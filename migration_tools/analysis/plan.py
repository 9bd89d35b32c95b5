"""The cut plan: what each context and pair costs, in which order they leave, and whether to cut at all."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.extra import load
from migration_tools.analysis.findings import Finding
from migration_tools.analysis.order import bonds_of, may_leave, reasons
from migration_tools.analysis.report import ContextFacts, Cut, Pair, Size, Verdict

PARTS = ("schema", "code", "queries", "writers", "transactions")

# Below these a split pays for nothing that a well-kept monolith does not have.
FEW_CONTEXTS = 3
FEW_ROWS = 1_000_000
FEW_WRITES_PER_SECOND = 20.0
# A cheapest cut that costs more than this share of all coupling cuts through the middle of something.
ENTANGLED = 0.75

#: Gives the size of the tables of some contexts: of those named, or of all for None.
Sizes = Callable[[Sequence[str], Iterable[str] | None], Size]


def unmeasured(contexts: Sequence[str], tables: Iterable[str] | None) -> Size:
    """The sizes where no database was read."""
    return Size()


def cost_of(findings: Iterable[Finding]) -> dict[str, int]:
    """Points by part. A finding counts once, however often its statement runs: code is changed once."""
    parts = dict.fromkeys(PARTS, 0)
    told: set[tuple[str, ...]] = set()
    for finding in findings:
        once = _once(finding)
        if once not in told:
            told.add(once)
            parts[finding.of.part] += finding.of.cost
    return parts


def _once(finding: Finding) -> tuple[str, ...]:
    """What is one piece of work: a saga is one for all contexts that its transaction writes."""
    if finding.rule == "SFA202":
        return (finding.rule, finding.detail.get("entry", ""), *finding.tables)
    if finding.rule == "SFA201":
        return (finding.rule, *sorted(finding.tables))
    if finding.rule in ("SFA205", "SFA203", "SFA204"):
        return (finding.rule, finding.source, finding.target, *finding.tables)
    return (finding.rule, finding.source, finding.target, finding.key)


def coupling(findings: Iterable[Finding], contexts: ContextMap) -> list[Finding]:
    """The findings that a cut has to do with: between two contexts, none of them a framework's."""
    return [
        each
        for each in findings
        if each.source != each.target
        and not contexts.is_framework(each.source)
        and not contexts.is_framework(each.target)
    ]


def pairs_of(findings: Sequence[Finding], sizes: Sizes = unmeasured) -> tuple[Pair, ...]:
    """Each two contexts that are coupled, the dearest first."""
    grouped: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        one, other = sorted((finding.source, finding.target))
        grouped.setdefault((one, other), []).append(finding)
    pairs = []
    for names, found in grouped.items():
        counts: dict[str, int] = {}
        for finding in found:
            counts[finding.rule] = counts.get(finding.rule, 0) + 1
        size = sizes(names, {table for finding in found for table in finding.tables})
        pairs.append(Pair(contexts=names, counts=dict(sorted(counts.items())), **asdict(size), **_work(found)))
    return tuple(sorted(pairs, key=lambda pair: (-pair.cost, pair.contexts)))


def plan_of(findings: Sequence[Finding], candidates: Sequence[str], sizes: Sizes = unmeasured) -> tuple[Cut, ...]:
    """The candidates in order: at each step, of those that may leave (`order`), the one that costs least then.

    What is out already need not be paid for again.
    """
    left, done = list(candidates), set[str]()
    bonds = bonds_of(findings, candidates)
    plan: list[Cut] = []
    while left:
        open_ = [each for each in findings if each.source not in done and each.target not in done]
        then = {name: sum(cost_of(_touching(open_, name)).values()) for name in may_leave(left, bonds)}
        name = min(then, key=lambda each: (then[each], each))
        after, ahead_of, because = reasons(name, done, bonds)
        left.remove(name)
        done.add(name)
        cut = replace(cut_of(findings, name, sizes), step=len(plan) + 1, cost_then=then[name])
        plan.append(replace(cut, after=after, ahead_of=ahead_of, because=because))
    return tuple(plan)


def cut_of(findings: Sequence[Finding], name: str, sizes: Sizes = unmeasured) -> Cut:
    """What it takes to cut one context out of everything that there is now."""
    return Cut(context=name, **asdict(sizes([name], None)), **_work(_touching(findings, name)))


def _work(found: Sequence[Finding]) -> dict[str, Any]:
    """Cost, parts and what has to be built, as both a cut and a pair have them."""
    parts = cost_of(found)
    joined = [each for each in found if each.rule == "SFA201"]
    return {
        "cost": sum(parts.values()),
        "parts": parts,
        "sagas": _sorted(str(each.detail.get("entry", "")) for each in found if each.rule == "SFA202"),
        "projections": _sorted(" ⋈ ".join(sorted(each.tables)) for each in joined),
        "contracts": _sorted(
            _contract(each) for each in found if each.rule in ("SFA203", "SFA204", "SFA205", "SFA108")
        ),
        "loose_keys": _sorted(
            f"{each.detail.get('model')}.{each.detail.get('field')}"
            for each in found
            if each.rule in ("SFA101", "SFA103")
        ),
    }


def _contract(finding: Finding) -> str:
    """What one side must offer to the other: named by who offers and who asks."""
    offers, asks = finding.target, finding.source
    what = "command" if finding.rule == "SFA203" else "event" if finding.rule == "SFA108" else "query"
    return f"{offers} → {asks} ({what}: {', '.join(finding.tables) or finding.detail.get('signal', '')})"


def _touching(findings: Iterable[Finding], name: str) -> list[Finding]:
    return [
        each
        for each in findings
        if name in (each.source, each.target) or (each.rule == "SFA202" and name in each.detail.get("contexts", ()))
    ]


def _sorted(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({text for text in texts if text}))


def clusters_of(pairs: Sequence[Pair], names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Contexts that hang together more than with the rest: where the lines would run if nobody had drawn any."""
    networkx = load("networkx")
    graph = networkx.Graph()
    graph.add_nodes_from(sorted(names))
    for pair in pairs:
        if set(pair.contexts) <= set(names):
            graph.add_edge(*pair.contexts, weight=pair.cost)
    if not graph.number_of_edges():
        return tuple((name,) for name in sorted(names))
    found = networkx.community.louvain_communities(graph, weight="weight", seed=7)
    return tuple(sorted((tuple(sorted(each)) for each in found), key=lambda each: (-len(each), each)))


def verdict_of(
    plan: Sequence[Cut],
    facts: Sequence[ContextFacts],
    findings: Sequence[Finding],
    *,
    observed: bool,
    measured: bool,
    relays: bool,
) -> Verdict:
    """Whether to cut, and where first; every reason with the figure that it stands on."""
    real = [each for each in facts if each.tables and not each.framework]
    rows = sum(each.rows for each in real)
    rate = sum(each.writes_per_second for each in real)
    teams = {each.team for each in real if each.team}
    stay = []
    if len(real) < FEW_CONTEXTS:
        stay.append(f"there are {len(real)} contexts with tables; below {FEW_CONTEXTS} there is little to separate")
    if measured and rows < FEW_ROWS and rate < FEW_WRITES_PER_SECOND and len(teams) < 2:
        stay.append(
            f"{rows:,} rows and {rate:.2f} written rows a second are below {FEW_ROWS:,} and {FEW_WRITES_PER_SECOND:g}, "
            f"and {'one team works' if teams else 'no two teams are named to work'} on it: "
            "keep one database, and let the guard keep the contexts apart"
        )
    if stay or not plan:
        return Verdict(answer="stay", reasons=tuple(stay or ["no context has tables of its own"]))
    first, cheapest = plan[0], min(plan, key=lambda cut: (cut.cost, cut.step))
    total = sum(cost_of(findings).values())
    kind = "cheapest first cut" if first is cheapest else "first cut"
    told = [f"{first.context!r} is the {kind}: {first.cost} of {total} points of coupling"]
    if first is not cheapest:
        told.append(f"{cheapest.context!r} costs {cheapest.cost}, but leaves {'; '.join(cheapest.because)}")
    prepare = []
    if total and cheapest.cost / total > ENTANGLED:
        prepare.append(
            f"even the cheapest cut is {cheapest.cost / total:.0%} of all coupling; "
            "draw the contexts anew, or untangle first"
        )
    if not observed:
        prepare.append("no trace was given: JOINs and transactions are unknown; run the tests with --strangle-trace")
    if not measured:
        prepare.append("the database was not read: how much there is to move is unknown; leave out --no-database")
    elif not relays:
        prepare.append("no relay has ever run: events are not carried yet, and everything after the cut needs them")
    return Verdict(answer="prepare" if prepare else "cut", first=first.context, reasons=(*told, *prepare))
