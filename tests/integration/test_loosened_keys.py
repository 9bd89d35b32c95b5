"""Foreign keys that strangle_loose_key loosens: written code, migrations under load both ways, deletions by events."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from migration_tools.generation.formatting import tidy
from tests import fresh_project
from tests.conftest import Cluster, recreate_plain
from tests.fresh_project import run

SETTINGS = '''"""Two databases: the monolith's, and the one in which the orders' owner publishes."""

import os

from migration_tools import SERVICE_APPS

SECRET_KEY = os.environ["FRESH_DB"]
INSTALLED_APPS = ["sales", "billing", *SERVICE_APPS]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
SERVER = {
    "ENGINE": "django.db.backends.postgresql",
    "HOST": "127.0.0.1",
    "PORT": os.environ["SHOP_DB_PORT"],
    "USER": "postgres",
    "PASSWORD": os.environ["SHOP_DB_PASSWORD"],
}
DATABASES = {
    "default": {**SERVER, "NAME": os.environ["FRESH_DB"]},
    "sales": {**SERVER, "NAME": os.environ["FRESH_DB"] + "_sales"},
}
MIGRATION_TOOLS = {"SIDE": "billing"}
'''
SALES = '''"""Orders, and the clerks of an older day, whose keys have 32 bits."""

from django.db import models


class Order(models.Model):
    """An order."""

    total = models.IntegerField()


class Clerk(models.Model):
    """Who took it."""

    id = models.AutoField(primary_key=True)
'''
BILLING = '''"""What hangs on orders."""

from django.db import models

from sales.models import Clerk, Order


class Payment(models.Model):
    """Goes with its order."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="paid")  # the order
    clerk = models.ForeignKey(Clerk, models.DO_NOTHING, null=True, help_text="who")


class Refund(models.Model):
    """Stays when its order goes."""

    order = models.ForeignKey("sales.Order", null=True, on_delete=models.SET_NULL)
    day = models.DateField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["order", "day"], name="billing_refund_once")
        ]


class Claim(models.Model):
    """Keeps its order."""

    order = models.OneToOneField("sales.Order", on_delete=models.PROTECT)


class Batch(models.Model):
    """Orders that are paid together."""

    orders = models.ManyToManyField("sales.Order", through="Batched")


class Batched(models.Model):
    """One of them."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE)
    order = models.ForeignKey("sales.Order", on_delete=models.CASCADE)
'''
DELIVER = '''"""Delete orders where they are owned, tell of it, and take what has come."""

import json
import sys

import django

django.setup()

from billing.models import Claim, Payment, Refund
from django.db import connection, transaction
from migration_tools.messaging.models import DeadLetter
from migration_tools.messaging.outbox import publish
from migration_tools.testing.outboxes import drain

for key in sys.argv[1:]:
    with transaction.atomic(using="sales"):
        publish("sales_order.deleted", aggregate_type="order", aggregate_id=key, payload={"id": int(key)},
                stream="sales", using="sales")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM sales_order WHERE id = %s", [int(key)])
drain("sales", sender="sales", receiver="default")
print(json.dumps({
    "payments": list(Payment.objects.order_by("pk").values_list("order_id", flat=True)),
    "refunds": list(Refund.objects.order_by("pk").values_list("order", flat=True)),
    "claims": list(Claim.objects.order_by("pk").values_list("order_id", flat=True)),
    "parked": [each.reason for each in DeadLetter.objects.all()],
}))
'''
ROWS = """
    INSERT INTO sales_order (total) SELECT n FROM generate_series(1, 5) n;
    INSERT INTO sales_clerk DEFAULT VALUES;
    INSERT INTO billing_payment (order_id, clerk_id) SELECT n, 1 FROM generate_series(1, 5) n;
    INSERT INTO billing_refund (order_id) SELECT n FROM generate_series(1, 5) n;
    INSERT INTO billing_claim (order_id) VALUES (2);
