"""After the decommission: drop the old tables and all that the move has put into both databases, for good.

Note [the last step back]. Until the old tables are dropped everything can be undone, so nothing is changed before it
but proofs: nobody uses the tables, nothing hangs on them, the dump restores to them. They go in one transaction of the
monolith's database with their triggers, with what the move kept of them and with the journal's entry of what is left
to do elsewhere. From then on the playbook describes tables that are not there: what remains (the service's fences, the
routes, a role's grants) is done by that entry alone, in steps that may be repeated.

Kept are the journal and the verifications, which are the record; who owns the context, which code asks (`owned_here`);
and the stream's numbering, which consumers of events remember.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from migration_tools.capture.declaration import Fence
from migration_tools.capture.installation import remove_table, take_off
from migration_tools.capture.refusals import drop_counter
from migration_tools.errors import ArchiveBroken, GateNotMet, WrongPhase
from migration_tools.kernel import points
from migration_tools.phases import dumps, gates
from migration_tools.phases.archive import DUMPED, old_tables
from migration_tools.phases.dependents import dependents, grants
from migration_tools.phases.handover import CONFIRM_SECONDS
from migration_tools.phases.machine import COMMANDS, operating
from migration_tools.phases.quiet import asked, begin_anew, discount, prove_quiet
from migration_tools.phases.surroundings import DROPPED, REMOVE, Surroundings, quarantine_schema
from migration_tools.playbook.declaration import Playbook
from migration_tools.routing import publishing
from migration_tools.routing.table import RoutingTable, without_context, without_way_back
from migration_tools.state.journal import actor, last_evidence, read_context, record
from migration_tools.state.phase import Phase
from migration_tools.stores.postgres import Connection, connect, errors, sql, transaction
from migration_tools.stores.postgres.ddl import with_short_locks

_LEDGER = (
    "DELETE FROM strangle_outbox WHERE stream = %(context)s AND kind <> 'e' AND table_name = ANY (%(tables)s)",
    "UPDATE strangle_relation SET active = false WHERE stream = %(context)s AND owned AND active",
    """DELETE FROM strangle_relation r WHERE stream = %(context)s AND owned
       AND NOT EXISTS (SELECT FROM strangle_stream s WHERE s.stream = r.stream AND s.relation = r.id)""",
    "DELETE FROM strangle_copied_range WHERE stream = %(context)s AND projection <> ALL (%(kept)s)",
    "DELETE FROM strangle_copy_lease WHERE stream = %(context)s",
    "DELETE FROM strangle_waiting_reference WHERE stream = %(context)s AND table_name = ANY (%(tables)s)",
    "DELETE FROM strangle_layout WHERE stream = %(context)s AND table_name = ANY (%(tables)s)",
)
_STATE = (
    """DELETE FROM strangle_verified_range WHERE run_id IN
       (SELECT id FROM strangle_verification_run WHERE context = %(context)s)""",
    "DELETE FROM strangle_verification_run WHERE context = %(context)s",
    "DELETE FROM strangle_backfill_control WHERE context = %(context)s",
)


def missing_for_removal(env: Surroundings) -> list[str]:
    """What the gates of the removal miss, in sentences; the watch and the restore come after them."""
    schema = quarantine_schema(env.context)
    missing = [*gates.soaked(env), *gates.no_dead_letters(env), *gates.no_pinned_sagas(env)]
    tables = old_tables(env)
    found = env.source.execute(
        "SELECT schemaname::text, tablename::text FROM pg_tables WHERE tablename = ANY (%s)", [tables]
    )
    places = [(str(where), str(table)) for where, table in found]
    missing += [f"table {table!r} is not in schema {schema!r}" for table in tables if (schema, table) not in places]
    missing += [
        f"schema {where!r} has a table {table!r} of the same name, which would be taken for the old one; rename it"
        for where, table in places
        if where == "public"
    ]
    return missing + dependents(env.source, schema)


def plan_removal(env: Surroundings) -> list[str]:
    """The removal in sentences."""
    tables = ", ".join(old_tables(env))
    return [
        f"Watch the tables in quarantine for {env.playbook.gates.quiet.total_seconds():g} s; any reader stops it.",
        f"Restore the final dump in {dump_place(env.context)} into a scratch database and compare it with {tables}.",
        f"Drop {tables} with their triggers and grants, the schema {quarantine_schema(env.context)!r}, and what the "
        "move kept of them. THIS CANNOT BE UNDONE.",
        f"Take the fence off {', '.join(_fenced(env))} in the service's database.",
        "Take rules, shares and shadow reads out of the context's route: everything goes to the service."
        if not env.options.get("drop_routes")
        else "Take the context's paths out of the proxy's table.",
    ]


def dump_place(context: str) -> Path | None:
    """Where the journal says that the final dump is."""
    dumped = last_evidence(context, DUMPED)
    return Path(dumped["directory"]) if dumped else None


def drop_old_tables(env: Surroundings) -> dict[str, Any]:
    """Prove that nobody will miss them, and drop them; after this there is no way back.

    Raises:
        WrongPhase, GateNotMet, StillWatching, ArchiveBroken: nothing was changed.
    """
    with operating(env.source, env.context):
        row = read_context(env.context)
        if Phase(row.phase) is not Phase.DECOMMISSION or row.move is not None:
            at = f"in the middle of {row.move!r}" if row.move else f"in phase {row.phase!r}"
            raise WrongPhase(
                f"{env.context!r} is {at}; its old tables are dropped after {COMMANDS[Phase.DECOMMISSION]} "
                f"{env.context} has put them away"
            )
        if missing := missing_for_removal(env):
            raise GateNotMet(env.context, "removal", missing)
        quiet = prove_quiet(env, "removal")
        if env.options.get("drop_routes"):
            _refuse_asked(env, quiet["asked"])
        proof = {"quiet": quiet, "restored": _prove_restore(env)}
        points.reached("removal.proved")
        schema, tables = quarantine_schema(env.context), old_tables(env)
        references = [r for r in env.compiled.source.relations if not r.owned]
        evidence = {
            "dropped": tables,
            "rows": proof["restored"]["rows"],
            "directory": proof["restored"]["directory"],
            "quiet_seconds": proof["quiet"]["quiet_seconds"],
            "watched_since": proof["quiet"]["watched_since"],
            "restore": proof["restored"],
            "grants": grants(env.source, schema),
            "service_tables": _fenced(env),
            "kept_projections": [r.projection for r in references],
        }
        names = [sql.Identifier(schema, table) for table in tables]
        try:
            with_short_locks(env.source, names, partial(_drop, env, schema, tables, evidence), env.wait)
        except errors.DependentObjectsStillExist as error:
            raise GateNotMet(env.context, "removal", [str(error.diag.message_detail or error)]) from error
    points.reached("removal.dropped")
    return evidence


def finish(
    playbook: type[Playbook], *, drop_routes: bool, role: str, wait: Callable[[float], None], reason: str = ""
) -> dict[str, Any]:
    """What is left to do after the old tables were dropped: in the service's database, at the proxies, of grants."""
    context = playbook.context
    dropped = last_evidence(context, DROPPED) or {}
    with connect(playbook.source, "removal") as source, operating(source, context):
        with connect(playbook.target, "removal") as target:
            for table in dropped["service_tables"]:
                remove_table(target, context, table, wait)
            drop_counter(target, context, wait)
            with transaction(target):
                _clear(target, _LEDGER, context, dropped["service_tables"], dropped["kept_projections"])
        drop_counter(source, context, wait)
        points.reached("removal.service_done")
        done = {"fences_off": dropped["service_tables"], "route": _route(context, drop=drop_routes)}
        points.reached("removal.routes_done")
        done["revoked"] = _revoke(source, role)
        row = read_context(context)
        record(context, REMOVE, "completed", done, reason)
        row.move = row.move_started_at = None
        row.save(update_fields=["move", "move_started_at"])
    return {**dropped, **done}


