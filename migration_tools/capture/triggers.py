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

Note [every name qualified]. The functions have their owner's rights whatever search_path the writer has, and setting
one at each call cost a tenth of a single-row write. So every name says its schema, operators' and types' too, and there
is no IN, IS DISTINCT FROM or CASE x WHEN, which look their operator up by the path. One function compares columns by
the operators of their types, and sets the path: that of updates of columns that are reported.

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
    "coalesce(pg_catalog.current_setting('strangle.applying', true), '') OPERATOR(pg_catalog.<>) '' "
    "AND pg_catalog.pg_has_role(session_user, {owner}, 'MEMBER')"
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
        body = _replica_body(spec, owner) if spec.fence is Fence.REPLICA else _fence_body(spec, owner, side, schema)
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
            body = _capture_body(spec, event, owner, layout, schema)
            statements += _function(names[event], body, schema, pinned=event == "upd" and bool(spec.reported))
            statements += _trigger(names[event], spec.table, when, tables)
    return statements


def _function(name: str, body: sql.Composed, schema: str, *, pinned: bool = False) -> list[sql.Composed]:
    """See Note [every name qualified]; `pinned` sets the search_path at each call."""
    path = sql.SQL(" SET search_path = {}, pg_temp").format(sql.Identifier(schema)) if pinned else sql.SQL("")
    head = sql.SQL("CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER{} AS ")
    return [head.format(sql.Identifier(name), path) + sql.Literal(body.as_string())]


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


def _fence_body(spec: TableSpec, owner: str, side: Side, schema: str) -> sql.Composed:
    """Note [the fence]: every writing transaction holds the shared lock from its first statement to its end, then reads
    the owner afresh. An older REPEATABLE READ snapshot would read an older owner, so there the row is locked, which
    fails if it has changed since. The cutover takes the lock exclusively: behind it no write is in flight.
    A refusal is counted by the context's sequence, which the refused transaction's rollback does not take back.
    """
    first, second = lock_keys(LockClass.FENCE, spec.stream)
    # The lock is taken by an expression: a PERFORM would be a query of its own.
    return sql.SQL(
        """
DECLARE now_owner pg_catalog.text;
BEGIN
  IF {trusted} THEN RETURN NULL; END IF;
  IF pg_catalog.pg_advisory_xact_lock_shared({first}, {second}) IS NULL THEN NULL; END IF;
  IF pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=)
      ANY (ARRAY['read committed', 'read uncommitted']::pg_catalog.text[]) THEN
    SELECT owner INTO now_owner FROM {ownership} WHERE context OPERATOR(pg_catalog.=) {context};
  ELSE
    BEGIN
      SELECT owner INTO now_owner FROM {ownership} WHERE context OPERATOR(pg_catalog.=) {context} FOR SHARE;
    EXCEPTION WHEN serialization_failure THEN now_owner := 'changed';
    END;
  END IF;
  IF now_owner IS NULL OR now_owner OPERATOR(pg_catalog.<>) {side} THEN
    BEGIN
      PERFORM pg_catalog.nextval({counter});
    EXCEPTION WHEN undefined_table OR insufficient_privilege THEN NULL;
    END;
    RAISE EXCEPTION 'context % is not owned here: writes to % belong to the %', {context}, TG_TABLE_NAME, now_owner
      USING ERRCODE = {state}, HINT = 'retry; the routing proxy sends the write to its owner';
  END IF;
  RETURN NULL;
END """
    ).format(
        trusted=_TRUSTED.format(owner=sql.Literal(owner)),
        first=sql.Literal(first),
        second=sql.Literal(second),
        ownership=sql.Identifier(schema, "strangle_ownership"),
        context=sql.Literal(spec.stream),
        side=sql.Literal(side.value),
        state=sql.Literal(FENCED_SQLSTATE),
        counter=sql.Literal(sql.Identifier(schema, counter_of(spec.stream)).as_string()),
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


def _capture_body(spec: TableSpec, event: str, owner: str, layout: int, schema: str) -> sql.Composed:
    reported = _reported(spec, event) if spec.reported else sql.SQL("NULL::pg_catalog.jsonb")
    return sql.SQL(
        """
DECLARE kind pg_catalog."char" := 't'; keys pg_catalog.text[]; base pg_catalog.jsonb; reported pg_catalog.jsonb;
  whole pg_catalog.jsonb; touched pg_catalog.jsonb; context pg_catalog.jsonb;
BEGIN
  IF {trusted} AND coalesce(pg_catalog.current_setting('strangle.applying_stream', true), '') OPERATOR(pg_catalog.=)
      ANY (ARRAY['', {stream}]::pg_catalog.text[]) THEN
    IF pg_catalog.current_setting('strangle.applying', true) OPERATOR(pg_catalog.<>) 'row' OR NOT {echoes} THEN
      RETURN NULL;
    END IF;
    kind := 'x';
  END IF;
  BEGIN
    {keys}
    IF kind OPERATOR(pg_catalog.=) 't' THEN reported := {reported}; END IF;
  EXCEPTION WHEN syntax_error_or_access_rule_violation OR feature_not_supported THEN
    whole := {whole};
    base := NULL;
    reported := NULL;
  END;
  IF whole IS NOT NULL THEN
    touched := pg_catalog.jsonb_build_object('l', {layout}::pg_catalog.int4, 'w', whole);
  ELSIF reported IS NOT NULL THEN
    touched := pg_catalog.jsonb_strip_nulls(
      pg_catalog.jsonb_build_object('b', base, 'd', reported, 'l', {layout}::pg_catalog.int4));
  ELSIF base IS NOT NULL THEN
    touched := pg_catalog.jsonb_build_object('b', base, 'l', {layout}::pg_catalog.int4);
  ELSE
    RETURN NULL;
  END IF;
  IF coalesce(pg_catalog.current_setting('strangle.context', true), '') OPERATOR(pg_catalog.<>) '' THEN
    BEGIN
      context := pg_catalog.current_setting('strangle.context')::pg_catalog.jsonb;
    EXCEPTION WHEN data_exception THEN context := NULL;
    END;
  END IF;
  INSERT INTO {outbox} (stream, kind, table_name, touched, correlation_id, causation_id, metadata)
    VALUES ({stream}, kind, {table}, touched, context OPERATOR(pg_catalog.->>) 'correlation',
      context OPERATOR(pg_catalog.->>) 'causation', context OPERATOR(pg_catalog.->) 'metadata');
  RETURN NULL;
END """
    ).format(
        trusted=_TRUSTED.format(owner=sql.Literal(owner)),
        echoes=sql.Literal(spec.echoes),
        keys=_keys(spec, event) if spec.is_base else sql.SQL(""),
        reported=reported,
        whole=_whole(spec, event, schema),
        layout=sql.Literal(layout),
        stream=sql.Literal(spec.stream),
        table=sql.Literal(spec.reported_as or spec.table),
        outbox=sql.Identifier(schema, "strangle_outbox"),
    )


def _whole(spec: TableSpec, event: str, schema: str) -> sql.Composed:
    """The statement's rows as they are, with the numbers of their columns; NULL if it touched none."""
    relation: sql.SQL | sql.Composed = sql.SQL("TG_RELID")
    if spec.reported_as:
        relation = sql.SQL("coalesce(pg_catalog.to_regclass({})::pg_catalog.oid, TG_RELID)").format(
            sql.Literal(sql.Identifier(schema, spec.reported_as).as_string())
        )
    names = {"ins": ["new_rows"], "upd": ["old_rows", "new_rows"], "del": ["old_rows"]}[event]
    rows = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT pg_catalog.to_jsonb(r) FROM {} r").format(sql.SQL(name)) for name in names
    )
    return sql.SQL(
        """(SELECT pg_catalog.jsonb_build_object('why', SQLERRM, 'table', {relation}::pg_catalog.int8,
              'rows', pg_catalog.jsonb_agg(w.row),
              'columns', (SELECT pg_catalog.jsonb_object_agg(attnum, attname) FROM pg_catalog.pg_attribute
                          WHERE attrelid OPERATOR(pg_catalog.=) {relation} AND attnum OPERATOR(pg_catalog.>) 0
                            AND NOT attisdropped))
            FROM ({rows}) w(row) HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0)"""
    ).format(relation=relation, rows=rows)


