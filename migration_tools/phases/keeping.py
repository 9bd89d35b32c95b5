"""The other end of a decommission: the old tables stay, follow the service, and PostgreSQL refuses whoever else writes.

Note [kept copies]. The fence goes on refusing writes; the rights to write are taken away too, because a trigger can be
switched off and does not say so. Both leave our consumer alone, which is the tables' owner or one of its members. What
an application could do before is in the journal before it is taken, so a rollback gives back just that.

Inbound references are cut, or the service's delete of a row that the monolith refers to could not follow: the consumer
would stand still before it. Who refers to such a row afterwards refers to nothing.
"""

from typing import Any

from migration_tools.errors import WrongPhase
from migration_tools.kernel import points
from migration_tools.phases.archive import incoming_references, old_tables, remembered
from migration_tools.phases.surroundings import Surroundings
from migration_tools.state.journal import read_context, record
from migration_tools.state.kept import choose, chosen, is_kept
from migration_tools.stores.postgres import Connection, sql, transaction

TAKEN = "writes_taken"
WRITES = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")

# Partitions may be written by their own names. Ours are members of the tables' owner or of the toolkit's: relays,
# consumers and operators. Superusers are members of everybody.
_TABLES = """
    WITH RECURSIVE old AS (
      SELECT to_regclass(quote_ident(name))::oid AS oid FROM unnest(%(tables)s::text[]) t(name)
      UNION SELECT i.inhrelid FROM pg_inherits i JOIN old ON old.oid = i.inhparent),
    ours AS (
      SELECT r.oid FROM pg_roles r WHERE EXISTS (
        SELECT FROM pg_class c WHERE (c.oid = to_regclass('strangle_ownership') OR c.oid IN (SELECT oid FROM old))
          AND pg_has_role(r.oid, c.relowner, 'MEMBER')))"""
_GRANTS = f"""{_TABLES},
    given AS (
      SELECT c.oid, NULL::text AS attribute, g.* FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) g
      UNION ALL
      SELECT c.oid, a.attname::text, g.* FROM pg_class c
      JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped CROSS JOIN LATERAL aclexplode(a.attacl) g)
    SELECT g.oid::regclass::text, COALESCE(r.rolname::text, ''), g.attribute, g.privilege_type::text,
           bool_or(g.is_grantable)
    FROM given g JOIN old USING (oid) LEFT JOIN pg_roles r ON r.oid = g.grantee
    WHERE g.privilege_type = ANY (%(writes)s)
      AND (g.grantee = 0 OR r.oid IS NOT NULL) AND g.grantee NOT IN (SELECT oid FROM ours)
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3 NULLS FIRST, 4"""  # noqa: S608  (constants of this file)
_WRITERS = f"""{_TABLES}
    SELECT c.oid::regclass::text, r.rolname::text FROM pg_class c JOIN old USING (oid) CROSS JOIN pg_roles r
    WHERE r.rolcanlogin AND r.oid NOT IN (SELECT oid FROM ours)
      AND (has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
           OR has_any_column_privilege(r.oid, c.oid, 'INSERT, UPDATE'))
    ORDER BY 1, 2"""  # noqa: S608  (constants of this file)

Grant = dict[str, Any]


def choose_end(env: Surroundings, *, keep: bool) -> dict[str, Any]:
    """Begin a decommission, or go on with one, towards one of its two ends.

    Raises:
        WrongPhase: the one that was cut off leads to the other end.
    """
    refuse_other_end(env, keep=keep)
    row = read_context(env.context)
    if chosen(row) is None:
        choose(row, keep=keep)
    return {"kept": keep}


def refuse_other_end(env: Surroundings, *, keep: bool) -> None:
    """Raise WrongPhase where a decommission that was cut off leads to the other end."""
    before = chosen(read_context(env.context))
    if before is not None and before is not keep:
        again = f"strangle_decommission {env.context}{' --keep-copies' if before else ''}"
        raise WrongPhase(
            f"the decommission of {env.context!r} that is under way {'keeps' if before else 'puts away'} the old "
            f"tables; complete it with {again}, or undo it with strangle_rollback {env.context} first"
        )