def _refuse_asked(env: Surroundings, before: dict[str, int]) -> None:
    """The paths are still asked for through a proxy, and without routes would be answered by the monolith."""
    more = {proxy: count - before.get(proxy, 0) for proxy, count in asked(env.context).items()}
    told = [
        f"{count} reads of {env.context!r} came through proxy {proxy!r} during the watch, which without the routes go "
        "to the monolith; let the edge send them to the service first, or leave --drop-routes out"
        for proxy, count in sorted(more.items())
        if count
    ]
    if told:
        begin_anew(env)
        raise GateNotMet(env.context, "removal", told)


def _fenced(env: Surroundings) -> list[str]:
    return [table.table for table in env.compiled.target.tables if table.fence is Fence.OWNER]


def _prove_restore(env: Surroundings) -> dict[str, Any]:
    """Restore the dump elsewhere and compare it with the tables as they are now."""
    dumped = last_evidence(env.context, DUMPED)
    if dumped is None:
        raise ArchiveBroken(
            f"the journal knows of no final dump of {env.context!r}; run strangle_rollback {env.context}, then "
            f"strangle_decommission {env.context} again"
        )
    directory = Path(env.options.get("directory") or dumped["directory"])
    manifest = dumps.read_manifest(directory, known=dumped["manifest_sha256"])
    env.say(f"restoring {directory} into a scratch database")
    with dumps.opened_scratch(env.options.get("scratch"), env.playbook.source, env.context) as (scratch, schema):
        evidence = dumps.restore(scratch, directory, manifest, schema, watch=env.watch())
        try:
            for table in old_tables(env):
                env.heed()
                if dumps.sums(env.source, table) != dumps.sums(scratch, table):
                    raise ArchiveBroken(
                        f"table {table!r} in quarantine is not what was dumped: somebody changed it, past the fence; "
                        f"run strangle_rollback {env.context} to bring it back, then decommission it again"
                    )
        finally:
            discount(env)
    return {**evidence, "directory": str(directory.absolute())}


