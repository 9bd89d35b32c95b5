"""The machine: refuses what is not a neighbour, asks the gates, lets the phase work, writes the journal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.utils import timezone

from migration_tools.errors import GateNotMet, MoveInProgress, StrangleError, WrongPhase
from migration_tools.kernel import points
from migration_tools.kernel.locks import LockClass
from migration_tools.phases.backfill import Backfill
from migration_tools.phases.cutover import Cutover
from migration_tools.phases.decommission import Decommission
from migration_tools.phases.dual_write import DualWrite
from migration_tools.phases.keeping import put_away
from migration_tools.phases.ports import Evidence, Executor, PhaseMove
from migration_tools.phases.signals import phase_changed
from migration_tools.phases.surroundings import Surroundings
from migration_tools.phases.switch_reads import SwitchReads
from migration_tools.phases.verified import Verified
from migration_tools.state.journal import actor, read_context, record
from migration_tools.state.kept import is_kept
from migration_tools.state.models import Context
from migration_tools.state.phase import BACKWARD, FORWARD, Phase
from migration_tools.stores.postgres import Connection, advisory

MOVES: dict[Phase, PhaseMove] = {
    Phase.DUAL_WRITE: DualWrite(),
    Phase.BACKFILL: Backfill(),
    Phase.VERIFY: Verified(),
    Phase.SWITCH_READS: SwitchReads(),
    Phase.CUTOVER: Cutover(),
    Phase.DECOMMISSION: Decommission(),
}

COMMANDS = {
    Phase.DUAL_WRITE: "strangle_dual_write",
    Phase.BACKFILL: "strangle_backfill",
    Phase.VERIFY: "strangle_verify",
    Phase.SWITCH_READS: "strangle_switch_reads",
    Phase.CUTOVER: "strangle_cutover",
    Phase.DECOMMISSION: "strangle_decommission",
}


@contextmanager
def operating(conn: Connection, context: str) -> Iterator[None]:
    """Be the one operator who moves the context; released by the end of the block or of the process.

    Raises:
        MoveInProgress: somebody else is; the message says who.
    """
    if not advisory.try_hold(conn, LockClass.OPERATOR, context):
        who = advisory.holder(conn, LockClass.OPERATOR, context)
        raise MoveInProgress(
            f"another operator moves {context!r} now: {who}; wait for it, see strangle_status {context}"
        )
    try:
        yield
    finally:
        if not conn.closed:
            advisory.release(conn, LockClass.OPERATOR, context)


def refuse_unless(env: Surroundings, to: Phase) -> Context:
    """The context's row, if a move forward to `to` may start or be resumed from where it stands.

    Raises:
        WrongPhase: it may not; the message says what is legal.
    """
    row = read_context(env.context)
    phase = Phase(row.phase)
    if row.move is not None and row.move != f"to {to}":
        raise WrongPhase(
            f"{env.context!r} is in the middle of {row.move!r}, begun {row.move_started_at:%Y-%m-%d %H:%M:%S}; "
            f"run that command again to complete it, or strangle_rollback {env.context} to undo it"
        )
    if to is Phase.DECOMMISSION and is_kept(env.context) and row.move is None:
        raise WrongPhase(
            f"{env.context!r} is in phase {phase.value!r}, its old tables kept as copies that follow the service; "
            f"{put_away(env.context)}"
        )
    if FORWARD.get(phase) is not to:
        follows = FORWARD.get(phase)
        legal = f"the next step is {COMMANDS[follows]} {env.context}" if follows else "there is no step after it"
        back = f", the step back is strangle_rollback {env.context}" if phase in BACKWARD else ""
        raise WrongPhase(
            f"{env.context!r} is in phase {phase.value!r}, from which {to.value!r} is not next; {legal}{back}"
        )
    return row


def missing_evidence(env: Surroundings, to: Phase) -> list[str]:
    """What the gates of a phase miss, in sentences; empty when the move may start."""
    return [each for _, missing in MOVES[to].look(env) for each in missing]


def check_gates(env: Surroundings, to: Phase) -> None:
    """Raise GateNotMet when the phase's evidence is missing."""
    blocking = missing_evidence(env, to)
    if blocking:
        raise GateNotMet(env.context, to.value, blocking)