def writers(conn: Connection, tables: list[str]) -> list[tuple[str, str]]:
    """Roles that may write a table and are neither its owner nor one of its members: table, role."""
    return [(str(table), str(role)) for table, role in conn.execute(_WRITERS, {"tables": tables}).fetchall()]


def take_writes(env: Surroundings) -> dict[str, Any]:
    """Take the rights to write the copies from every role that is not the owner; what they were is in the journal.

    Repeated it takes what was given meanwhile. Reading, and what the owner's members may do, stays.
    """
    tables = old_tables(env)
    found = _grants(env.source, tables)
    known = [each for each in remembered(env, TAKEN, "grants") if each not in found]
    record(env.context, "decommission", TAKEN, {"grants": [*known, *found]})
    points.reached("keeping.noted")
    with transaction(env.source):
        for table, role in sorted({(each["table"], each["role"]) for each in found}):
            env.source.execute(
                sql.SQL("REVOKE {} ON {} FROM {} CASCADE").format(
                    sql.SQL(", ".join(WRITES)), sql.SQL(table), _role(role)
                )
            )
    points.reached("keeping.writes_taken")
    left = writers(env.source, tables)
    for table, role in left:
        env.say(f"role {role!r} may write {table!r} all the same, by a role that it is a member of; the fence stays")
    return {
        "tables": tables,
        "writes_taken": sorted({each["role"] or "public" for each in [*known, *found]}),
        "may_write_still": sorted({role for _, role in left}),
    }


def give_writes_back(env: Surroundings) -> dict[str, Any]:
    """Give every role what take_writes took, with the right to hand it on where it had that."""
    given = remembered(env, TAKEN, "grants")
    there = {str(row[0]) for row in env.source.execute("SELECT rolname::text FROM pg_roles").fetchall()} | {""}
    with transaction(env.source):
        for each in given:
            if each["role"] not in there:
                env.say(f"role {each['role']!r}, which could write {each['table']!r}, is gone")
                continue
            env.source.execute(
                sql.SQL("GRANT {}{} ON {} TO {}{}").format(
                    sql.SQL(each["privilege"]),
                    sql.SQL(" ({})").format(sql.Identifier(each["column"])) if each["column"] else sql.SQL(""),
                    sql.SQL(each["table"]),
                    _role(each["role"]),
                    sql.SQL(" WITH GRANT OPTION" if each["grantable"] else ""),
                )
            )
    points.reached("keeping.writes_given")
    record(env.context, "decommission", TAKEN, {"grants": []})
    return {"writes_given": sorted({each["role"] or "public" for each in given if each["role"] in there})}


def wrong_with_copies(env: Surroundings) -> list[str]:
    """What has come since the copies were kept and should not be there, in sentences; empty where none are kept."""
    if not is_kept(env.context):
        return []
    tables = old_tables(env)
    return [
        f"reference {each['name']!r} of {each['table']!r} to the copy {each['refers_to']!r} would stop the way back at "
        f"the first row that the service deletes; drop it: ALTER TABLE {each['table']} DROP CONSTRAINT "
        + sql.Identifier(each["name"]).as_string(env.source)
        for each in incoming_references(env.source, tables)
    ] + [
        f"role {role!r} may write the copy {table!r}, which the fence alone refuses now; run strangle_doctor "
        f"{env.context} --mend, or take the role it has that by away from it"
        for table, role in writers(env.source, tables)
    ]


def refuse_kept(context: str) -> None:
    """Raise WrongPhase for what needs the old tables in quarantine."""
    if is_kept(context):
        raise WrongPhase(
            f"the old tables of {context!r} are kept as copies that follow the service, so there is nothing to drop; "
            f"{put_away(context)}"
        )


def put_away(context: str) -> str:
    """How a context goes from kept copies to the other end."""
    return (
        f"to put them away once nobody reads them, run strangle_rollback {context}, then strangle_decommission "
        f"{context}"
    )


def _grants(conn: Connection, tables: list[str]) -> list[Grant]:
    rows = conn.execute(_GRANTS, {"tables": tables, "writes": list(WRITES)}).fetchall()
    return [dict(zip(("table", "role", "column", "privilege", "grantable"), row, strict=True)) for row in rows]


def _role(name: str) -> sql.Composable:
    return sql.Identifier(name) if name else sql.SQL("PUBLIC")
