"""The report of hand-overs: each with its measured pause, what was tried in vain before it, and who did it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from migration_tools.reports.kinds import VERSIONS, Kind
from migration_tools.reports.letters import plural, shape
from migration_tools.reports.sheet import Case, Sheet, Table


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An attempt that ended without a hand-over; `error` is the message, which may quote a value."""

    at: str
    step: str
    kind: str
    error: str


@dataclass(frozen=True, kw_only=True)
class HandOverRecord:
    """One change of owner. `to` is the side that writes since; `pause_ms` how long writers were held."""

    entry: int
    move: str
    to: str
    began: str
    at: str
    actor: str
    reason: str
    epoch: int
    position: int
    drained: int
    attempts: int
    proxies: int
    pause_ms: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class CutoverReport:
    """Every hand-over of a context, the oldest first; `open_move` is one that was begun and has not ended."""

    context: str
    at: str
    phase: str
    open_move: str = ""
    hand_overs: Sequence[HandOverRecord] = ()
    failures: Sequence[Failure] = field(default_factory=list)
    redacted: bool = False

    @property
    def longest_pause_ms(self) -> float:
        """The longest that writers were held; 0 without a hand-over."""
        return max((each.pause_ms for each in self.hand_overs), default=0.0)

    @property
    def clean(self) -> bool:
        """Whether something was handed over and no hand-over is cut off: no data is not clean."""
        return bool(self.hand_overs) and not self.open_move

    def redact(self) -> Self:
        """The same report without the texts of errors, which may quote a value of a row."""
        if self.redacted:
            return self
        failures = [replace(each, error=shape(each.error) or "") for each in self.failures]
        return replace(self, redacted=True, failures=failures)

    def to_json(self, *, reveal: bool = False) -> dict[str, Any]:
        """The JSON form, keys in a stable order."""
        if not reveal and not self.redacted:
            return self.redact().to_json()
        return {
            "kind": str(Kind.CUTOVER),
            "version": VERSIONS[Kind.CUTOVER],
            "redacted": self.redacted,
            "context": self.context,
            "at": self.at,
            "phase": self.phase,
            "clean": self.clean,
            "open_move": self.open_move,
            "longest_pause_ms": self.longest_pause_ms,
            "hand_overs": [asdict(each) for each in self.hand_overs],
            "failures": [asdict(each) for each in self.failures],
        }


def sheet_of(report: CutoverReport, *, reveal: bool = False) -> Sheet:
    """What every rendering but JSON is made from."""
    if not reveal:
        report = report.redact()
    return Sheet(
        title=f"hand-overs of {report.context}",
        verdict=_verdict(report),
        good=report.clean,
        circumstances=f"phase {report.phase}, {report.at}",
        cases=[*(_case(report, each) for each in report.hand_overs), *_open(report)],
        tables=[_hand_overs(report), _failures(report)],
        notes=["Texts of errors are redacted."] if report.redacted and report.failures else [],
        seconds=sum(each.seconds for each in report.hand_overs),
        properties={"longest_pause_ms": f"{report.longest_pause_ms:g}", "phase": report.phase},
    )


def _verdict(report: CutoverReport) -> str:
    if report.open_move:
        return f"{report.open_move!r} was begun and has not ended"
    if not report.hand_overs:
        return "nothing was handed over yet"
    return f"{plural(len(report.hand_overs), 'hand-over')}, writers held {report.longest_pause_ms:g} ms at most"


def _case(report: CutoverReport, each: HandOverRecord) -> Case:
    return Case(name=f"{each.at}: to the {each.to}, held {each.pause_ms:g} ms", group=f"{report.context}.cutover")


def _open(report: CutoverReport) -> list[Case]:
    if not report.open_move:
        return []
    return [
        Case(
            name=report.open_move,
            group=f"{report.context}.cutover",
            wrong="it was begun and has not ended; run its command again, or strangle_rollback",
            lines=[f"{each.at} {each.step} {each.kind} {each.error}".rstrip() for each in report.failures],
        )
    ]


def _hand_overs(report: CutoverReport) -> Table:
    head = ("when", "to", "writers held, ms", "attempts", "drained", "proxies", "epoch", "whole move, s", "by", "why")
    rows = [
        (
            each.at, each.to, f"{each.pause_ms:g}", str(each.attempts), f"{each.drained:,}", str(each.proxies),
            str(each.epoch), f"{each.seconds:g}", each.actor, each.reason,
        )
        for each in report.hand_overs
    ]  # fmt: skip
    return Table(title="Hand-overs", head=head, rows=rows, numbers=frozenset(range(2, 8)))


def _failures(report: CutoverReport) -> Table:
    rows = [(each.at, each.step, each.kind, each.error) for each in report.failures]
    return Table(title="Attempts that came to nothing", head=("when", "how", "error", "text"), rows=rows)