"""
REFERENCES = "SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f' AND conrelid = %s::regclass"
APPS = ("sales", "billing")
KEYS = ("Payment.order", "Payment.clerk", "Refund.order", "Claim.order")


class Project:
    """A fresh project with its database, and its manage.py."""

    def __init__(self, root: Path, cluster: Cluster, name: str):
        self.root, self.name, self.cluster = root, name, cluster
        self.env = {"DJANGO_SETTINGS_MODULE": "fresh_settings", "FRESH_DB": name}

    def manage(self, *args: str, fails: int | None = None) -> str:
        """What a command says; on the error stream if it is to fail."""
        done = run("django", *args, cwd=self.root, **self.env)
        assert done.returncode == (fails or 0), done.stdout + done.stderr
        return done.stdout if fails is None else done.stdout + done.stderr

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """As superuser."""
        return psycopg.connect(self.cluster.dsn(self.name), autocommit=True, **options)

    def references(self, table: str) -> list[Any]:
        """(name, validated) of a table's foreign keys."""
        with self.connect() as conn:
            return [row[1] for row in conn.execute(REFERENCES, [table]).fetchall()]

    def deliver(self, *keys: str) -> dict[str, list[Any]]:
        """Delete orders, and what is there when that has been told."""
        write(self.root, {"deliver.py": DELIVER})
        done = run("deliver", *keys, cwd=self.root, **self.env)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, list[Any]] = json.loads(done.stdout)
        return found


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def project(tmp_path: Path, cluster: Cluster) -> Iterator[Project]:
    """Two apps with foreign keys, migrated and filled."""
    fresh_project.begin(tmp_path, settings="fresh_settings")
    empty = {
        f"{app}/{name}__init__.py": f'"""{app}."""\n' for app in ("sales", "billing") for name in ("", "migrations/")
    }
    models = {"sales/models.py": SALES, "billing/models.py": BILLING}
    write(tmp_path, {**empty, **models, "fresh_settings.py": SETTINGS})
    name = f"fresh_{os.urandom(4).hex()}"
    for each in (name, f"{name}_sales"):
        recreate_plain(cluster, each)
    made = Project(tmp_path, cluster, name)
    made.manage("makemigrations", "-v0")
    assert tidy([tmp_path / app / "migrations" for app in APPS])
    made.manage("migrate", "-v0")
    with made.connect() as conn:
        conn.execute(ROWS)
    yield made
    with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
        for each in (name, f"{name}_sales"):
            conn.execute(f'DROP DATABASE "{each}" WITH (FORCE)')


def loosen_all(project: Project) -> None:
    for key in KEYS:
        more = ("--on-gone", "set_null") if key.endswith("clerk") else ()
        project.manage("strangle_loose_key", "new", f"billing.{key}", *more)


@contextmanager
def written_to(project: Project) -> Iterator[list[float]]:
    """Somebody pays again and again, in short transactions; how long each took."""
    waited, ended = list[float](), threading.Event()

    def pay() -> None:
        with project.connect() as conn:
            while not ended.is_set():
                began = time.monotonic()
                conn.execute("INSERT INTO billing_payment (order_id) VALUES (1)")
                waited.append(time.monotonic() - began)

    thread = threading.Thread(target=pay)
    thread.start()
    try:
        yield waited
    finally:
        ended.set()
        thread.join()


