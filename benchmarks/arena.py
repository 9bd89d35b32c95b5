"""The arena: a PostgreSQL 18 of the benchmark's own, a seeded shop, an empty service, capture installed on both."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from migration_tools.testing.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from migration_tools.playbook.compiled import Compiled

SOURCE, TARGET, TWIN = "bench_order", "service_order", "pipe_order"

# As a server for this much data would be set, so that neither we nor the limits wait for checkpoints or vacuum.
OPTIONS = {
    "shared_buffers": "1GB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
    "jit": "off",
}

ROWS = """
    INSERT INTO bench_order (public_id, customer_id, first_name, last_name, status, total, discount, currency, note,
        client_reference, shipping_address, placed_at, paid_at, updated_at, weight, gift)
    SELECT gen_random_uuid(), 1 + n::bigint * 7919 %% 50000, 'Zoë' || n %% 997, 'Müller-' || n %% 9973,
        (ARRAY['placed', 'paid', 'shipped', 'delivered', 'returned'])[1 + n %% 5], n %% 100000 * 0.01,
        CASE n %% 3 WHEN 0 THEN NULL ELSE n %% 700 * 0.01 END, (ARRAY['EUR', 'CHF', 'GBP'])[1 + n %% 3],
        CASE n %% 4 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'leave it with the neighbour, order ' || n END, 'ref-' || n,
        jsonb_build_object('street', 'Straße ' || n %% 4999, 'city', 'Zürich', 'zip', 8000 + n %% 99, 'lines',
            jsonb_build_array(n %% 10, null, true)),
        '2024-01-01'::timestamptz + n * interval '13.000017 seconds',
        CASE n %% 2 WHEN 0 THEN '2024-01-02'::timestamptz + n * interval '13 seconds' END,
        '2024-01-03'::timestamptz + n * interval '13.1 seconds', n * 0.37 / 7, n %% 11 = 0
    FROM generate_series(1, %s) n"""


class Arena:
    """The server and one pair of databases of `rows` orders; its methods bring the tables to a known state."""

    def __init__(self, server: EmbeddedPostgres, rows: int, suffix: str = ""):
        self.server = server
        self.rows = rows
        self.shop, self.service = f"shop{suffix}", f"service{suffix}"
        self.query = ""

    @property
    def programs(self) -> Path:
        """The directory of psql and pg_dump of the server's own version."""
        return self.server._bin

    def environment(self) -> dict[str, str]:
        """What a child process needs to find this pair."""
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "STRANGLE_BENCH_PORT": str(self.server.port),
            "STRANGLE_BENCH_PASSWORD": self.server.password,
            "STRANGLE_BENCH_SHOP": self.shop,
            "STRANGLE_BENCH_SERVICE": self.service,
        }

    def address(self, database: str) -> str:
        """The superuser's URL of a database."""
        return f"postgresql://postgres:{self.server.password}@127.0.0.1:{self.server.port}/{database}"

    def connect(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        """A superuser's autocommit connection."""
        return psycopg.connect(self.server.dsn(database), autocommit=True)

    def make(self) -> None:
        """Create, migrate and seed both databases and install capture; call before Django has read its settings."""
        with self.connect("postgres") as conn:
            for name in (self.shop, self.service):
                conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        self._point_django_here()
        from django.core.management import call_command

        for alias in ("default", "service"):
            call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
        with self.connect(self.shop) as conn:
            conn.execute(ROWS, [self.rows])
            conn.execute(f"VACUUM (FREEZE, ANALYZE) {SOURCE}")
        relation = self.capture().source.relations[0]
        names = ", ".join(f"r.{name}" for name in relation.columns)
        self.columns = relation.columns
        self.query = f"SELECT {names} FROM ({relation.query}) r"
        with self.connect(self.service) as conn:
            conn.execute(f"CREATE TABLE {TWIN} (LIKE {TARGET} INCLUDING ALL)")

    def capture(self, source: str = "triggers") -> "Compiled":
        """Install capture and fence on both sides; the shop's writes are captured by triggers or from the log."""
        from django.conf import settings
        from django.test import override_settings

        from migration_tools.capture.installation import install
        from migration_tools.playbook.compiled import compile_playbook
        from migration_tools.playbook.registry import get
        from migration_tools.stores.postgres import connect

        with (
            override_settings(MIGRATION_TOOLS={**settings.MIGRATION_TOOLS, "SOURCES": {"bench": source}}),
            connect("default", "benchmark") as shop,
            connect("service", "benchmark") as service,
        ):
            compiled = compile_playbook(get("bench"), shop, service)
            install(shop, compiled.source, wait=time.sleep)
            install(service, compiled.target, wait=time.sleep)
        return compiled

    def empty(self) -> None:
        """Leave no row and no checkpoint in the service, no outbox and no stream on either side."""
        with self.connect(self.service) as conn, conn.transaction():
            conn.execute("SELECT set_config('strangle.applying', 'row', true)")
            conn.execute(f"TRUNCATE {TARGET}")
        self.forget()

    def forget(self) -> None:
        """Leave no checkpoint, outbox, stream or position on either side, with no tick to read on from."""
        for name in (self.shop, self.service):
            with self.connect(name) as conn:
                conn.execute(
                    "TRUNCATE strangle_outbox, strangle_stream, strangle_tick, strangle_inbox, "
                    "strangle_copied_range, strangle_consumer, strangle_transport"
                )

    def vacuum(self) -> None:
        """Leave no dead row and no old statistics."""
        with self.connect(self.shop) as conn:
            conn.execute(f"VACUUM (ANALYZE) {SOURCE}")
        with self.connect(self.service) as conn:
            conn.execute(f"VACUUM (ANALYZE) {TARGET}")

    def undo_writes(self) -> None:
        """Take out what live writers inserted into the shop."""
        with self.connect(self.shop) as conn:
            conn.execute(f"DELETE FROM {SOURCE} WHERE id > %s", [self.rows])
            conn.execute(f"SELECT setval(pg_get_serial_sequence('{SOURCE}', 'id'), %s)", [self.rows])
            conn.execute(f"VACUUM (ANALYZE) {SOURCE}")
        self.forget()

    def _point_django_here(self) -> None:
        os.environ.update(self.environment())
        import django
        from django.db import connections

        django.setup()
        for alias, name in (("default", self.shop), ("service", self.service)):
            connections[alias].close()
            connections[alias].settings_dict["NAME"] = name


@contextmanager
def open_server() -> Iterator[EmbeddedPostgres]:
    """The benchmark's PostgreSQL, gone after the block."""
    with EmbeddedPostgres(options=OPTIONS) as server:
        yield server
