"""The backfill as a phase does it: every projection in order, with progress, throttled by the lag, interruptible."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from migration_tools.capture.models import Side
from migration_tools.capture.relations import InstalledRelation
from migration_tools.conf import settings
from migration_tools.errors import CaptureDrift
from migration_tools.kernel.limits import Limits
from migration_tools.kernel.watch import ProgressBar
from migration_tools.phases import gates
from migration_tools.phases.ports import Evidence
from migration_tools.phases.surroundings import Surroundings
from migration_tools.phases.trying import try_mapping
from migration_tools.state.journal import record
from migration_tools.stores.postgres import connect
from migration_tools.stores.postgres.catalog import estimated_rows
from migration_tools.transfer import control
from migration_tools.transfer.completion import complete_references
from migration_tools.transfer.copy import copy_relation, forget_checkpoints, refuse_strangers, whole_relations
from migration_tools.transfer.denormalised import refresh
from migration_tools.transfer.functions import processes
from migration_tools.transfer.pieces import Crew
from migration_tools.transfer.probes import Probe, make_probes
from migration_tools.transfer.stops import Ends
from migration_tools.transfer.sweep import sweep
from migration_tools.transfer.throttle import Throttle
from migration_tools.transfer.workers import threads


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
    control.begin(env.context)
    relations = whole_relations(ends.sender, env.context)
    projections = []
    with ExitStack() as stack:
        probes = make_probes(
            Limits(**settings().THROTTLE),
            stream=env.context,
            source=stack.enter_context(connect(env.alias(Side.SOURCE), "throttle")),
            target=stack.enter_context(connect(env.alias(Side.TARGET), "throttle")),
            sender=ends.sender,
            lag_seconds=env.playbook.gates.max_lag.total_seconds(),
        )
        stack.enter_context(processes(settings().TRANSFORM_WORKERS))
        crew = stack.enter_context(_crew(env, sender))
        for relation in relations:
            rows = _copy_one(env, ends, sender, relation, probes, crew, strangers=strangers)
            projections.append({"projection": relation.projection, "rows": rows})
    complete_references(ends, pause=env.heed)
    return {"rows": sum(int(str(p["rows"])) for p in projections), "projections": projections}


def _copy_one(
    env: Surroundings,
    ends: Ends,
    sender: Side,
    relation: InstalledRelation,
    probes: list[Probe],
    crew: Crew | None,
    *,
    strangers: bool,
) -> int:
    bars: list[ProgressBar] = []
    throttle = Throttle(env.context, probes, wait=env.wait, say=env.say, note=lambda text: bars[0].note(text))
    declaration = _declaration(env, sender, relation.projection)
    run = copy_relation(ends, relation, declaration, pause=throttle, crew=crew)
    if run.is_new():
        _refuse_drift(env)
        if strangers:
            refuse_strangers(ends, relation)
    if relation.transforms:
        env.say(try_mapping(ends.sender, relation))
    total, done = estimated_rows(ends.sender, relation.source_table), run.rows_done()
    with env.progress(f"copy {relation.target_table}", total, done) as bar:
        bars.append(bar)
        for chunk in run:
            bar.advance(chunk.rows)
            done = chunk.total_rows
    return done


@contextmanager
def _crew(env: Surroundings, sender: Side) -> Iterator[Crew | None]:
    """Who copies beside this thread, as the settings or --workers say; nobody with one worker."""
    count = int(env.options.get("workers") or settings().BACKFILL_WORKERS)
    if count < 2:
        yield None
        return
    if settings().BACKFILL_RUNNER == "celery":
        from migration_tools.transfer.celery import celery_workers as workers
    else:
        workers = threads
    with workers(env.alias(sender), env.alias(sender.other), count - 1) as crew:
        yield crew


def _refuse_drift(env: Surroundings) -> None:
    """A move taken up again does not ask its gates, and the playbook may have changed since."""
    missing = gates.capture_installed(env)
    if missing:
        raise CaptureDrift("; ".join(missing))


def _declaration(env: Surroundings, sender: Side, projection: str) -> str:
    return next(
        r.declaration for r in env.compiled.side(sender).relations if r.projection == projection and r.kind == "r"
    )