def move_forward(env: Surroundings, to: Phase, executor: Executor, *, reason: str = "") -> Evidence:
    """Check, start, complete. A move that was cut off is taken up again; its gates were met when it began.

    Raises:
        WrongPhase, GateNotMet, MoveInProgress: nothing was changed.
        StrangleError: the move could not be completed; what is done is kept, the message says how to go on.
    """
    with operating(env.source, env.context):
        row = refuse_unless(env, to)
        if row.move is None:
            check_gates(env, to)
        return _carry_out(env, row, to, f"to {to}", lambda: MOVES[to].start(executor, env.options), reason)


def move_back(env: Surroundings, executor: Executor, *, reason: str = "") -> Evidence:
    """Undo the present phase, or the move forward that was cut off; itself resumable.

    Raises:
        WrongPhase: there is nothing before monolith_only.
    """
    with operating(env.source, env.context):
        row = read_context(env.context)
        phase = Phase(row.phase)
        if row.move is not None and row.move.startswith("to "):
            undone = Phase(row.move.removeprefix("to "))
            env.say(f"undoing the move {row.move!r} that was cut off")
            return _carry_out(
                env,
                row,
                phase,
                f"undo {undone}",
                lambda: MOVES[undone].rollback(executor, env.options),
                reason,
            )
        if row.move is not None:
            undone = Phase(row.move.split()[-1])
            before = phase if BACKWARD.get(undone) is phase else BACKWARD[phase]
            return _carry_out(env, row, before, row.move, lambda: MOVES[undone].rollback(executor, env.options), reason)
        if phase not in BACKWARD:
            raise WrongPhase(f"{env.context!r} is in phase {phase.value!r}; there is nothing to roll back")
        return _carry_out(
            env,
            row,
            BACKWARD[phase],
            f"undo {phase}",
            lambda: MOVES[phase].rollback(executor, env.options),
            reason,
        )


def _carry_out(env: Surroundings, row: Context, to: Phase, move: str, work: Any, reason: str) -> Evidence:
    before = Phase(row.phase)
    if row.move != move:
        row.move, row.move_started_at = move, timezone.now()
        row.save(update_fields=["move", "move_started_at"])
        record(env.context, move, "started", reason=reason)
    points.reached("machine.started")
    began = time.monotonic()
    try:
        evidence: Evidence = work()
    except BaseException as error:
        if not env.source.closed:
            _note_failure(env, row, move, error)
        raise
    points.reached("machine.worked")
    step = (
        "handed_over"
        if "epoch" in evidence and "drained_events" in evidence
        else "rolled_back"
        if move.startswith("undo")
        else "completed"
    )
    record(env.context, move, step, {**evidence, "seconds": round(time.monotonic() - began, 3)}, reason)
    row.phase, row.since, row.move, row.move_started_at = to.value, timezone.now(), None, None
    row.save(update_fields=["phase", "since", "move", "move_started_at"])
    points.reached("machine.completed")
    phase_changed.send_robust(sender=Context, context=env.context, before=before, after=to, actor=actor())
    return evidence


def _note_failure(env: Surroundings, row: Context, move: str, error: BaseException) -> None:
    """Journal what went wrong; a refusal that changed nothing also ends the move."""
    text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    try:
        if isinstance(error, GateNotMet):
            row.move = row.move_started_at = None
            row.save(update_fields=["move", "move_started_at"])
        record(
            env.context,
            move,
            "failed" if isinstance(error, StrangleError) else "broken",
            {"error": text[:500]},
        )
    except Exception as second:
        raise StrangleError(f"{text}; and the journal could not be written: {second}") from error
