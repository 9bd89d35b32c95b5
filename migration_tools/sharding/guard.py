"""What is installed on each shard: who holds a bucket is asked by every row written and by every block that reads.

Note [epochs]. A client's map may be old. It says the bucket and the epoch of its map when it enters a shard, and a row
says its bucket; the shard knows what it holds, under which epoch, and refuses everything else with a retryable state.
So an old map costs a refresh and never a misplaced row. Both take the bucket's shared lock first, which a move takes
exclusively, and then read afresh; an older REPEATABLE READ snapshot, which could read an older state, locks the row
instead and fails if it has changed since.
"""

from typing import LiteralString

from migration_tools.kernel.locks import LockClass
from migration_tools.sharding.declaration import ShardedTable, Sharding
from migration_tools.stores.postgres import Connection, sql

WRONG_SHARD_SQLSTATE = "40S02"

# The app's roles may not write these tables, so both functions run as their owner, on his search path.
ENTER: LiteralString = """
CREATE OR REPLACE FUNCTION strangle_shard_enter(wanted_map text, wanted_bucket int, wanted_epoch bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE held strangle_shard_hold;
BEGIN
  PERFORM pg_advisory_xact_lock_shared({lock}, hashtext(wanted_map || ':' || wanted_bucket));
  IF current_setting('transaction_isolation') IN ('read committed', 'read uncommitted') THEN
    SELECT * INTO held FROM strangle_shard_hold WHERE map = wanted_map AND bucket = wanted_bucket;
  ELSE
    BEGIN
      SELECT * INTO held FROM strangle_shard_hold WHERE map = wanted_map AND bucket = wanted_bucket FOR SHARE;
    EXCEPTION WHEN serialization_failure THEN held := NULL;
    END;
  END IF;
  IF held.state IS NULL OR held.state NOT IN ('owned', 'leaving')
      OR (wanted_epoch IS NOT NULL AND wanted_epoch <> held.epoch) THEN
    RAISE EXCEPTION 'bucket % of map % is not served here under epoch %', wanted_bucket, wanted_map, wanted_epoch
      USING ERRCODE = {state}, HINT = 'read the shard map again, then retry';
  END IF;
  RETURN held.state;
END $$;
CREATE OR REPLACE FUNCTION strangle_shard_touch(its_map text, its_bucket int, its_table text, its_key text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
  INSERT INTO strangle_shard_touched (map, bucket, table_name, key) VALUES (its_map, its_bucket, its_table, its_key)
$$;
"""

_GUARD: LiteralString = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $guard$
BEGIN
  IF current_setting('strangle.moving_bucket', true) = 'on' AND pg_has_role(current_user, {owner}, 'MEMBER') THEN
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
    RETURN NEW;
  END IF;
  IF TG_OP = 'TRUNCATE' THEN
    RAISE EXCEPTION 'TRUNCATE of % is refused: it is sharded', TG_TABLE_NAME
      USING ERRCODE = 'feature_not_supported', HINT = 'use DELETE';
  END IF;
  IF TG_OP <> 'INSERT' AND strangle_shard_enter({map}, OLD.{bucket}, NULL) = 'leaving' THEN
    PERFORM strangle_shard_touch({map}, OLD.{bucket}, TG_TABLE_NAME, OLD.{key}::text);
  END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  IF strangle_shard_enter({map}, NEW.{bucket}, NULL) = 'leaving' THEN
    PERFORM strangle_shard_touch({map}, NEW.{bucket}, TG_TABLE_NAME, NEW.{key}::text);
  END IF;
  RETURN NEW;
END $guard$"""

_TRIGGERS: tuple[LiteralString, ...] = (
    "CREATE OR REPLACE TRIGGER strangle_shard_row BEFORE INSERT OR UPDATE OR DELETE ON {table}"
    " FOR EACH ROW EXECUTE FUNCTION {function}()",
    "CREATE OR REPLACE TRIGGER strangle_shard_whole BEFORE TRUNCATE ON {table}"
    " FOR EACH STATEMENT EXECUTE FUNCTION {function}()",
)


def install(conn: Connection, declared: Sharding) -> None:
    """Put functions and triggers on a shard, as the owner of its tables; safe to repeat."""
    with conn.transaction():
        conn.execute(
            sql.SQL(ENTER).format(lock=sql.Literal(int(LockClass.SHARD)), state=sql.Literal(WRONG_SHARD_SQLSTATE))
        )
        for table in declared.tables:
            _guard(conn, declared.name, table)


def _guard(conn: Connection, name: str, table: ShardedTable) -> None:
    owner = conn.execute("SELECT tableowner FROM pg_tables WHERE tablename = %s", [table.table]).fetchone()
    function = sql.Identifier(f"strangle_shard_{table.table}")
    values = {
        "function": function, "owner": sql.Literal(owner[0] if owner else ""), "map": sql.Literal(name),
        "bucket": sql.Identifier(table.bucket), "key": sql.Identifier(table.key), "table": sql.Identifier(table.table),
    }  # fmt: skip
    conn.execute(sql.SQL(_GUARD).format(**values))
    for statement in _TRIGGERS:
        conn.execute(sql.SQL(statement).format(**values))