@pytest.mark.thorough
def test_what_is_written_passes_as_written_and_the_migrations_are_what_the_models_say(project: Project) -> None:
    shown = project.manage("strangle_loose_key", "new", "billing.Payment.order", "--dry-run")
    assert '+    order_id = LooseForeignKey("sales.Order", on_gone="cascade")  # the order' in shown
    assert "3 files would be written" in shown
    assert not (project.root / "billing" / "handlers.py").exists()
    assert "has no equal; choose with --on-gone" in project.manage(
        "strangle_loose_key", "new", "billing.Payment.clerk", fails=1
    )
    models = project.root / "billing" / "models.py"
    models.write_text(BILLING + "UNTIDY = {'a':1}\n")
    shown = project.manage("strangle_loose_key", "new", "billing.Payment.order", "--dry-run")
    assert "+    order_id" in shown
    assert "UNTIDY" not in shown, "a file that nobody formats is not formatted now"
    models.write_text(BILLING)
    loosen_all(project)
    project.manage("makemigrations", "--check", "--dry-run")
    project.manage("check")
    text = models.read_text()
    assert "from sales.models" not in text, "imports that nothing needs any more go"
    assert "bits=32" in text, "a column of 32 bits stays one"
    assert 'db_column="order_id"' in text, "a field that a constraint names keeps its name"
    assert (project.root / "billing" / "handlers.py").read_text().count("@handles") == 2, "one for each owner"
    fresh_project.lint(project.root)
    typed = run("mypy", "billing", cwd=project.root, **project.env)
    assert typed.returncode == 0, typed.stdout + typed.stderr
    for label, said in (
        ("billing.Payment.order_id", "is a loose key already"),
        ("billing.Payment.total", "no field is called"),
        ("sales.Order.total", "only a ForeignKey or OneToOneField"),
        ("billing.Batched.order", "carries the many-to-many field billing.Batch.orders"),
    ):
        assert said in project.manage("strangle_loose_key", "new", label, fails=1)


@pytest.mark.thorough
def test_the_generated_migration_gives_up_in_time_and_goes_both_ways_under_readers_and_writers(
    project: Project,
) -> None:
    project.manage("strangle_loose_key", "new", "billing.Payment.order")
    with project.connect() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM billing_payment")
        with written_to(project) as waited:
            assert "lock timeout" in project.manage("migrate", "billing", fails=1)
        assert max(waited) < 6, "who writes waits behind the migration as long as that waits, and no longer"
        assert project.references("billing_payment") == [True, True]
    with written_to(project) as waited:
        project.manage("migrate", "billing")
    assert waited
    assert project.references("billing_payment") == [True]
    project.manage("makemigrations", "--check", "--dry-run")
    with project.connect() as writer, writer.transaction():
        writer.execute("UPDATE billing_payment SET clerk_id = NULL WHERE id = 1")
        assert "lock timeout" in project.manage("migrate", "billing", "0001", fails=1)
        assert project.references("billing_payment") == [True]
    with project.connect() as conn:
        conn.execute("INSERT INTO billing_payment (order_id) VALUES (77)")
        assert "violates foreign key" in project.manage("migrate", "billing", "0001", fails=1)
        assert sorted(project.references("billing_payment")) == [False, True]
        conn.execute("DELETE FROM billing_payment WHERE order_id = 77")
        with conn.transaction():
            conn.execute("SELECT count(*) FROM billing_payment")
            with written_to(project) as waited:
                project.manage("migrate", "billing", "0001")
    assert project.references("billing_payment") == [True, True]


@pytest.mark.thorough
def test_deletions_come_by_the_inbox_and_rows_go_or_forget_or_hold_the_event(project: Project) -> None:
    loosen_all(project)
    project.manage("migrate", "-v0")
    project.manage("migrate", "-v0", "--database", "sales")
    found = project.deliver("1", "2", "3")
    assert found["payments"] == [2, 4, 5]
    assert found["refunds"] == [None, 2, None, 4, 5]
    assert found["claims"] == [2]
    [reason] = found["parked"]
    assert "1 rows of billing.Claim.order_id refer to sales.Order that are gone" in reason
    lost = project.manage("strangle_loose_key", "orphans", fails=3)
    assert "billing.Payment.order_id → sales.Order: 1 refer to nothing: 2" in lost
    assert "4 loose keys looked at, 3 of them have orphans" in lost
    with project.connect() as conn:
        conn.execute("DELETE FROM billing_claim")
    assert "1 events were handled" in project.manage(
        "strangle_dead_letters", "replay", "sales", "--reason", "the claim is settled"
    )
    found = project.deliver()
    assert (found["payments"], found["refunds"], found["parked"]) == ([4, 5], [None, None, None, 4, 5], [])
    told = json.loads(project.manage("strangle_loose_key", "orphans", "--format", "json"))
    assert [each["orphans"] for each in told["keys"]] == [[], [], [], []]
    assert told["exit_code"] == 0
