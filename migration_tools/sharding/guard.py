"""What is installed on each shard: who holds a bucket is asked by every row written and by every block that reads.

Note [epochs]. A client's map may be old. It says the bucket and the epoch of its map when it enters a shard, and a row
says its bucket; the shard knows what it holds, under which epoch, and refuses everything else with a retryable state.
So an old map costs a refresh and never a misplaced row. Both take the bucket's shared lock first, which a move takes
exclusively, and then read afresh; an older REPEATABLE READ snapshot, which could read an older state, locks the row
instead and fails if it has changed since.

Note [epochs of a key]. By geography a single key may leave its bucket (see sharding/relocating.py). Blocks and rows say
their key too, and take one of 64 shared locks before the key's state is read: a lock for each key would fill the
server's table of locks. An older snapshot cannot see a state that is new; so whoever closes a key writes the bucket's
row as well, and the check above fails.
"""

from typing import LiteralString

from migration_tools.kernel.locks import LockClass
from migration_tools.sharding.declaration import ShardedTable, Sharding
from migration_tools.sharding.mapping import Strategy
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
CREATE OR REPLACE FUNCTION strangle_shard_enter_key(wanted_map text, wanted_bucket int, wanted_key text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared({lock}, strangle_shard_stripe(wanted_map, wanted_bucket, wanted_key));
  IF EXISTS (SELECT FROM strangle_shard_key
             WHERE map = wanted_map AND bucket = wanted_bucket AND key = wanted_key AND state <> 'open') THEN
    RAISE EXCEPTION 'a key of bucket % of map % is not served here: it is in another region, or on its way',
      wanted_bucket, wanted_map USING ERRCODE = {state}, HINT = 'ask for the region of the key, then retry';
  END IF;
END $$;
CREATE OR REPLACE FUNCTION strangle_shard_stripe(its_map text, its_bucket int, its_key text) RETURNS int
LANGUAGE sql IMMUTABLE AS $$
  SELECT hashtext(its_map || ':' || its_bucket || ':' || (hashtext(its_key) & 63))
$$;
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
  END IF;{old_key}
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  IF strangle_shard_enter({map}, NEW.{bucket}, NULL) = 'leaving' THEN
    PERFORM strangle_shard_touch({map}, NEW.{bucket}, TG_TABLE_NAME, NEW.{key}::text);
  END IF;{new_key}
  RETURN NEW;
END $guard$"""

_OLD_KEY: LiteralString = """
  IF TG_OP <> 'INSERT' THEN PERFORM strangle_shard_enter_key({map}, OLD.{bucket}, OLD.{by}::text); END IF;"""
_NEW_KEY: LiteralString = """
  PERFORM strangle_shard_enter_key({map}, NEW.{bucket}, NEW.{by}::text);"""

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
            _guard(conn, declared, table)


def _guard(conn: Connection, declared: Sharding, table: ShardedTable) -> None:
    owner = conn.execute("SELECT tableowner FROM pg_tables WHERE tablename = %s", [table.table]).fetchone()
    function = sql.Identifier(f"strangle_shard_{table.table}")
    values = {
        "function": function, "owner": sql.Literal(owner[0] if owner else ""), "map": sql.Literal(declared.name),
        "bucket": sql.Identifier(table.bucket), "key": sql.Identifier(table.key), "table": sql.Identifier(table.table),
        "by": sql.Identifier(table.found_by),
    }  # fmt: skip
    by_key = declared.strategy is Strategy.GEOGRAPHY
    old_key, new_key = (sql.SQL(each if by_key else "").format(**values) for each in (_OLD_KEY, _NEW_KEY))
    conn.execute(sql.SQL(_GUARD).format(**values, old_key=old_key, new_key=new_key))
    for statement in _TRIGGERS:
        conn.execute(sql.SQL(statement).format(**values))
