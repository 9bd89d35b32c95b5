"""The analysis and capture on django-oscar, which nobody here wrote: settings and a map of contexts are all it took."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.architecture.tree import ROOT, project_files
from tests.conftest import Cluster


def run(cluster: Cluster, *args: str, database: str = "postgres") -> str:
    """Python with oscar's settings, on the run's PostgreSQL."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.oscar.settings", "OSCAR_DB_NAME": database}
    env |= {"OSCAR_DB_PORT": str(cluster.port), "OSCAR_DB_PASSWORD": cluster.password}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=env,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@contextmanager
def a_database(cluster: Cluster) -> Iterator[str]:
    """An empty database for the block; its name."""
    database = f"oscar_{os.urandom(4).hex()}"
    with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {database}")
        try:
            yield database
        finally:
            conn.execute(f"DROP DATABASE {database} WITH (FORCE)")


def analysed(cluster: Cluster, *args: str, database: str = "postgres") -> dict[str, Any]:
    return dict(json.loads(run(cluster, "django", "strangle_analyze", "--format", "json", *args, database=database)))


def test_models_and_code_of_oscar_are_coupled_as_known(cluster: Cluster) -> None:
    report = analysed(cluster, "--no-database")
    tables = [each for each in report["tables"] if each["model"]]
    assert 90 <= len(tables) <= 115
    platform = {each["name"] for each in report["contexts"] if each["framework"]}
    crossing = [
        each
        for each in report["findings"]
        if each["rule"] in ("SFA101", "SFA103") and not platform & {each["source"], each["target"]}
    ]
    cascading = [each for each in crossing if each["detail"]["on_delete"] == "CASCADE"]
    assert 30 <= len(crossing) <= 90
    assert len(cascading) > len(crossing) / 2
    assert all(each["place"]["file"].startswith("oscar/apps/") and each["place"]["line"] > 1 for each in crossing)
    assert report["counts"]["SFA104"] > 5
    assert report["verdict"]["answer"] == "prepare"


def test_the_toolkit_has_no_line_for_oscar() -> None:
    told = [path for path in project_files(".py", below=ROOT / "migration_tools") if "oscar" in path.read_text()]
    assert told == []
    own = [path.name for path in sorted((ROOT / "tests" / "oscar").iterdir()) if path.suffix in (".py", ".toml")]
    assert own == [
        "__init__.py", "capture.py", "contexts.toml", "drive.py", "settings.py", "shop.py", "suite.py",
        "suite_plugin.py", "test_demo.py", "test_oscar.py", "thumbnails.py", "transactions.py", "urls.py",
    ]  # fmt: skip


@pytest.mark.thorough
def test_customers_check_out_the_same_with_capture_on_every_table(cluster: Cluster, tmp_path: Path) -> None:
    with a_database(cluster) as database:
        told = json.loads(run(cluster, "tests.oscar.drive", str(tmp_path), database=database).splitlines()[-1])
        report = analysed(cluster, "--trace", str(tmp_path), database=database)
    assert len(told["orders"]["captured"]) == len(told["orders"]["plain"]) == 2
    assert told["tables"] >= 90
    assert set(told["in_outbox"]) == set(told["written"])
    assert {"order_order", "order_line", "basket_basket", "partner_stockrecord", "auth_user"} <= set(told["written"])
    there, captured = told["rows_of_orders"]
    assert len(there) == 4
    assert captured == there[2:]
    entries = {each["detail"]["entry"] for each in report["findings"] if each["rule"] == "SFA202"}
    assert any(entry.startswith("oscar.apps.checkout") for entry in entries), entries
    assert report["counts"]["SFA201"] > 3
    order = next(each for each in report["contexts"] if each["name"] == "order")
    assert order["rows"] > 0
    assert order["written"] > 0


@pytest.mark.thorough
def test_of_the_twelve_transactions_of_oscar_each_over_contexts_gets_a_saga_without_mistakes(
    cluster: Cluster, tmp_path: Path
) -> None:
    with a_database(cluster) as database:
        said = run(cluster, "tests.oscar.transactions", str(tmp_path), database=database)
    told = json.loads(said.splitlines()[-1])
    assert len(told["declared"]) == 12
    assert sorted(told["declared"]) == sorted(told["wrote"]), "each that oscar declares was done"
    crossing = {name: contexts for name, contexts in told["wrote"].items() if len(contexts) > 1}
    assert crossing == {
        "oscar.apps.order.abstract_models.AbstractLine.consume_allocation": ["order", "partner"],
        "oscar.apps.order.abstract_models.AbstractLine.cancel_allocation": ["order", "partner"],
        "oscar.apps.order.utils.OrderCreator.place_order": ["order", "partner"],
        "oscar.apps.partner.importers.CatalogueImporter._import": ["catalogue", "partner"],
    }
    # A site is the innermost function that all writes of a transaction have in common: with one row, the row's.
    importer = "oscar.apps.partner.importers.CatalogueImporter._import"
    assert told["sites"] == {f"{name}_row" if name == importer else name: each for name, each in crossing.items()}
    assert told["mistakes"] == []
    assert sorted(told["drafts"].values()) == [
        ["begin", "catalogue", "confirm"],
        *[["begin", "partner", "confirm"]] * 3,
    ]