def _drop(env: Surroundings, schema: str, tables: list[str], evidence: dict[str, Any]) -> None:
    conn = env.source
    for table in tables:
        take_off(conn, env.context, table)
    conn.execute(sql.SQL("DROP TABLE {}").format(sql.SQL(", ").join(sql.Identifier(schema, table) for table in tables)))
    conn.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(schema)))
    _clear(conn, (*_LEDGER, *_STATE), env.context, tables, evidence["kept_projections"])
    conn.execute(
        "UPDATE strangle_context SET move = %s, move_started_at = clock_timestamp() WHERE name = %s",
        [REMOVE, env.context],
    )
    conn.execute(
        "INSERT INTO strangle_journal (context, move, step, actor, reason, evidence) VALUES (%s, %s, %s, %s, %s, %s)",
        [env.context, REMOVE, DROPPED, actor(), env.options.get("reason", ""), json.dumps(evidence, default=str)],
    )


def _clear(conn: Connection, statements: tuple[str, ...], context: str, tables: list[str], kept: list[str]) -> None:
    for statement in statements:
        conn.execute(sql.SQL(statement), {"context": context, "tables": tables, "kept": kept})


def _route(context: str, *, drop: bool) -> str:
    """Nothing of the context can go to the monolith any more, and every live proxy says so."""
    if context not in publishing.current().contexts:
        return "none"

    def change(table: RoutingTable) -> RoutingTable:
        if context not in table.contexts:
            return table
        return without_context(table, context) if drop else without_way_back(table, context)

    table = publishing.publish(change, author="strangle", reason=f"removal of {context}", attempts=5)
    if publishing.live_proxies():
        publishing.wait_applied(table.version, CONFIRM_SECONDS)
    return "dropped" if drop else "to the service alone"


def _revoke(conn: Connection, role: str) -> list[str]:
    """Every right that the context's own role has left in the monolith's database; the role itself is the cluster's."""
    rows = conn.execute(
        """SELECT DISTINCT c.oid::regclass::text, c.relkind = 'S'
           FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) g
           WHERE g.grantee = to_regrole(%s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') ORDER BY 1""",
        [sql.Identifier(role).as_string(conn)],
    ).fetchall()
    for name, sequence in rows:
        what = sql.SQL("SEQUENCE" if sequence else "TABLE")
        conn.execute(sql.SQL("REVOKE ALL ON {} {} FROM {}").format(what, sql.SQL(name), sql.Identifier(role)))
    return [str(name) for name, _ in rows]
