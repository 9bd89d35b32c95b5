"""The audit of a context: what was done to it, by whom and why, and whether the evidence holds together."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from migration_tools.reports.kinds import VERSIONS, Kind
from migration_tools.reports.letters import plural, shape
from migration_tools.reports.sheet import Case, Sheet, Table


@dataclass(frozen=True, kw_only=True)
class Check:
    """One statement about the record; `wrong` says each way in which it does not hold, `idle` why it says nothing."""

    id: str
    says: str
    wrong: Sequence[str] = ()
    idle: str = ""


@dataclass(frozen=True, kw_only=True)
class Deed:
    """One entry of the journal; `figures` are the numbers of its evidence, `error` a text that may quote a value."""

    entry: int
    at: str
    move: str
    step: str
    actor: str
    reason: str
    figures: dict[str, float]
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """The whole record; `omitted` older deeds are only counted, the checks saw them all."""

    context: str
    at: str
    phase: str
    checks: Sequence[Check]
    deeds: Sequence[Deed]
    omitted: int = 0
    redacted: bool = False

    @property
    def clean(self) -> bool:
        """Whether something was done and every check holds."""
        return bool(self.deeds) and not any(each.wrong for each in self.checks)

    def redact(self) -> Self:
        """The same report without the texts of errors."""
        if self.redacted:
            return self
        return replace(self, redacted=True, deeds=[replace(d, error=shape(d.error) or "") for d in self.deeds])

    def to_json(self, *, reveal: bool = False) -> dict[str, Any]:
        """The JSON form, keys in a stable order."""
        if not reveal and not self.redacted:
            return self.redact().to_json()
        return {
            "kind": str(Kind.AUDIT),
            "version": VERSIONS[Kind.AUDIT],
            "redacted": self.redacted,
            "context": self.context,
            "at": self.at,
            "phase": self.phase,
            "clean": self.clean,
            "checks": [
                {"id": each.id, "says": each.says, "holds": not each.wrong, "idle": each.idle, "wrong": [*each.wrong]}
                for each in self.checks
            ],
            "deeds": [asdict(each) for each in self.deeds],
            "omitted": self.omitted,
        }


def sheet_of(report: AuditReport, *, reveal: bool = False) -> Sheet:
    """What every rendering but JSON is made from."""
    if not reveal:
        report = report.redact()
    failed = sum(1 for each in report.checks if each.wrong)
    hidden = report.redacted and any(each.error for each in report.deeds)
    return Sheet(
        title=f"audit of {report.context}",
        verdict="the record holds together"
        if report.clean
        else f"{plural(failed, 'check')} failed"
        if failed
        else "nothing was done yet",
        good=report.clean,
        circumstances=f"phase {report.phase}, {plural(len(report.deeds) + report.omitted, 'deed')}, {report.at}",
        cases=[_case(report, each) for each in report.checks],
        tables=[_deeds(report)],
        notes=["Texts of errors are redacted."] if hidden else [],
        properties={"phase": report.phase, "deeds": str(len(report.deeds) + report.omitted)},
    )


def _case(report: AuditReport, check: Check) -> Case:
    return Case(
        name=check.says,
        group=f"{report.context}.audit",
        wrong=check.wrong[0] if check.wrong else "",
        skipped=check.idle,
        lines=check.wrong[1:],
    )


def _deeds(report: AuditReport) -> Table:
    head = ("when", "what", "step", "by", "why", "figures", "error")
    rows = [
        (
            each.at, each.move, each.step, each.actor, each.reason,
            ", ".join(f"{name} {value:g}" for name, value in each.figures.items()), each.error,
        )
        for each in report.deeds
    ]  # fmt: skip
    title = "Deeds" + (f" (the last; {report.omitted:,} older ones are only counted)" if report.omitted else "")
    return Table(title=title, head=head, rows=rows)
