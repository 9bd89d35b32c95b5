"""A streaming replica whose replay stands still: nobody reads an older state than their own write, reports go there."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Group
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from migration_tools.phases.witnesses import sessions_on, uses_of
from migration_tools.replication import read_replicas
from migration_tools.replication.read_replicas import ReplicaMiddleware, from_replicas, replica_reads, written
from migration_tools.testing.postgres import EmbeddedPostgres

TABLE = Group._meta.db_table


@pytest.fixture(scope="module")
def primary() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(options={"wal_level": "replica", "hot_standby": "on", "shared_buffers": "32MB"}) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as conn:
            conn.execute(f"CREATE TABLE {TABLE} (id serial PRIMARY KEY, name text)")
        with (server.directory / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("\nhost replication all 127.0.0.1/32 scram-sha-256\n")
        yield server


@pytest.fixture(scope="module")
def standby(primary: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """A streaming replica, made from a base backup by PostgreSQL's own functions: the wheel has no pg_basebackup."""
    replica = EmbeddedPostgres()
    with psycopg.connect(primary.dsn(), autocommit=True) as conn:
        conn.execute("SELECT pg_reload_conf()")
        conn.execute("SELECT pg_backup_start('standby', fast => true)")
        shutil.copytree(primary.directory / "data", replica.directory / "data",
                        ignore=shutil.ignore_patterns("postmaster.pid", "postmaster.opts"))  # fmt: skip
        row = conn.execute("SELECT labelfile FROM pg_backup_stop(wait_for_archive => false)").fetchone()
        assert row is not None
        (replica.directory / "data" / "backup_label").write_text(row[0])
    # What pg_backup_stop wrote to the log last is streamed; the standby begins at the label's place.
    with (replica.directory / "data" / "postgresql.conf").open("a") as conf:
        conf.write(f"port = '{replica.port}'\nprimary_conninfo = '{primary.dsn()}'\n")
    (replica.directory / "data" / "standby.signal").touch()
    owner = (primary.directory / "data").stat()
    for path in [replica.directory, *replica.directory.rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid)
    replica.directory.chmod(0o700)
    (replica.directory / "data").chmod(0o700)
    replica.password = primary.password
    with replica as server:
        yield server


@pytest.fixture
def routed(
    primary: EmbeddedPostgres, standby: EmbeddedPostgres, settings: Any, django_db_blocker: Any
) -> Iterator[EmbeddedPostgres]:
    """Django with the primary as 'default' and the standby as 'replica', and the router between."""
    before = dict(connections["default"].settings_dict)
    ours = {"NAME": "postgres", "USER": "postgres", "PASSWORD": primary.password}
    settings.DATABASE_ROUTERS = ["migration_tools.replication.read_replicas.ReplicaRouter"]
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "READ_REPLICAS": {"replica": 1.0}}
    with django_db_blocker.unblock():
        connections["default"].close()
        connections["default"].settings_dict.update(ours | {"PORT": str(primary.port)})
        connections.settings["replica"] = {**connections.settings["default"], **ours, "PORT": str(standby.port)}
        try:
            # A standby that has replayed no transaction yet cannot say how far behind it is, and is not asked.
            Group.objects.create(name="before")
            caught_up(standby, written())
            yield standby
        finally:
            for alias in ("default", "replica"):
                connections[alias].close()
            del connections["replica"]
            del connections.settings["replica"]
            connections["default"].settings_dict.update(before)
            read_replicas._written.set("0/0")


def replay(standby: EmbeddedPostgres, action: str) -> None:
    with psycopg.connect(standby.dsn(), autocommit=True) as conn:
        conn.execute(f"SELECT pg_wal_replay_{action}()".encode())


def caught_up(standby: EmbeddedPostgres, position: str) -> None:
    """Wait until the standby has replayed a position of the primary."""
    with psycopg.connect(standby.dsn(), autocommit=True) as conn:
        for _ in range(2000):
            if conn.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [position]).fetchone() == (True,):
                return
            conn.execute("SELECT pg_sleep(0.01)")
    raise AssertionError("the standby does not catch up")


def alias_of(read: Any = None) -> str:
    return str(Group.objects.all().db)


def test_reads_go_to_the_replica_only_where_a_view_asks_for_it(routed: EmbeddedPostgres) -> None:
    caught_up(routed, written())
    assert alias_of() == "default"
    with from_replicas():
        assert alias_of() == "replica"
        assert Group.objects.filter(name="before").exists()


