"""Repair as an operator does: only what a stored verification confirmed, while it still says something; journalled."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils import timezone

from migration_tools.capture.models import Side
from migration_tools.conf import settings
from migration_tools.errors import StaleReport, StrangleError
from migration_tools.phases.gates import last_change
from migration_tools.phases.surroundings import Surroundings
from migration_tools.state.journal import record
from migration_tools.state.models import Verification
from migration_tools.verification.repair import Repaired, repair
from migration_tools.verification.report import Difference, DifferenceKind, VerificationReport
from migration_tools.verification.verify import declaration_of

NAMED_AT_MOST = 20


@dataclass(frozen=True, kw_only=True)
class RepairPlan:
    """What a repair would do, out of one stored verification."""

    run: int
    report: VerificationReport
    differences: list[Difference]

    def sentences(self) -> list[str]:
        """The plan in words, one row each, the first few of every table."""
        shown: Counter[str] = Counter()
        lines = []
        for each in self.differences:
            shown[each.table] += 1
            if shown[each.table] <= NAMED_AT_MOST:
                lines.append(_sentence(each))
        lines += [
            f"And {count - NAMED_AT_MOST} more rows of {table!r}."
            for table, count in shown.items()
            if count > NAMED_AT_MOST
        ]
        return lines


def plan_repair(env: Surroundings, *, run: int | None = None, keys: Sequence[str] = ()) -> RepairPlan:
    """Read a stored verification (the latest, or `run`) and choose what to repair: all of it, or `keys`.

    Args:
        keys: rows as `table:key`, the parts of a composite key separated by slashes; each must be in the report.

    Raises:
        StaleReport: rows were changed by us since, the owner or the playbook is another, it is too old, or not the
            latest.
        StrangleError: there is no such verification, or a key is not in it.
    """
    found = Verification.objects.using(env.playbook.source).filter(context=env.context).order_by("-id")
    latest = found.first()
    chosen = latest if run is None else found.filter(id=run).first()
    again = f"run strangle_verify {env.context}, then strangle_repair {env.context}"
    if latest is None or chosen is None:
        which = "no verification" if run is None else f"no verification {run}"
        raise StrangleError(f"there is {which} of {env.context!r} to repair from; {again}")
    reasons = list(_staleness(env, chosen, latest))
    if reasons:
        raise StaleReport(f"verification {chosen.pk} cannot be repaired from: {'; '.join(reasons)}; {again}")
    report = VerificationReport.from_json(chosen.report)
    differences = [
        each for table in report.tables for each in table.differences if each.kind is not DifferenceKind.INVARIANT
    ]
    if keys:
        by_name = {f"{each.table}:{'/'.join(each.key)}": each for each in differences}
        unknown = [name for name in keys if name not in by_name]
        if unknown:
            raise StrangleError(
                f"verification {chosen.pk} has confirmed no difference at {unknown}; name rows as it does, like "
                f"{next(iter(by_name), 'table:key')!r}, or {again}"
            )
        differences = [by_name[name] for name in dict.fromkeys(keys)]
    return RepairPlan(run=chosen.pk, report=report, differences=differences)


def run_repair(env: Surroundings, plan: RepairPlan) -> Repaired:
    """Replace the rows of the plan by the owner's where they still differ; journalled.

    Raises:
        TransferError: a difference is in the owner's own table.
    """
    owner = env.owner(Side.SOURCE)
    sender = owner.owner if owner is not None else Side.SOURCE
    with env.ends(sender, "repair") as ends:
        done = repair(ends, plan.differences)
    record(
        env.context,
        "verify",
        "repaired",
        {
            "verification": plan.run,
            "keys": done.keys,
            "equal_by_then": done.equal,
            "written": done.written,
            "deleted": done.deleted,
            "by_class": dict(Counter(str(each.kind) for each in plan.differences)),
            "position": done.position,
        },
        str(env.options.get("reason", "")),
    )
    if plan.report.truncated:
        env.say(
            f"{plan.report.truncated} more differences than a report keeps are left; run strangle_verify "
            f"{env.context} --repair again"
        )
    return done


def _staleness(env: Surroundings, chosen: Verification, latest: Verification) -> list[str]:
    reasons = []
    owner = env.owner(Side.SOURCE)
    direction = None if owner is None else ("forward" if owner.owner is Side.SOURCE else "reverse")
    if direction is None:
        reasons.append("the context is not captured any more")
    elif chosen.direction != direction:
        reasons.append("the owner is the other side now")
    elif chosen.report.get("declaration") != _declaration(env, direction):
        reasons.append("the playbook has changed since")
    if chosen.pk != latest.pk:
        reasons.append(f"verification {latest.pk} is newer")
    changed = last_change(env)
    if changed is not None and chosen.at <= changed:
        reasons.append("rows were copied, repaired or handed over since")
    if timezone.now() - chosen.at > dt.timedelta(seconds=settings().REPORT_SECONDS):
        reasons.append(f"it is of {chosen.at:%Y-%m-%d %H:%M:%S} UTC, older than {settings().REPORT_SECONDS:g} s")
    return reasons


def _declaration(env: Surroundings, direction: str) -> str:
    with env.ends(Side.SOURCE if direction == "forward" else Side.TARGET, "repair") as ends:
        return declaration_of(ends)


def _sentence(difference: Difference) -> str:
    key = "/".join(difference.key)
    match difference.kind:
        case DifferenceKind.MISSING:
            return f"Insert row {key} into {difference.table!r} as the owner has it."
        case DifferenceKind.EXTRA | DifferenceKind.ORPHAN:
            return f"Delete row {key} of {difference.table!r}, which the owner does not have ({difference.kind.label})."
    columns = ", ".join(each.column for each in difference.fields)
    return f"Replace row {key} of {difference.table!r} by the owner's ({difference.kind.label}: {columns})."
