"""A shop that is being migrated: monolith under gunicorn, the operator's process, relays and consumers."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import transaction

from migration_tools.messaging.context import Causality, caused_by
from migration_tools.messaging.models import DeadLetter
from migration_tools.messaging.outbox import publish
from migration_tools.routing.counts import Counts, Observed
from migration_tools.routing.models import ProxyInstance
from migration_tools.routing.publishing import current_version
from migration_tools.routing.shadow.models import ShadowDifference, ShadowRoute
from migration_tools.routing.traffic import report_traffic
from migration_tools.state.models import Observation
from tests.conftest import ROOT, SMALL_SHOP, Pair
from tests.integration.site_rig import MONOLITH, Gunicorn
from tests.stage import Stage

IMPATIENT = {"ORDERS_SOAK_SECONDS": "0", "ORDERS_QUIET_SECONDS": "0.2"}
ANNEX = "annex"
PASSWORD = "correct horse battery staple"
MOVER, WATCHER, CUSTOMER = "ada@example.com", "grace@example.com", "u1@example.com"
SECONDS = 90.0


@dataclass
class Scene:
    """What the tests look at."""

    pair: Pair
    annex: str
    stage: Stage
    monolith: Gunicorn
    operator: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.monolith.port}"

    def command(self, name: str, *args: str) -> dict[str, Any]:
        """Run a command as an operator at a terminal does."""
        out = StringIO()
        call_command(name, "orders", *args, "--format", "json", stdout=out)
        return dict(json.loads(out.getvalue()))

    def observed(self, what: str, met: Callable[[dict[str, Any]], Any], *, of: str = "orders") -> dict[str, Any]:
        """The first observation that meets a condition."""
        deadline = time.monotonic() + SECONDS
        while True:
            row = Observation.objects.filter(context=of).first()
            if row is not None and met(row.document):
                return dict(row.document)
            assert self.operator.poll() is None, "the operator's process ended"
            assert time.monotonic() < deadline, f"never observed: {what}; last {row.document if row else None}"
            time.sleep(0.05)


@contextmanager
def scene(pair: Pair, annex: str, log: Path) -> Iterator[Scene]:
    """The shop before its first phase, with everything running that a migration needs.

    Beside the context's service there is one that no playbook names: the same code on a database of its own, `annex`.
    """
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    with ExitStack() as stack:
        stage = Stage.__new__(Stage)
        stage.pair, stage.shop, stage.orders = pair, pair.connect("shop"), pair.connect("orders")
        stack.callback(stage.close)
        stack.enter_context(stage.running())
        stack.enter_context(stage.running(reverse=True))
        make_people()
        environment = {**pair.environment(user="shop_app"), **IMPATIENT}
        del environment["ORDERS_DB_NAME"]  # a web process cannot even name the service's database
        monolith = Gunicorn(MONOLITH, {"DJANGO_SETTINGS_MODULE": "legacy_monolith.settings"}, log)
        monolith._environment |= environment | {"STRANGLE_BYSTANDERS": ANNEX}
        stack.callback(monolith.stop)
        monolith.start()
        operator = subprocess.Popen(
            [sys.executable, "manage.py", "strangle_operate", "--every", "0.5"],
            cwd=ROOT,
            env={
                **pair.environment(operator=True),
                **IMPATIENT,
                "STRANGLE_BYSTANDERS": ANNEX,
                "ANNEX_DB_NAME": annex,
                "ANNEX_DB_PORT": str(pair.cluster.port),
                "ANNEX_DB_USER": "strangler",
                "ANNEX_DB_PASSWORD": pair.cluster.password,
                "DJANGO_SETTINGS_MODULE": "tests.console.settings",
                "PYTHONPATH": str(ROOT),
            },
            stdout=subprocess.DEVNULL,
            stderr=stack.enter_context(log.open("ab")),
        )
        stack.callback(operator.wait, 30)
        stack.callback(operator.terminate)
        yield Scene(pair=pair, annex=annex, stage=stage, monolith=monolith, operator=operator)


def make_staff() -> None:
    """One who may move, one who may look."""
    from django.contrib.auth.models import Permission

    users: Any = get_user_model().objects
    mover = users.create_user(MOVER, PASSWORD, is_staff=True, first_name="Ada")
    mover.user_permissions.add(Permission.objects.get(codename="move_context"))
    users.create_user(WATCHER, PASSWORD, is_staff=True, first_name="Grace")


def make_people() -> None:
    """Those, and a customer who may do neither."""
    make_staff()
    customer: Any = get_user_model().objects.get(email=CUSTOMER)
    customer.set_password(PASSWORD)
    customer.save()


def plant(scene: Scene) -> None:
    """A chain of events, differences in the service, a parked event, traffic, a proxy, shadow reads that differed."""
    with caused_by(Causality(correlation_id="chain-of-the-test")), transaction.atomic():
        order = {"order_id": 1, "public_id": "01890a5d-ac96-774b-bcce-b302099a8057"}
        for event, more in (("order.paid", {"amount": "1.00"}), ("order.shipped", {})):
            publish(event, aggregate_type="order", aggregate_id=1, payload=order | more, stream="orders")
    scene.stage.settle()
    orders = scene.stage.orders
    orders.execute("SET session_replication_role = replica")
    with orders.transaction():
        orders.execute("SELECT set_config('strangle.applying', 'patch', true)")
        orders.execute("DELETE FROM sales_orderitem WHERE id IN (SELECT id FROM sales_orderitem ORDER BY id LIMIT 3)")
        orders.execute(
            "UPDATE sales_order SET remark = 'planted', total_cents = total_cents + 1 WHERE id BETWEEN 5 AND 9"
        )
        orders.execute("UPDATE sales_order SET customer_name = 'Someone else' WHERE id = 11")
    orders.execute("RESET session_replication_role")
    for side, slow in (("old", 25.0), ("new", 10.0)):
        counts = Counts(requests=400, errors=3 if side == "old" else 1, latencies={5.0: 250, slow: 140, 100.0: 10})
        report_traffic("edge-1", [Observed(context="orders", side=side, counts=counts)])  # type: ignore[arg-type]
    ProxyInstance.objects.create(proxy="edge-1", listen="127.0.0.1:8000", applied_version=current_version())
    pattern = "/api/orders/{id}"
    ShadowRoute.objects.create(context="orders", pattern=pattern, compared=1200, different=7, late=2)
    ShadowDifference.objects.create(context="orders", pattern=pattern, path="/total", kind="changed", count=7)
    DeadLetter.objects.create(
        stream="orders",
        position=3,
        aggregate_type="order",
        aggregate_id="11",
        envelope={"eventType": "order.shipped", "eventVersion": 1, "payload": {"email": "zoe@example.com", "lines": 2}},
        reason="no handler takes version 1 of 'order.shipped'; deploy one, then replay its key",
        attempts=3,
    )


def stick_sagas(scene: Scene) -> tuple[str, str]:
    """Two sagas that wait for an answer which nobody gives: one before its pivot, and one that asks for it."""
    made = []
    with scene.pair.connect("shop") as conn:
        for step, done in ((0, "[]"), (1, '["reserve"]')):
            row = conn.execute(
                """INSERT INTO saga_state (saga_id, saga_type, version, context, aggregate_type, aggregate_id,
                       current_step, max_steps, status, attempt, payload, steps_completed, steps_compensated, alarm,
                       alarm_at)
                   VALUES (gen_random_uuid(), 'handling', 1, 'orders', 'order', '7', %s, 2, 'running', 3,
                       '{"email": "zoe@example.com"}', %s, '[]', 'step was tried 3 times (do): it did not answer',
                       now()) RETURNING saga_id::text""",
                [step, done],
            ).fetchone()
            made.append(str(row[0]) if row else "")
    return made[0], made[1]


def awaited(what: str, met: Callable[[], Any]) -> Any:
    """Wait for a condition."""
    deadline = time.monotonic() + SECONDS
    while not (found := met()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found
