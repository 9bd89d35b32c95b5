"""The model that plans large migrations, held against runs that are small enough to measure."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.planning import Figures, Job, copy_seconds, fitted, plan
from migration_tools.capture.projector import RelationProjector
from migration_tools.messaging.relay import tick
from migration_tools.stores.postgres import connect
from migration_tools.testing.postgres import EmbeddedPostgres, fleeting_directory
from tests.conftest import ROOT, Cluster, Pair, migrate_templates
from tests.integration.test_verification import verify_stage
from tests.stage import Stage

#: Of a run on two virtual cores; docs/explanation/planning.md says where they come from.
MEASURED = ROOT / "benchmarks" / "planning.json"
TIME_FACTOR, BYTES_TOLERANCE = 2.0, 0.15
COPIES = 8


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL of its own, which cleans nothing up meanwhile: the bytes of a log are the whole server's."""
    options = {"synchronous_commit": "off", "wal_level": "logical", "autovacuum": "off"}
    with EmbeddedPostgres(fleeting_directory(), options=options) as made:
        yield Cluster(port=made.port, password=made.password)


@pytest.fixture(scope="module")
def templates(cluster: Cluster) -> tuple[str, str]:
    return migrate_templates(cluster)


@pytest.fixture
def page() -> str:
    return (ROOT / "docs" / "explanation" / "planning.md").read_text()


def test_the_page_says_what_the_model_says(page: str) -> None:
    figures = Figures(**json.loads(MEASURED.read_text()))
    job = Job(
        rows=10_000_000_000, services=50, writes_per_second=1000.0, workers=4, services_at_once=2, hours_a_day=8.0
    )
    found, alone = plan(job, figures), plan(replace(job, workers=1, services_at_once=1), figures)
    full = plan(replace(job, worker_gain=0.0), figures)
    for label, value in (
        ("copy, days", f"{found.copy_days:.1f}"),
        ("copy with one worker, one context at a time, days", f"{alone.copy_days:.1f}"),
        ("copy where four workers are no faster than one, days", f"{full.copy_days:.1f}"),
        ("what the model warns of", "; ".join(found.warnings)),
        ("verification, days", f"{found.verify_days:.1f}"),
        ("log of the services, TB", f"{found.target_wal_bytes / 1e12:.1f}"),
        ("log of the monolith, GB a day", f"{found.source_wal_bytes_per_day / 1e9:.0f}"),
        ("load of a consumer, if all writes were one stream", f"{found.load:.2f}"),
        ("sessions, monolith", str(found.monolith_sessions)),
        ("sessions, each service", str(found.service_sessions)),
    ):
        assert f"| {label} | {value} |" in page
    for label, value in (
        ("copy, fixed", f"{figures.copy_fixed_seconds:.2f} s"),
        ("copy", f"{1 / figures.copy_seconds_per_row:,.0f} rows/s"),
        ("verification", f"{1 / figures.verify_seconds_per_row:,.0f} rows/s"),
        ("log of a copied row", f"{figures.target_wal_bytes_per_row:.0f} bytes"),
        ("log of a captured write", f"{figures.source_wal_bytes_per_write:,.0f} bytes"),
        ("applied", f"{figures.applied_rows_per_second:,.0f} rows/s"),
    ):
        assert f"| {label} | {value} |" in page


def test_an_impossible_plan_says_so() -> None:
    figures = Figures(**json.loads(MEASURED.read_text()))
    job = Job(rows=1000, services=50, writes_per_second=1e9, relays=9)
    said = " ".join(plan(job, figures).warnings)
    assert "the lag grows without end" in said
    assert "sessions in the monolith's database" in said
    assert plan(replace(job, writes_per_second=1.0, services=1), figures).warnings == ()


def orders(pair: Pair, count: int) -> None:
    with pair.connect("shop") as conn:
        conn.execute(
            """INSERT INTO orders_order (public_id, user_id, status, total, discount, currency, note, client_reference,
                   shipping_address, placed_at, updated_at)
               SELECT gen_random_uuid(), 1 + (n %% 20), 'placed', n * 0.01, 0.10, 'EUR', 'note ' || n, 'more' || n,
                   '{"street": "1 Way", "city": "Town"}', now(), now() FROM generate_series(1, %s) n""",
            [count],
        )
        conn.execute("ANALYZE orders_order")


