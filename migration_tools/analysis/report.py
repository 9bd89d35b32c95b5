"""The report of an analysis: one versioned model that every rendering is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from migration_tools.analysis.findings import Finding
from migration_tools.errors import AnalysisError
from migration_tools.reports.kinds import VERSIONS, Kind

VERSION = VERSIONS[Kind.ANALYZE]


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much some tables have and are written."""

    rows: int = 0
    bytes: int = 0
    writes_per_second: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ContextFacts(Size):
    """One context as it is: who answers for it and how much of everything it has."""

    name: str
    owner: str = ""
    team: str = ""
    store: str = ""
    services: tuple[str, ...] = ()
    framework: bool = False
    tables: tuple[str, ...] = ()
    scans: int = 0
    written: int = 0


@dataclass(frozen=True, kw_only=True)
class Work(Size):
    """What it takes to undo some couplings: points, `parts` by kind, and what has to be built."""

    cost: int
    parts: Mapping[str, int]
    sagas: tuple[str, ...] = ()
    projections: tuple[str, ...] = ()
    contracts: tuple[str, ...] = ()
    loose_keys: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cut(Work):
    """Taking one context out of everything that there is now. Its size is that of the tables that move.

    It leaves `after` those whose code uses its tables, `ahead_of` others of them where they are in a ring with it;
    `because` has a sentence on each.
    """

    context: str
    step: int = 0
    cost_then: int = 0
    after: tuple[str, ...] = ()
    ahead_of: tuple[str, ...] = ()
    because: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Pair(Work):
    """Taking two contexts apart, in both directions. Its size is that of the two's tables that the couplings name."""

    contexts: tuple[str, str]
    counts: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`stay`, `prepare` or `cut`; `first` is the context to begin with, and each reason holds its figure."""

    answer: str
    first: str = ""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything; `measured_at` and `seconds` are the database's clock and how long its counters counted."""

    project: str
    made_at: str
    contexts: tuple[ContextFacts, ...]
    tables: tuple[Mapping[str, Any], ...] = ()
    findings: tuple[Finding, ...] = ()
    pairs: tuple[Pair, ...] = ()
    plan: tuple[Cut, ...] = ()
    verdict: Verdict = field(default_factory=lambda: Verdict(answer="prepare"))
    clusters: tuple[tuple[str, ...], ...] = ()
    measured_at: float = 0.0
    seconds: float = 0.0
    sources: tuple[str, ...] = ()
    what_if: tuple[str, ...] = ()

    @property
    def shown(self) -> list[ContextFacts]:
        """The contexts that a reader decides about: no framework's, and none that nothing is known of."""
        coupled = {name for finding in self.findings for name in (finding.source, finding.target)}
        return [each for each in self.contexts if not each.framework and (each.tables or each.name in coupled)]

    def between(self, source: str, target: str) -> list[Finding]:
        """The findings in one direction."""
        return [each for each in self.findings if (each.source, each.target) == (source, target)]

    def counted(self) -> dict[str, int]:
        """Rule → how many findings, in the order of ids."""
        counts: dict[str, int] = {}
        for finding in self.findings:
            counts[finding.rule] = counts.get(finding.rule, 0) + 1
        return dict(sorted(counts.items()))

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "kind": str(Kind.ANALYZE),
            "version": VERSION,
            "project": self.project,
            "made_at": self.made_at,
            "measured_at": self.measured_at,
            "seconds": self.seconds,
            "sources": list(self.sources),
            "what_if": list(self.what_if),
            "verdict": _plain(self.verdict),
            "contexts": [_plain(each) for each in self.contexts],
            "plan": [_plain(each) for each in self.plan],
            "pairs": [_plain(each) for each in self.pairs],
            "clusters": [list(each) for each in self.clusters],
            "counts": self.counted(),
            "tables": [dict(each) for each in self.tables],
            "findings": [each.to_json() for each in self.findings],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the JSON form back.

        Raises:
            AnalysisError: it is of another version, or no report.
        """
        if document.get("version") != VERSION:
            raise AnalysisError(
                f"a report of version {document.get('version')!r} cannot be read, only of version {VERSION}; "
                "run strangle_analyze again to have one"
            )
        try:
            return cls(
                project=document["project"],
                made_at=document["made_at"],
                measured_at=document["measured_at"],
                seconds=document["seconds"],
                sources=tuple(document["sources"]),
                what_if=tuple(document["what_if"]),
                verdict=Verdict(**_tuples(document["verdict"])),
                contexts=tuple(ContextFacts(**_tuples(each)) for each in document["contexts"]),
                plan=tuple(Cut(**_tuples(each)) for each in document["plan"]),
                pairs=tuple(Pair(**_tuples(each)) for each in document["pairs"]),
                clusters=tuple(tuple(each) for each in document["clusters"]),
                tables=tuple(document["tables"]),
                findings=tuple(Finding.from_json(each) for each in document["findings"]),
            )
        except (KeyError, TypeError) as error:
            raise AnalysisError(f"not a report of strangle_analyze: {error!r}; run it again") from error


def _plain(value: Any) -> dict[str, Any]:
    return {name: list(each) if isinstance(each, tuple) else each for name, each in vars(value).items()}


def _tuples(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(each) if isinstance(each, list) else each for name, each in given.items()}


def by_rule(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    """Findings by rule, in the order of ids."""
    found: dict[str, list[Finding]] = {}
    for finding in sorted(findings, key=lambda each: (each.rule, each.place.file, each.place.line)):
        found.setdefault(finding.rule, []).append(finding)
    return found
