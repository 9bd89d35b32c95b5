"""The text of the triggers: which rows a statement touched, who may write, and no truncation behind our back.

Note [what capture writes]. A statement writes one outbox row with the keys it touched, not the rows: the relay reads
what they are in the tick's own snapshot. `b` lists keys of the table's own relations; `d` lists the reported
columns of rows whose watched columns changed, for relations that join this table. A statement fires the triggers of the
table that it names alone, so each partition has its own, which report the partitioned table. Statement-level triggers
with transition tables see every ORM, raw SQL, COPY and psql write, and the cascades that PostgreSQL makes.

Note [applying]. The apply path sets strangle.applying for its transaction; only members of the role that owns the
toolkit's tables are believed. 'row': nothing is captured but echoes (a row came from the other side; columns that
this side denormalises may have to follow). 'patch': nothing at all, so no loop can form. The sync also says of which
stream it is: to a table's other streams what it writes is a write like any. So a replica of the catalogue in the orders
service follows a product that the catalogue's own service has changed and that was carried back to the monolith.

Note [a schema migration under capture]. A trigger names the columns that it reports. When a schema migration takes one
away, the customer's write must neither fail nor be forgotten: the statement's rows are then written down whole (`w`,
see capture.layouts), the stream stands still and says why, and goes on when the names fit again. The block with the
exception clause writes nothing, so it costs no transaction id.

Note [context]. Who caused a write is read from one setting of the transaction, which messaging.stamping makes; what
cannot be read as JSON is left out, since a setting that anybody may make must not fail a write.
"""

from migration_tools.capture.declaration import Fence, TableSpec
from migration_tools.capture.models import Side
from migration_tools.capture.refusals import counter_of
from migration_tools.kernel.locks import LockClass, lock_keys
from migration_tools.kernel.ownership import FENCED_SQLSTATE
from migration_tools.stores.postgres import sql
from migration_tools.stores.postgres.names import fitting

_TRUSTED = sql.SQL(
    "coalesce(current_setting('strangle.applying', true), '') <> '' AND pg_has_role(session_user, {owner}, 'MEMBER')"
)


EVENTS = ("ins", "upd", "del", "trunc", "fence")
LONGEST_STEM = 48


def function_names(spec: TableSpec) -> dict[str, str]:
    """Names of the trigger functions of a table, by event."""
    stem = fitting(f"strangle_{spec.stream}_{spec.table}", LONGEST_STEM)
    return {event: f"{stem}_{event}" for event in EVENTS}


def drop_statements(spec: TableSpec, *, exists: bool) -> list[sql.Composed]:
    """Remove triggers and functions of a table; safe when they are not there."""
    statements = []
    for name in function_names(spec).values():
        if exists:
            statements.append(
                sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(sql.Identifier(name), sql.Identifier(spec.table))
            )
        statements.append(sql.SQL("DROP FUNCTION IF EXISTS {}()").format(sql.Identifier(name)))
    return statements


