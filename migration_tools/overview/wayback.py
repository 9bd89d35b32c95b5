"""Whether a context can go back now, what that would do, and how much there is to carry back."""

from typing import Any

from migration_tools.capture.models import Side
from migration_tools.kernel.locks import LockClass
from migration_tools.messaging import lag as lags
from migration_tools.phases import gates
from migration_tools.phases.dry_run import DryRunExecutor
from migration_tools.phases.machine import MOVES
from migration_tools.phases.surroundings import Surroundings
from migration_tools.state.kept import is_kept
from migration_tools.state.models import Context
from migration_tools.state.phase import BACKWARD, Phase
from migration_tools.stores.postgres import advisory


def read_way_back(env: Surroundings, row: Context) -> dict[str, Any]:
    """`possible`, the phase it leads `to`, `rows` that wait to be carried back, what is in the way, and the plan.

    `mover` says who carries out the move that has not ended; there is none when it was cut off.
    """
    phase = Phase(row.phase)
    if row.move is not None:
        undone = row.move.split()[-1]
        to = row.phase if row.move.startswith("to ") else BACKWARD.get(Phase(undone), phase)
        mover = advisory.holder(env.source, LockClass.OPERATOR, env.context)
        plan = _plan(env, Phase(undone))
        if mover is not None:
            say = f"when the move {row.move!r} has ended, which is under way"
            return {**_answer(to, say, plan=plan), "possible": False, "mover": mover}
        return _answer(to, f"undoes the move {row.move!r} that was cut off", plan=plan)
    if phase not in BACKWARD:
        return {**_answer(phase.value, "nothing was begun that could be undone"), "possible": False}
    if phase is Phase.CUTOVER:
        rows = waiting_to_go_back(env)
        blocking = [*gates.consumer_alive(env, Side.TARGET), *gates.lag_small(env, Side.TARGET)]
        noun = "row" if rows == 1 else "rows"
        say = (
            f"possible now, {rows:,} {noun} to carry back"
            if not blocking
            else f"{rows:,} {noun} wait to be carried back"
        )
        return _answer(BACKWARD[phase], say, rows=rows, blocking=blocking, plan=_plan(env, phase))
    if is_kept(env.context):
        rows = waiting_to_go_back(env)
        say = f"possible now, the copies are {rows:,} {'row' if rows == 1 else 'rows'} behind"
        return _answer(BACKWARD[phase], say, rows=rows, plan=_plan(env, phase))
    return _answer(BACKWARD[phase], "possible now", plan=_plan(env, phase))


def waiting_to_go_back(env: Surroundings) -> int:
    """Records of the service's stream that the monolith has not applied, and those that are not numbered yet."""
    behind = max((each.events for each in lags.consumers(env.target, env.context)), default=0)
    return behind + lags.unnumbered(env.target, env.context).rows


def _plan(env: Surroundings, phase: Phase) -> list[str]:
    plan = DryRunExecutor(env)
    MOVES[phase].rollback(plan, env.options)
    return plan.plan


def _answer(
    to: str, say: str, *, rows: int = 0, blocking: list[str] | None = None, plan: list[str] | None = None
) -> dict[str, Any]:
    return {
        "possible": not blocking,
        "to": str(to),
        "say": say,
        "rows": rows,
        "blocking": blocking or [],
        "plan": plan or [],
    }
