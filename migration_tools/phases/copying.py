"""The backfill as a phase does it: every projection in order, with progress, throttled by the lag, interruptible."""

import time

from migration_tools.capture.models import Side
from migration_tools.errors import CaptureDrift
from migration_tools.messaging import lag as lags
from migration_tools.phases import gates
from migration_tools.phases.ports import Evidence
from migration_tools.phases.surroundings import Surroundings
from migration_tools.state.journal import record
from migration_tools.stores.postgres.catalog import estimated_rows
from migration_tools.transfer.completion import complete_references
from migration_tools.transfer.copy import copy_relation, forget_checkpoints, refuse_strangers, whole_relations
from migration_tools.transfer.denormalised import refresh
from migration_tools.transfer.stops import Ends
from migration_tools.transfer.sweep import sweep

THROTTLE_SECONDS = 0.05


def copy_history(env: Surroundings) -> Evidence:
    """Copy what the target does not have yet, from where an earlier run stopped.

    Raises:
        TargetNotEmpty, StaleCheckpoint, Interrupted: see transfer.copy; checkpoints are kept.
    """
    started = time.monotonic()
    with env.ends(Side.SOURCE, "backfill") as ends:
        if env.options.get("restart"):
            forget_checkpoints(ends.receiver, env.context)
        evidence = _copy_all(env, ends, Side.SOURCE, strangers=not env.options.get("replace"))
    seconds = time.monotonic() - started
    record(env.context, "backfill", "copied", {"rows": evidence["rows"]})
    return {**evidence, "seconds": round(seconds, 3)}


def carry_back(env: Surroundings) -> Evidence:
    """The same from the service to the monolith's old tables, whole: after they were put away and brought back."""
    with env.ends(Side.TARGET, "carry back") as ends:
        forget_checkpoints(ends.receiver, env.context)
        for relation in whole_relations(ends.sender, env.context):
            ends.receiver.execute(
                """INSERT INTO strangle_copied_range (stream, projection, declaration, rows, done)
                   VALUES (%s, %s, %s, 0, false)""",
                [env.context, relation.projection, _declaration(env, Side.TARGET, relation.projection)],
            )
        stale = sweep(ends)
        evidence = {**_copy_all(env, ends, Side.TARGET, strangers=False), "stale_rows": stale, "echoes": refresh(ends)}
    record(env.context, "decommission", "copied", {"rows": evidence["rows"]})
    return evidence


def _copy_all(env: Surroundings, ends: Ends, sender: Side, *, strangers: bool) -> Evidence:
    relations = whole_relations(ends.sender, env.context)
    projections = []
    for relation in relations:
        run = copy_relation(
            ends,
            relation,
            _declaration(env, sender, relation.projection),
            pause=lambda: _throttle(env, ends, sender),
        )
        if run.is_new():
            _refuse_drift(env)
            if strangers:
                refuse_strangers(ends, relation)
        with env.progress(f"copy {relation.target_table}", estimated_rows(ends.sender, relation.source_table)) as bar:
            rows = 0
            for chunk in run:
                bar.advance(chunk.rows)
                rows = chunk.total_rows
        projections.append({"projection": relation.projection, "rows": rows or run.rows_done()})
    complete_references(ends, pause=env.heed)
    return {"rows": sum(p["rows"] for p in projections), "projections": projections}


def _refuse_drift(env: Surroundings) -> None:
    """A move taken up again does not ask its gates, and the playbook may have changed since."""
    missing = gates.capture_installed(env)
    if missing:
        raise CaptureDrift("; ".join(missing))


def _declaration(env: Surroundings, sender: Side, projection: str) -> str:
    return next(
        r.declaration for r in env.compiled.side(sender).relations if r.projection == projection and r.kind == "r"
    )


def _throttle(env: Surroundings, ends: Ends, sender: Side) -> None:
    """Before a chunk: heed signals, and let the sync go first while its consumer is behind."""
    env.heed()
    limit = env.playbook.gates.max_lag.total_seconds()
    told = False
    while True:
        behind = [
            each
            for each in lags.consumers(ends.sender, env.context)
            if each.seconds > limit and each.silent_seconds < limit + 5
        ]
        if not behind:
            return
        if not told:
            env.say(
                f"throttled: consumer {behind[0].consumer!r} is {behind[0].seconds:.1f} s behind (limit {limit:g} s)"
            )
            told = True
        env.wait(THROTTLE_SECONDS)
