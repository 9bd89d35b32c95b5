"""Watch a context as an operator does: step by step, each turn of the verdict and each round kept and journalled."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from migration_tools.errors import FenceBusy, Interrupted, MoveInProgress
from migration_tools.phases.gates import last_change
from migration_tools.phases.machine import operating
from migration_tools.phases.signals import divergence_found
from migration_tools.phases.surroundings import Surroundings
from migration_tools.phases.verifying import sides_of
from migration_tools.state.journal import record
from migration_tools.state.models import Context, Verification
from migration_tools.verification.report import VerificationReport
from migration_tools.verification.verify import Sides, declaration_of
from migration_tools.verification.watch import Step, Watch


@dataclass(kw_only=True)
class Watched:
    """The result of a watch that was ended."""

    steps: int = 0
    rounds: int = 0
    rows: int = 0
    changed_keys: int = 0
    position: int = 0
    open: int = 0
    ever: int = 0


def watch(
    env: Surroundings,
    *,
    interval: float,
    rounds: int | None = None,
    show: Callable[[str], None] = lambda _: None,
) -> Watched:
    """Step until the operator asks to stop, or for so many rounds.

    The operator's lock is held for each step only, so a move can be made meanwhile; after it a new round begins. When
    a difference appears, a verification with it is kept at once: the gates shut, and strangle_repair can work from it.
    """
    state = Watch(env.compiled.invariants, env.options.get("range_rows"))
    total, world = Watched(), None
    while rounds is None or total.rounds < rounds:
        try:
            with operating(env.source, env.context), sides_of(env) as sides:
                present = (sides.direction, declaration_of(sides.ends), last_change(env))
                if world is not None and present[:2] != world[:2]:
                    state.forget()
                elif world is not None and present != world:
                    state.begin_round()
                world = present
                _one_step(env, state, sides, present[1], total, show)
        except (MoveInProgress, FenceBusy) as error:
            show(f"waiting: {error}")
        except Interrupted:
            break
        if env.stop.wait(interval if rounds is None or total.rounds < rounds else 0):
            break
    total.open = state.open
    return total


def _one_step(
    env: Surroundings, state: Watch, sides: Sides, declaration: str, total: Watched, show: Callable[[str], None]
) -> None:
    before = state.open
    step = state.step(sides, env.heed)
    total.steps, total.position = total.steps + 1, step.position
    total.rows, total.changed_keys = total.rows + step.swept_rows, total.changed_keys + step.changed_keys
    total.ever = max(total.ever, state.open)
    show(_line(total, step, state))
    report = state.report(sides)
    evidence = _evidence(report, step, total)
    if before == 0 and state.open:
        _keep(env, report, declaration)
        record(env.context, "watch", "diverged", evidence)
        divergence_found.send_robust(sender=Context, context=env.context, report=report)
    elif before and not state.open:
        record(env.context, "watch", "converged", evidence)
    if step.round_done:
        total.rounds += 1
        began = dt.datetime.fromtimestamp(state.began, tz=dt.UTC)
        record(env.context, "watch", "round", {**evidence, "seen": state.seen, "began": began.isoformat()})
        # A round that met a difference which is gone by now proves nothing either way.
        if state.open or not state.seen:
            _keep(env, report, declaration)
        state.begin_round()


def _keep(env: Surroundings, report: VerificationReport, declaration: str) -> None:
    Verification.objects.using(env.playbook.source).create(
        context=report.context,
        direction=report.direction,
        rows=report.rows,
        differences=report.differences,
        report={**report.to_json(), "declaration": declaration},
    )


def _evidence(report: VerificationReport, step: Step, total: Watched) -> dict[str, Any]:
    return {
        "position": step.position,
        "rows": report.rows,
        "differences": report.differences,
        "by_class": report.by_class,
        "changed_keys": total.changed_keys,
    }


def _line(total: Watched, step: Step, state: Watch) -> str:
    verdict = "equal" if not state.open else f"{state.open:,} DIFFERENCES"
    did = f"{step.changed_keys:,} keys changed, {step.swept_rows:,} rows swept"
    return f"{verdict} · position {step.position:,} · {did} · round {total.rounds + 1}: {step.swept:.0%}"
