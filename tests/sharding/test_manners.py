"""strangle_shard as an operator meets it: told to stop, asked what it would do, and when a shard goes away."""

import json
import os
import signal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from migration_tools.errors import ExitCode
from migration_tools.kernel import points
from migration_tools.sharding.maps import read_map
from migration_tools.sharding.moving import move
from tests.sharding.conftest import MAP, Shards
from tests.sharding.test_ranges_and_clients import ranged
from tests.stopping import assert_stopped, manage, told_to_stop

__all__ = ["ranged"]

ROWS = 30


def terminate() -> None:
    """Send SIGTERM to this process, as its operator does."""
    os.kill(os.getpid(), signal.SIGTERM)


def filled(sharded: Shards) -> tuple[int, str]:
    """A bucket with some customers, and its shard."""
    bucket = read_map(MAP).locate("cust-1")
    insert = "INSERT INTO customer (id, bucket, name) SELECT 'c' || n, %s, 'n' FROM generate_series(1, %s) n"
    sharded.rows(bucket.shard, insert, bucket.number, ROWS)
    return bucket.number, bucket.shard


def held(sharded: Shards, number: int) -> dict[str, int]:
    """Rows of a bucket by shard, where there are any."""
    query = "SELECT count(*) FROM customer WHERE bucket = %s"
    counts = {name: sharded.rows(name, query, number)[0][0] for name in sharded.names}
    return {name: count for name, count in counts.items() if count}


@pytest.fixture
def process(sharded: Shards, settings: Any) -> tuple[list[str], dict[str, str]]:
    """The command's words on these shards without its task's, and its environment."""
    ours = {"USER": "postgres", "PASSWORD": sharded.cluster.password, "PORT": str(sharded.cluster.port)}
    databases = {name: {**ours, "NAME": database} for name, database in sharded.names.items()}
    words = manage(
        "strangle_shard",
        tools={"SHARDS": settings.MIGRATION_TOOLS["SHARDS"]},
        apps=["migration_tools.sharding"],
        databases={"default": databases["s0"], **databases},
    )
    return words, {**os.environ, "DJANGO_SETTINGS_MODULE": "legacy_monolith.settings"}


def test_a_move_that_is_told_to_stop_ends_before_the_hand_over_and_is_gone_on_with(
    sharded: Shards, process: tuple[list[str], dict[str, str]], tmp_path: Path, capsys: Any
) -> None:
    number, shard = filled(sharded)
    words, env = process
    done = told_to_stop([*words, "move", MAP, str(number), "--to", "s2"], env, "sharding.begun", tmp_path)
    assert_stopped(done, f"bucket {number} of map 'customers' is served by {shard!r} as before", "Run the same command")
    assert held(sharded, number) == {shard: ROWS}
    call_command("strangle_shard", "move", MAP, str(number), "--to", "s2")
    assert f"copy bucket {number} of 'customers' to 's2': {ROWS} of {ROWS} (100 %)" in capsys.readouterr().err
    assert held(sharded, number) == {"s2": ROWS}
    assert read_map(MAP).by_number(number).shard == "s2"


def test_rows_left_behind_by_a_move_that_stopped_are_named_with_what_removes_them(sharded: Shards) -> None:
    """Told to stop after the hand-over: nobody sees the old rows, and the same move clears them away."""
    number, shard = filled(sharded)

    left = rf"rows of it are left on {shard!r}.*move customers {number} --to s2 removes"
    with points.on("sharding.closed", terminate), pytest.raises(CommandError, match=left) as ended:
        call_command("strangle_shard", "move", MAP, str(number), "--to", "s2")
    assert ended.value.returncode == ExitCode.INTERRUPTED
    assert held(sharded, number) == {shard: ROWS, "s2": ROWS}
    assert read_map(MAP).by_number(number).shard == "s2"
    move(MAP, number, "s2")
    assert held(sharded, number) == {"s2": ROWS}


def test_a_second_signal_ends_it_at_once_and_the_same_command_goes_on(sharded: Shards) -> None:
    number, _ = filled(sharded)

    def insist() -> None:
        terminate()
        terminate()

    with points.on("sharding.drained", insist), pytest.raises(CommandError, match="interrupted at once") as ended:
        call_command("strangle_shard", "move", MAP, str(number), "--to", "s2")
    assert ended.value.returncode == ExitCode.INTERRUPTED
    move(MAP, number, "s2")
    assert held(sharded, number) == {"s2": ROWS}


def test_each_task_says_in_sentences_what_it_would_do_and_touches_nothing(ranged: Shards) -> None:
    def facts() -> Any:
        return read_map(MAP), ranged.everywhere("SELECT * FROM strangle_shard_hold ORDER BY bucket")

    before = facts()
    for words, says in (
        (
            ("init", MAP, "--ranges", "0=s0,9=s1"),
            "Would install the guard on every shard, and make map",
        ),
        (("move", MAP, "0", "--to", "s2"), "Would move bucket 0 of map 'customers' from 's0' to 's2'."),
        (("move", MAP, "0", "--to", "s0"), "Bucket 0 of map 'customers' is on 's0' already."),
        (("split", MAP, "0", "--at", "15"), "in two: keys from 15 on become a bucket of their own."),
        (("merge", MAP, "1"), "Would join range 1 of map 'customers'"),
    ):
        out = StringIO()
        call_command("strangle_shard", *words, "--dry-run", stdout=out)
        assert says in out.getvalue(), words
        assert out.getvalue().endswith("nothing was touched\n")
        assert "=" not in out.getvalue()
        assert facts() == before, words


def test_adding_a_shard_names_each_move(sharded: Shards) -> None:
    out, parsed = StringIO(), StringIO()
    call_command("strangle_shard", "add", MAP, "s2", "--dry-run", stdout=out)
    assert out.getvalue().count("Would move bucket") == 5
    call_command("strangle_shard", "add", MAP, "s2", "--dry-run", "--format", "json", stdout=parsed)
    assert len(json.loads(parsed.getvalue())["buckets"]) == 5


def test_a_shard_that_goes_away_is_a_sentence(sharded: Shards) -> None:
    number, shard = filled(sharded)

    def cut_off() -> None:
        sharded.rows(
            shard,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'strangle:shard%' AND pid <> pg_backend_pid()",
        )

    said = r"a database failed: .*run the same command again"
    with points.on("sharding.begun", cut_off), pytest.raises(CommandError, match=said) as failed:
        call_command("strangle_shard", "move", MAP, str(number), "--to", "s2")
    assert failed.value.returncode == ExitCode.ERROR
    move(MAP, number, "s2")
    assert held(sharded, number) == {"s2": ROWS}