def _keys(spec: TableSpec, event: str) -> sql.Composed:
    """Set `base` to the keys of the touched rows, old and new, a list of texts each; NULL if there are none.

    Both transition tables have the rows in one order, so the keys of an update that changes none are equal arrays. As
    arrays of bytes they cost half of what it takes to unite them: no aggregate, no hash table.
    """
    texts = sql.SQL(", ").join(
        sql.SQL('{}::pg_catalog.text COLLATE pg_catalog."C"').format(sql.Identifier(name)) for name in spec.key
    )
    old, new = (sql.SQL("SELECT ARRAY[{}] FROM {}").format(texts, sql.SQL(name)) for name in ("old_rows", "new_rows"))
    text = """keys := ARRAY({first});"""
    if event == "upd":
        text += """
    IF keys OPERATOR(pg_catalog.<>) ARRAY({old}) THEN keys := ARRAY({old} UNION {new}); END IF;"""
    text += """
    IF pg_catalog.cardinality(keys) OPERATOR(pg_catalog.>) 0 THEN base := pg_catalog.to_jsonb(keys); END IF;"""
    return sql.SQL(text).format(first=old if event == "del" else new, old=old, new=new)


def _reported(spec: TableSpec, event: str) -> sql.Composed:
    """Reported columns, old and new, of rows inserted, deleted, or updated in a watched column."""

    def texts(row: str) -> sql.Composed:
        each = (sql.SQL("{}.{}::pg_catalog.text").format(sql.SQL(row), sql.Identifier(name)) for name in spec.reported)
        return sql.SQL("pg_catalog.jsonb_build_array({})").format(sql.SQL(", ").join(each))

    if event != "upd":
        row = "new_rows" if event == "ins" else "old_rows"
        return sql.SQL("(SELECT pg_catalog.jsonb_agg({}) FROM {} r)").format(texts("r"), sql.SQL(row))

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
