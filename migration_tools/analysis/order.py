"""Which context leaves before which: whose code writes or joins another's tables goes first.

Note [who goes first]. A transaction and a statement have one database. If the written or joined context left first, the
code that stays behind would need a saga or a read model in the monolith, until it leaves itself. If that code leaves
first, its service has them anyway: its effects are events, which the other side applies in its own code, and it reads a
copy. A plain read asks for no order, since a seam stands in for it; nor does what is nobody's code (SFA206).

Note [rings]. Contexts that use each other's tables cannot all go first. Writers weigh more than joins, so a ring of
both is cut at a join; a ring of writers is cut where it costs least, and the cut says so.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from migration_tools.analysis.extra import load
from migration_tools.analysis.findings import Finding
from migration_tools.reports.letters import plural

WRITES = ("SFA112", "SFA202", "SFA203")
JOINS = ("SFA201",)
RING = "they use each other's tables in a ring, which has to be cut somewhere"


@dataclass(frozen=True, kw_only=True)
class Bond:
    """Code of `user` needs the tables of `owner` in its own database, as `places` write them or else join them."""

    user: str
    owner: str
    writes: bool
    places: tuple[str, ...]

    def __str__(self) -> str:
        others = f" and {plural(len(self.places) - 1, 'more place')}" if len(self.places) > 1 else ""
        return f"{self.user}, whose code {'writes' if self.writes else 'joins'} its tables: {self.places[0]}{others}"


def bonds_of(findings: Iterable[Finding], candidates: Sequence[str]) -> tuple[Bond, ...]:
    """Every two candidates of which one should leave before the other, by their names."""
    found: dict[tuple[str, str], dict[bool, dict[str, int]]] = {}
    for finding in findings:
        writes = finding.rule in WRITES or (finding.rule == "SFA111" and bool(finding.detail.get("writes")))
        if not writes and finding.rule not in JOINS:
            continue
        # Where no context's code coordinates several tables, the source is only where they were listed first.
        user = finding.detail.get("by", finding.source)
        for owner in {finding.source, finding.target} - {user}:
            if user in candidates and owner in candidates:
                weights = found.setdefault((user, owner), {}).setdefault(writes, {})
                weights[str(finding.place)] = weights.get(str(finding.place), 0) + finding.weight
    return tuple(
        Bond(user=user, owner=owner, writes=True in by_kind, places=_heaviest(by_kind.get(True) or by_kind[False]))
        for (user, owner), by_kind in sorted(found.items())
    )


def _heaviest(weights: dict[str, int]) -> tuple[str, ...]:
    return tuple(sorted(weights, key=lambda place: (-weights[place], place)))


def may_leave(left: Sequence[str], bonds: Iterable[Bond]) -> list[str]:
    """Those of the contexts still there that may leave next: at least one, by their names. See Note [rings]."""
    among = [each for each in bonds if each.user in left and each.owner in left]
    return sorted(
        name
        for ring in _first(left, among)
        for group in _first(ring, [each for each in among if each.writes])
        for name in group
    )


def _first(names: Iterable[str], bonds: Iterable[Bond]) -> Iterator[set[str]]:
    """The strongly connected sets of these names that no other name has a bond on."""
    networkx = load("networkx")
    graph = networkx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from((each.user, each.owner) for each in bonds if {each.user, each.owner} <= set(graph))
    for group in networkx.strongly_connected_components(graph):
        if all(user in group for name in group for user in graph.predecessors(name)):
            yield group


def reasons(
    name: str, out: Iterable[str], bonds: Iterable[Bond]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """After whom a context leaves, ahead of whom although they use its tables, and a sentence on each of both."""
    gone = set(out)
    mine = [each for each in bonds if each.owner == name]
    after, ahead = [each for each in mine if each.user in gone], [each for each in mine if each.user not in gone]
    return (
        tuple(each.user for each in after),
        tuple(each.user for each in ahead),
        (*(f"after {each}" for each in after), *(f"ahead of {each}; {RING}" for each in ahead)),
    )
