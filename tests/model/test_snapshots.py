"""The modelled PostgreSQL decides as the real one does: visibility, the rows of a tick, and what transactions see."""

import random
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migration_tools.kernel.snapshots import Snapshot, forgettable, news_since
from migration_tools.messaging.ticks import TAKEN_SINCE
from migration_tools.testing.model.database import Database
from tests.conftest import Cluster

UPSERT = "INSERT INTO {} VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET value = EXCLUDED.value"


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """A pg_snapshot as PostgreSQL makes them: xip between xmin and xmax, in order."""
    xmin = draw(st.integers(3, 40))
    xmax = draw(st.integers(xmin, xmin + 12))
    xip = draw(st.sets(st.integers(xmin, max(xmin, xmax - 1)))) if xmax > xmin else set()
    return Snapshot(min(xip, default=xmax), xmax, tuple(sorted(xip)))


def text(snapshot: Snapshot) -> str:
    return f"{snapshot.xmin}:{snapshot.xmax}:{','.join(map(str, snapshot.xip))}"


@pytest.fixture(scope="module")
def conn(cluster: Cluster) -> Any:
    """A connection to the run's PostgreSQL with an outbox like ours that holds committed rows of xids 3 to 60."""
    with psycopg.connect(cluster.dsn(), autocommit=True) as made:
        made.execute(
            """CREATE TEMPORARY TABLE strangle_outbox AS
               SELECT xid::text::xid8 AS xid, xid::bigint AS seq, 's' AS stream, 't' AS kind, 't' AS table_name,
                      '{}'::jsonb AS touched, clock_timestamp() AS occurred_at FROM generate_series(3, 60) xid"""
        )
        yield made


@given(snapshot=snapshots())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_snapshot_sees_what_pg_visible_in_snapshot_says(conn: Any, snapshot: Snapshot) -> None:
    rows = conn.execute(
        "SELECT xid, pg_visible_in_snapshot(xid::text::xid8, %s::pg_snapshot) FROM generate_series(3, 60) xid",
        [text(snapshot)],
    ).fetchall()
    assert {xid: snapshot.sees(xid) for xid, _ in rows} == dict(rows)
    assert Snapshot.parse(text(snapshot)) == snapshot


@given(previous=snapshots())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_engines_query_takes_the_rows_that_the_rule_takes(conn: Any, previous: Snapshot) -> None:
    taken = {row[0] for row in conn.execute(TAKEN_SINCE, {"stream": "s", "last": text(previous)})}
    assert taken == {xid for xid in range(3, 61) if news_since(xid, previous)}


@given(previous=snapshots())
def test_every_row_is_old_or_news_and_only_old_ones_are_forgotten(previous: Snapshot) -> None:
    for xid in range(3, 61):
        assert news_since(xid, previous) != previous.sees(xid)
        assert not (forgettable(xid, previous) and news_since(xid, previous))


@pytest.mark.parametrize("seed", range(12))
def test_three_sessions_see_in_the_model_what_they_see_in_postgresql(cluster: Cluster, seed: int) -> None:
    """Random transactions of three sessions, in the model and in PostgreSQL; a REPEATABLE READ reader beside them."""
    rng = random.Random(seed)
    table = f"seen_{seed}"
    names: dict[int, int] = {}
    db = Database()
    with psycopg.connect(cluster.dsn(), autocommit=True) as admin:
        admin.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, value text)")
        sessions = [psycopg.connect(cluster.dsn()) for _ in range(3)]
        reader = psycopg.connect(cluster.dsn())
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        taken = None
        try:
            for step in range(40):
                who = rng.randrange(4)
                if who == 3:
                    if taken is None:
                        seen = reader.execute(f"SELECT id, value FROM {table} ORDER BY id").fetchall()
                        taken = db.now()
                        assert seen == list(db.table(taken))
                    else:
                        again = reader.execute(f"SELECT id, value FROM {table} ORDER BY id").fetchall()
                        assert again == list(db.table(taken))
                        reader.rollback()
                        taken = None
                    continue
                action = rng.choice(["write", "write", "commit", "rollback"])
                if action == "write":
                    key = rng.randint(1, 4)
                    if db.holder(key, names.get(who, -1)) is not None:
                        continue  # it would wait
                    if who not in names:
                        db, names[who] = db.begin()
                    value = None if rng.random() < 0.3 else f"v{step}"
                    if value is None:
                        sessions[who].execute(f"DELETE FROM {table} WHERE id = %s", [key])
                        held = db.read(key, db.now(), names[who])
                        db = db if held is None else db.write(key, None, names[who])
                    else:
                        sessions[who].execute(
                            UPSERT.format(table),
                            [key, value],
                        )
                        db = db.write(key, value, names[who])
                elif who in names:
                    if action == "commit":
                        sessions[who].commit()
                        db = db.end(names.pop(who))
                    else:
                        sessions[who].rollback()
                        db = db.abort(names.pop(who))
                seen = admin.execute(f"SELECT id, value FROM {table} ORDER BY id").fetchall()
                assert seen == list(db.table(db.now()))
        finally:
            for each in (*sessions, reader):
                each.close()
            admin.execute(f"DROP TABLE {table}")