def create_statements(
    spec: TableSpec, *, owner: str, side: Side, layout: int, schema: str = "public"
) -> list[sql.Composed]:
    """Create functions and triggers of a table, switched on for replicas too (ENABLE ALWAYS).

    `layout` is the number under which the columns that are reported are remembered, `schema` where the side lives.
    """
    names = function_names(spec)
    statements: list[sql.Composed] = []
    if spec.fence:
        body = _replica_body(spec, owner) if spec.fence is Fence.REPLICA else _fence_body(spec, owner, side)
        statements += _function(names["fence"], body, schema)
        statements += _trigger(names["fence"], spec.table, "BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE")
    if spec.captured:
        statements += _function(names["trunc"], _truncate_body(spec, owner), schema)
        statements += _trigger(names["trunc"], spec.table, "BEFORE TRUNCATE")
    if spec.captured and not spec.logged:
        for event, when, tables in (
            ("ins", "AFTER INSERT", "REFERENCING NEW TABLE AS new_rows"),
            ("upd", "AFTER UPDATE", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
            ("del", "AFTER DELETE", "REFERENCING OLD TABLE AS old_rows"),
        ):
            statements += _function(names[event], _capture_body(spec, event, owner, layout), schema)
            statements += _trigger(names[event], spec.table, when, tables)
    return statements


def _function(name: str, body: sql.Composed, schema: str) -> list[sql.Composed]:
    head = sql.SQL(
        "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = {}, "
        "pg_temp AS "
    )
    return [head.format(sql.Identifier(name), sql.Identifier(schema)) + sql.Literal(body.as_string())]


def _trigger(name: str, table: str, when: str, tables: str = "") -> list[sql.Composed]:
    values = {"name": sql.Identifier(name), "table": sql.Identifier(table)}
    return [
        sql.SQL("CREATE TRIGGER {name} {when} ON {table} {tables} FOR EACH STATEMENT EXECUTE FUNCTION {name}()").format(
            **values, when=sql.SQL(when), tables=sql.SQL(tables)
        ),
        sql.SQL("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}").format(**values),
    ]


def _replica_body(spec: TableSpec, owner: str) -> sql.Composed:
    """A replica of another context's rows: only the apply path ever writes it."""
    return sql.SQL(
        """
BEGIN
  IF {trusted} THEN RETURN NULL; END IF;
  RAISE EXCEPTION '% is a replica; its rows are written by the sync of context % only', TG_TABLE_NAME, {context}
    USING ERRCODE = 'insufficient_privilege', HINT = 'write the original where it lives';
END """
    ).format(trusted=_TRUSTED.format(owner=sql.Literal(owner)), context=sql.Literal(spec.stream))


def _fence_body(spec: TableSpec, owner: str, side: Side) -> sql.Composed:
    """Note [the fence]: every writing transaction holds the shared lock from its first statement to its end, then reads
    the owner afresh. An older REPEATABLE READ snapshot would read an older owner, so there the row is locked, which
    fails if it has changed since. The cutover takes the lock exclusively: behind it no write is in flight.
    A refusal is counted by the context's sequence, which the refused transaction's rollback does not take back.
    """
    first, second = lock_keys(LockClass.FENCE, spec.stream)
    return sql.SQL(
        """
DECLARE now_owner text;
BEGIN
  IF {trusted} THEN RETURN NULL; END IF;
  PERFORM pg_advisory_xact_lock_shared({first}, {second});
  IF current_setting('transaction_isolation') IN ('read committed', 'read uncommitted') THEN
    SELECT owner INTO now_owner FROM strangle_ownership WHERE context = {context};
  ELSE
    BEGIN
      SELECT owner INTO now_owner FROM strangle_ownership WHERE context = {context} FOR SHARE;
    EXCEPTION WHEN serialization_failure THEN now_owner := 'changed';
    END;
  END IF;
  IF now_owner IS DISTINCT FROM {side} THEN
    BEGIN PERFORM nextval({counter}); EXCEPTION WHEN undefined_table OR insufficient_privilege THEN NULL; END;
    RAISE EXCEPTION 'context % is not owned here: writes to % belong to the %', {context}, TG_TABLE_NAME, now_owner
      USING ERRCODE = {state}, HINT = 'retry; the routing proxy sends the write to its owner';
  END IF;
  RETURN NULL;
END """
    ).format(
        trusted=_TRUSTED.format(owner=sql.Literal(owner)),
        first=sql.Literal(first),
        second=sql.Literal(second),
        context=sql.Literal(spec.stream),
        side=sql.Literal(side.value),
        state=sql.Literal(FENCED_SQLSTATE),
        counter=sql.Literal(sql.Identifier(counter_of(spec.stream)).as_string()),
    )


def _truncate_body(spec: TableSpec, owner: str) -> sql.Composed:
    return sql.SQL(
        """
BEGIN
  IF {trusted} THEN RETURN NULL; END IF;
  RAISE EXCEPTION 'TRUNCATE of % is refused while context % is captured', TG_TABLE_NAME, {context}
    USING ERRCODE = 'feature_not_supported', HINT = 'use DELETE, or roll the context back to monolith_only first';
END """
    ).format(trusted=_TRUSTED.format(owner=sql.Literal(owner)), context=sql.Literal(spec.stream))


def _capture_body(spec: TableSpec, event: str, owner: str, layout: int) -> sql.Composed:
    base = _keys(spec, event) if spec.is_base else sql.SQL("NULL::jsonb")
    reported = _reported(spec, event) if spec.reported else sql.SQL("NULL::jsonb")
    return sql.SQL(
        """
DECLARE kind "char" := 't'; touched jsonb; base jsonb; reported jsonb; whole jsonb; context jsonb;
BEGIN
  IF {trusted} AND coalesce(current_setting('strangle.applying_stream', true), '') IN ('', {stream}) THEN
    IF current_setting('strangle.applying', true) <> 'row' OR NOT {echoes} THEN RETURN NULL; END IF;
    kind := 'x';
  END IF;
  BEGIN
    base := {base};
    IF kind = 't' THEN reported := {reported}; END IF;
  EXCEPTION WHEN syntax_error_or_access_rule_violation OR feature_not_supported THEN
    whole := {whole};
    base := NULL;
    reported := NULL;
  END;
  IF base IS NULL AND reported IS NULL AND whole IS NULL THEN RETURN NULL; END IF;
  IF coalesce(current_setting('strangle.context', true), '') <> '' THEN
    BEGIN
      context := current_setting('strangle.context')::jsonb;
    EXCEPTION WHEN data_exception THEN context := NULL;
    END;
  END IF;
  touched := jsonb_strip_nulls(jsonb_build_object('b', base, 'd', reported, 'l', {layout}::int));
  IF whole IS NOT NULL THEN touched := touched || jsonb_build_object('w', whole); END IF;
  INSERT INTO strangle_outbox (stream, kind, table_name, touched, correlation_id, causation_id, metadata)
    VALUES ({stream}, kind, {table}, touched,
      context ->> 'correlation', context ->> 'causation', context -> 'metadata');
  RETURN NULL;
END """
    ).format(
        trusted=_TRUSTED.format(owner=sql.Literal(owner)),
        echoes=sql.Literal(spec.echoes),
        base=base,
        reported=reported,
        whole=_whole(spec, event),
        layout=sql.Literal(layout),
        stream=sql.Literal(spec.stream),
        table=sql.Literal(spec.reported_as or spec.table),
    )


def _whole(spec: TableSpec, event: str) -> sql.Composed:
    """The statement's rows as they are, with the numbers of their columns; NULL if it touched none."""
    relation: sql.SQL | sql.Composed = sql.SQL("TG_RELID")
    if spec.reported_as:
        relation = sql.SQL("coalesce(to_regclass({})::oid, TG_RELID)").format(
            sql.Literal(sql.Identifier(spec.reported_as).as_string())
        )
    names = {"ins": ["new_rows"], "upd": ["old_rows", "new_rows"], "del": ["old_rows"]}[event]
    rows = sql.SQL(" UNION ALL ").join(sql.SQL("SELECT to_jsonb(r) FROM {} r").format(sql.SQL(name)) for name in names)
    return sql.SQL(
        """(SELECT jsonb_build_object('why', SQLERRM, 'table', {relation}::bigint, 'rows', jsonb_agg(w.row),
              'columns', (SELECT jsonb_object_agg(attnum, attname) FROM pg_attribute
                          WHERE attrelid = {relation} AND attnum > 0 AND NOT attisdropped))
            FROM ({rows}) w(row) HAVING count(*) > 0)"""
    ).format(relation=relation, rows=rows)


def _keys(spec: TableSpec, event: str) -> sql.Composed:
    names = [sql.Identifier(name) for name in spec.key]
    columns = sql.SQL(", ").join(
        sql.SQL('{0}::text COLLATE "C" AS {0}').format(name) if name_ in spec.inexact else name
        for name, name_ in zip(names, spec.key, strict=True)
    )
    texts = sql.SQL(", ").join(sql.SQL("k.{}::text").format(name) for name in names)
    select = sql.SQL("SELECT {} FROM {}")
    old, new = (select.format(columns, sql.SQL(name)) for name in ("old_rows", "new_rows"))
    rows = {"ins": new, "del": old, "upd": old + sql.SQL(" UNION ") + new}[event]
    return sql.SQL("(SELECT jsonb_agg(jsonb_build_array({})) FROM ({}) k)").format(texts, rows)


def _reported(spec: TableSpec, event: str) -> sql.Composed:
    """Reported columns, old and new, of rows inserted, deleted, or updated in a watched column."""

    def texts(row: str) -> sql.Composed:
        each = (sql.SQL("{}.{}::text").format(sql.SQL(row), sql.Identifier(name)) for name in spec.reported)
        return sql.SQL("jsonb_build_array({})").format(sql.SQL(", ").join(each))

    if event != "upd":
        row = "new_rows" if event == "ins" else "old_rows"
        return sql.SQL("(SELECT jsonb_agg({}) FROM {} r)").format(texts("r"), sql.SQL(row))

    def compared(name: str, how: str) -> sql.Composed:
        each = '{1}.{0}::text COLLATE "C"' if name in spec.inexact else "{1}.{0}"
        old, new = (sql.SQL(each).format(sql.Identifier(name), sql.SQL(row)) for row in ("o", "n"))
        return old + sql.SQL(how) + new

    same_key = sql.SQL(" AND ").join(compared(name, " = ") for name in spec.key)
    watched = dict.fromkeys((*spec.watched, *spec.reported))
    changed = sql.SQL(" OR ").join(compared(name, " IS DISTINCT FROM ") for name in watched)
    return sql.SQL(
        """(SELECT jsonb_agg(DISTINCT t) FROM old_rows o FULL JOIN new_rows n ON {same}
            CROSS JOIN LATERAL (VALUES ({old}), ({new})) AS ends(t) WHERE {changed})"""
    ).format(same=same_key, old=texts("o"), new=texts("n"), changed=changed)