def wal(conn: Any) -> int:
    return int(conn.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()[0])


def copied(stage: Stage, more: int) -> tuple[int, float, int]:
    """Copy a shop of so many more orders into an empty service: rows, seconds, bytes of log, each the least of several.

    Whatever else the machine does adds to time and log, and takes from neither.
    """
    orders(stage.pair, more)
    stage.settle()
    counts, times, logs = zip(*(copied_once(stage) for _ in range(COPIES)), strict=True)
    assert len(set(counts)) == 1
    return counts[0], min(times), min(logs)


def copied_once(stage: Stage) -> tuple[int, float, int]:
    with stage.orders.transaction():
        stage.orders.execute("SET LOCAL session_replication_role = replica")
        stage.orders.execute("SELECT set_config('strangle.applying', 'patch', true)")
        stage.orders.execute("TRUNCATE strangle_copied_range, sales_order, sales_orderitem CASCADE")
    stage.shop.execute("CHECKPOINT")
    before, began = wal(stage.orders), time.perf_counter()
    rows = stage.backfill()
    return rows, time.perf_counter() - began, wal(stage.orders) - before


@pytest.mark.thorough
def test_two_small_copies_foretell_a_larger_one(stage: Stage) -> None:
    """Time within a factor of two, log within 15 %: two sizes are fitted, a third is foretold and then measured.

    The same for three times as many writes: bytes of the monolith's log each, and rows applied a second.
    """
    runs = [copied(stage, more) for more in (6_000, 12_000)]
    fixed, each = fitted((rows, seconds) for rows, seconds, _ in runs)
    _, bytes_each = fitted((rows, float(size)) for rows, _, size in runs)
    figures = Figures(
        copy_fixed_seconds=fixed, copy_seconds_per_row=each, verify_seconds_per_row=0.0,
        target_wal_bytes_per_row=bytes_each, source_wal_bytes_per_write=0.0, applied_rows_per_second=1.0,
    )  # fmt: skip
    rows, seconds, size = copied(stage, 50_000)
    foretold = copy_seconds(figures, rows)
    grown = size - runs[1][2]
    foretold_bytes = bytes_each * (rows - runs[1][0])
    # The first ones after a checkpoint write whole pages to the log, once.
    written(stage, 3_000)
    few, many = written(stage, 1_000), written(stage, 3_000)
    verified = min(verify_seconds(stage) for _ in range(3))
    measured = {
        "runs": runs,
        "third": rows,
        "writes": (few, many),
        "verify_seconds_per_row": verified / rows,
        "foretold_seconds": round(foretold, 3),
        "seconds": round(seconds, 3),
        "copy_fixed_seconds": fixed,
        "copy_seconds_per_row": each,
        "target_wal_bytes_per_row": bytes_each,
        "source_wal_bytes_per_write": few[0],
        "applied_rows_per_second": few[1],
    }
    print(json.dumps(measured))
    assert abs(grown - foretold_bytes) <= BYTES_TOLERANCE * grown, measured
    assert seconds / TIME_FACTOR <= foretold <= seconds * TIME_FACTOR, measured
    assert abs(many[0] - few[0]) <= BYTES_TOLERANCE * many[0], measured
    assert many[1] / TIME_FACTOR <= few[1] <= many[1] * TIME_FACTOR, measured


def written(stage: Stage, writes: int) -> tuple[float, float]:
    """Bytes of the monolith's log a captured write, and rows that the service applies a second, the most of several."""
    began = wal(stage.shop)
    for number in range(writes):
        stage.shop.execute("UPDATE orders_order SET note = %s WHERE id = %s", [f"{writes}/{number}", 1000 + number])
    per_write = (wal(stage.shop) - began) / writes
    rates = []
    for again in range(3):
        stage.shop.execute("UPDATE orders_order SET note = note || %s WHERE id BETWEEN 1000 AND %s",
                           [str(again), 999 + writes])  # fmt: skip
        with connect("default", "test") as conn:
            tick(conn, "orders", RelationProjector())
        before = time.perf_counter()
        stage.consume()
        rates.append(writes / (time.perf_counter() - before))
    return per_write, max(rates)


def verify_seconds(stage: Stage) -> float:
    """How long it takes to find both sides equal."""
    began = time.perf_counter()
    assert verify_stage(stage).equal
    return time.perf_counter() - began
