"""What people ruled about differences: proposed by the toolkit, decided with a reason, journalled."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from django.db import transaction
from django.db.models.functions import Now

from migration_tools.conf import settings
from migration_tools.errors import RoutingError
from migration_tools.routing.shadow.differences import NEVER_IGNORED, Difference, DiffKind
from migration_tools.routing.shadow.models import ShadowDifference, ShadowRoute, ShadowRule
from migration_tools.state.journal import actor, record

Action = Literal["ignore", "unordered"]
Decision = Literal["approved", "rejected"]

_NOISY = re.compile(
    r"(^|_)(now|time|timestamp|date|at|age|token|nonce|csrf|etag|seed|random|trace_id|request_id|version|host)$"
)
NEARLY_ALWAYS = 0.9
SEEN_AT_LEAST = 5


@dataclass(frozen=True, kw_only=True)
class Rule:
    """An approved rule, as the comparator applies it."""

    number: int
    pattern: str
    path: str
    kind: DiffKind
    action: Action

    def covers(self, pattern: str, found: Difference) -> bool:
        """Whether this difference is not to count; what no rule may hide is never covered."""
        if self.action != "ignore" or found.kind is not self.kind or found.kind in NEVER_IGNORED:
            return False
        return self.pattern in ("", pattern) and _at_or_below(self.path, found.path)


def approved(rows: Iterable[ShadowRule]) -> tuple[Rule, ...]:
    """Those of the rows that are in force, as the comparator applies them."""
    return tuple(_rule(row) for row in rows if row.state == "approved")


def all_approved() -> dict[str, tuple[Rule, ...]]:
    """The rules in force of every context: one small read, cheap enough to poll."""
    found: dict[str, tuple[Rule, ...]] = {}
    for row in ShadowRule.objects.using(settings().DATABASE).filter(state="approved"):
        found[row.context] = (*found.get(row.context, ()), _rule(row))
    return found


def unordered(rules: Iterable[Rule], pattern: str) -> frozenset[str]:
    """The lists of this pattern whose order does not count."""
    return frozenset(r.path for r in rules if r.action == "unordered" and r.pattern in ("", pattern))


def listed(context: str) -> list[ShadowRule]:
    """Every rule of a context, decided or not."""
    return list(ShadowRule.objects.using(settings().DATABASE).filter(context=context))


def propose(context: str, transformed: Mapping[str, str] | None = None) -> list[ShadowRule]:
    """Propose rules for what looks like noise or like a declared transform; each is proposed once.

    Args:
        transformed: names of fields that the playbook transforms, each with the sentence that says so.
    """
    database = settings().DATABASE
    reads = dict(ShadowRoute.objects.using(database).filter(context=context).values_list("pattern", "compared"))
    made = []
    for row in ShadowDifference.objects.using(database).filter(context=context).order_by("pattern", "path"):
        if why := _looks_like(row, reads.get(row.pattern, 0), transformed or {}):
            action: Action = "unordered" if row.kind == DiffKind.ORDER else "ignore"
            rule, created = ShadowRule.objects.using(database).get_or_create(
                context=context,
                pattern=row.pattern,
                path=row.path,
                kind=row.kind,
                action=action,
                defaults={"why": why},
            )
            if created:
                made.append(rule)
    return made


def add(context: str, *, path: str, kind: str, action: Action = "ignore", pattern: str = "") -> ShadowRule:
    """Propose a rule by hand.

    Raises:
        RoutingError: the class cannot be ignored, or the path is no JSON path.
    """
    ignorable = [str(each) for each in DiffKind if each not in NEVER_IGNORED]
    if kind not in ignorable:
        raise RoutingError(f"a rule cannot hide {kind!r}; it can be about {', '.join(ignorable)}")
    if not path.startswith(("$", "header ", "body")):
        raise RoutingError(f"the path {path!r} is not one; write it as the report does, such as '$.results[*].total'")
    if path == "$" and action == "ignore" and kind != DiffKind.ORDER:
        raise RoutingError("a rule about '$' would hide every difference of the answer; name a place in it")
    rule, _ = ShadowRule.objects.using(settings().DATABASE).get_or_create(
        context=context, pattern=pattern, path=path, kind=kind, action=action, defaults={"why": "proposed by hand"}
    )
    return rule


def decide(context: str, number: int, decision: Decision, *, reason: str) -> ShadowRule:
    """Approve or reject a rule, or decide it anew; journalled in the same transaction.

    Raises:
        RoutingError: no reason, or no such rule.
    """
    if not reason.strip():
        raise RoutingError("a decision needs a reason: somebody will ask why this difference did not count")
    database = settings().DATABASE
    with transaction.atomic(using=database):
        row = ShadowRule.objects.using(database).select_for_update().filter(context=context, pk=number).first()
        if row is None:
            raise RoutingError(f"{context!r} has no rule {number}; list them with strangle_shadow rules {context}")
        row.state, row.reason, row.actor = decision, reason, actor()
        row.decided = Now()
        row.save(using=database)
        evidence = {"rule": row.pk, "text": str(row), "path": row.path, "class": row.kind, "action": row.action}
        record(context, "shadow rule", decision, evidence, reason)
    row.refresh_from_db()
    return row


def _rule(row: ShadowRule) -> Rule:
    action: Action = "unordered" if row.action == "unordered" else "ignore"
    return Rule(number=row.pk, pattern=row.pattern, path=row.path, kind=DiffKind(row.kind), action=action)


def _at_or_below(rule: str, path: str) -> bool:
    return path == rule or path.startswith((f"{rule}.", f"{rule}["))


def _looks_like(row: ShadowDifference, compared: int, transformed: Mapping[str, str]) -> str:
    """Why a difference may not be one; empty when it looks real."""
    kind = DiffKind(row.kind)
    if kind in NEVER_IGNORED or not (row.count or (row.noise and kind is DiffKind.ORDER)):
        return ""
    name = row.path.rpartition(".")[2].removesuffix("[*]")
    if kind is DiffKind.ORDER:
        return "the same elements in another order; if the contract promises none, compare them as a bag"
    if name in transformed:
        return f"{transformed[name]}; if readers can live with the new form, ignore it"
    if kind is DiffKind.TYPE_OR_PRECISION:
        return "the same value in another type or precision; if readers can live with it, ignore it"
    if row.noise:
        return f"the owner differs from itself here too, in {row.noise} reads: probably noise of another kind"
    share = row.count / compared if compared else 0.0
    if row.count >= SEEN_AT_LEAST and share >= NEARLY_ALWAYS and _NOISY.search(name):
        return f"it differs in {share:.0%} of the reads and is named like something each side makes for itself"
    return ""
