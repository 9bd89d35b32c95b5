"""The rings are made, and taken back, in databases with data and beside writers: no write fails, none is lost."""

import threading
from typing import Any

from django.core.management import call_command

from migration_tools.messaging import retention
from migration_tools.messaging.rings import RINGS
from tests.races.scene import NEW_EVENT, Background, until
from tests.stage import write_at_random

BEFORE = "0004"


def kinds(stage: Any) -> set[str]:
    """How outbox and stream are kept: 'r' as one table, 'p' in partitions."""
    return {
        row[0]
        for row in stage.shop.execute(
            "SELECT relkind::text FROM pg_class WHERE relname IN ('strangle_outbox', 'strangle_stream')"
        )
    }


def grants(stage: Any) -> set[tuple[str, str, str]]:
    return set(
        stage.shop.execute(
            """SELECT table_name, grantee, privilege_type FROM information_schema.table_privileges
               WHERE table_name IN ('strangle_outbox', 'strangle_stream')"""
        )
    )


def test_a_database_with_data_gets_its_rings_beside_writers_relay_and_consumer(stage: Any) -> None:
    stage.backfill()
    allowed = grants(stage)
    call_command("migrate", "strangle_messaging", BEFORE, verbosity=0)
    assert kinds(stage) == {"r"}
    stop = threading.Event()
    writers = [Background(lambda seed=seed: write_at_random(stage.pair, seed, stop)) for seed in (1, 2)]
    with stage.running(), stage.pair.connect("shop") as old:
        old.autocommit = False
        old.execute(NEW_EVENT, ["open while the ring is made"])
        before = _highest(stage)
        until(lambda: _highest(stage) > before + 20, "writes come")
        made = Background(lambda: call_command("migrate", "strangle_messaging", verbosity=0))
        stop.wait(0.4)
        assert made.running(), "a writer's open transaction is waited for"
        before = _highest(stage)
        until(lambda: _highest(stage) > before + 20, "writes go on meanwhile")
        old.commit()
        made.outcome()
        before = _highest(stage)
        until(lambda: _highest(stage) > before + 20, "writes go on after it")
        stop.set()
        for writer in writers:
            assert writer.outcome() > 0
    assert kinds(stage) == {"p"}
    assert grants(stage) == allowed
    stage.settle()
    assert stage.differences() == []
    assert stage.shop.execute("SELECT count(*) > 0 FROM strangle_outbox_before").fetchone() == (True,)
    call_command("migrate", "strangle_messaging", BEFORE, verbosity=0)
    stage.shop.execute("UPDATE orders_order SET note = 'in one table again' WHERE id = 1")
    stage.settle()
    assert stage.differences() == []
    call_command("migrate", "strangle_messaging", verbosity=0)


def _highest(stage: Any) -> int:
    return int(stage.shop.execute("SELECT coalesce(max(seq), 0) FROM strangle_outbox").fetchone()[0])


def test_the_rings_in_the_database_are_those_that_retention_knows(stage: Any) -> None:
    for ring in RINGS:
        found = stage.shop.execute(
            "SELECT relid::regclass::text FROM pg_partition_tree(%s) WHERE level = 1", [ring.table]
        ).fetchall()
        assert sorted(row[0] for row in found) == sorted(ring.names)
        slot = stage.shop.execute(
            """SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid
               AND a.attnum = d.adnum WHERE d.adrelid = to_regclass(%s) AND a.attname = 'slot'""",
            [ring.table],
        ).fetchone()
        ours = stage.shop.execute(f"SELECT ({ring.slot}) = ({slot[0]})").fetchone()
        assert ours == (True,)
        assert str(ring.width_seconds) in slot[0]
        assert f"% ({ring.leaves})" in slot[0], slot
    default = {"strangle_outbox": 600.0, "strangle_stream": 7 * 86_400.0}
    assert all(ring.suits(default[ring.table]) for ring in retention.RINGS)