def test_own_writes_are_read_from_the_primary_until_the_replica_has_replayed_them(routed: EmbeddedPostgres) -> None:
    replay(routed, "pause")
    try:
        Group.objects.create(name="mine")
        mine = written()
        with from_replicas(wanted=mine):
            assert (alias_of(), Group.objects.filter(name="mine").count()) == ("default", 1)
        # Somebody else, who wrote nothing, may see the past: a report goes to the replica all the while.
        with from_replicas(wanted="0/0"):
            assert (alias_of(), Group.objects.filter(name="mine").count()) == ("replica", 0)
    finally:
        replay(routed, "resume")
    caught_up(routed, mine)
    with from_replicas(wanted=mine):
        assert (alias_of(), Group.objects.filter(name="mine").count()) == ("replica", 1)


def test_reading_without_the_position_shows_the_reader_less_than_they_wrote(routed: EmbeddedPostgres) -> None:
    """The naive router, which asks nobody."""
    replay(routed, "pause")
    try:
        Group.objects.create(name="naive")
        assert Group.objects.using("replica").filter(name="naive").count() == 0
    finally:
        replay(routed, "resume")


def test_a_browser_carries_its_position_from_the_write_to_the_read(routed: EmbeddedPostgres) -> None:
    def post(request: HttpRequest) -> HttpResponse:
        Group.objects.create(name="posted")
        return HttpResponse()

    @replica_reads
    def report(request: HttpRequest) -> HttpResponse:
        return HttpResponse(f"{alias_of()} {Group.objects.filter(name='posted').count()}")

    replay(routed, "pause")
    try:
        wrote = ReplicaMiddleware(post)(RequestFactory().post("/"))
        cookie = wrote.cookies[read_replicas.COOKIE].value
        mine = RequestFactory().get("/", headers={"Cookie": f"{read_replicas.COOKIE}={cookie}"})
        assert ReplicaMiddleware(report)(mine).content == b"default 1"
        assert ReplicaMiddleware(report)(RequestFactory().get("/")).content == b"replica 0"
        forged = RequestFactory().get("/", headers={"Cookie": f"{read_replicas.COOKIE}=nonsense'--"})
        assert ReplicaMiddleware(report)(forged).content == b"replica 0"
    finally:
        replay(routed, "resume")


def test_a_replica_too_far_behind_or_gone_is_passed_over(routed: EmbeddedPostgres, settings: Any) -> None:
    caught_up(routed, written())
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "READ_REPLICA_LAG_SECONDS": -1.0}
    with from_replicas():
        assert alias_of() == "default"
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "READ_REPLICA_LAG_SECONDS": 30.0}
    connections["replica"].close()
    connections["replica"].settings_dict["PORT"] = "1"
    with from_replicas():
        assert alias_of() == "default"


def test_after_a_write_the_block_reads_what_it_wrote(routed: EmbeddedPostgres) -> None:
    caught_up(routed, written())
    with from_replicas():
        assert alias_of() == "replica"
        Group.objects.create(name="inside")
        assert (alias_of(), Group.objects.filter(name="inside").count()) == ("default", 1)


def test_who_reads_the_standby_leaves_traces_there_and_none_on_the_primary(
    primary: EmbeddedPostgres, routed: EmbeddedPostgres
) -> None:
    """Why a decommission looks at each of READ_REPLICAS too."""
    with psycopg.connect(primary.dsn(), autocommit=True) as owner:
        owner.execute("CREATE TABLE IF NOT EXISTS strangle_ownership ()")
        at = owner.execute("SELECT pg_current_wal_lsn()::text").fetchone()
        assert at is not None
        caught_up(routed, at[0])
        with (
            psycopg.connect(routed.dsn(), autocommit=True) as there,
            psycopg.connect(routed.dsn(), application_name="weekly report") as reader,
        ):
            here, before = uses_of(owner, [TABLE]), uses_of(there, [TABLE])[TABLE][0]
            reader.execute(f"SELECT count(*) FROM {TABLE}")
            assert [str(each) for each in sessions_on(there, [TABLE])] == ["role 'postgres' (weekly report)"]
            assert sessions_on(owner, [TABLE]) == []
            reader.rollback()
            reader.execute("SELECT pg_stat_force_next_flush()")
            reader.rollback()
            assert uses_of(there, [TABLE])[TABLE][0] == before + 1
            assert uses_of(owner, [TABLE]) == here
