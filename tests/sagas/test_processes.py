"""The three services as processes over HTTP: killed with SIGKILL at named points and at random, and nothing is lost."""

import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from migration_tools.testing.brokers import EmbeddedRedis
from tests.conftest import ROOT
from tests.integration.transport_rig import made
from tests.races.scene import Background, until
from tests.sagas import services
from tests.sagas.processes import Processes, books, open_orders
from tests.sagas.tables import SERVICES
from tests.sagas.world import World

pytestmark = pytest.mark.thorough

SECONDS = 90.0


@pytest.fixture
def processes(world: World) -> Iterator[Processes]:
    """No process yet."""
    running = Processes(world)
    yield running
    running.close()


POINTS = [
    ("orders", "sagas.answer_read"),
    ("orders", "sagas.state_written"),
    ("orders", "sagas.command_written"),
    ("orders", "sagas.done_here"),
    ("orders", "inbox.after_commit"),
    ("inventory", "sagas.claimed"),
    ("inventory", "sagas.effect_written"),
    ("inventory", "inbox.before_commit"),
    ("payments", "sagas.answer_written"),
    ("payments", "inbox.after_commit"),
    ("payments", "tick.before_commit"),
]


def test_a_service_killed_at_each_of_its_points_ends_each_saga_all_the_same(world: World, processes: Processes) -> None:
    """One order for each point; the victim is started again when it is dead."""
    for service in SERVICES:
        processes.start(service)
    for service, point in POINTS:
        sku, customer = world.stock(10), world.account("payments", 100)
        victim = processes.start(service, STRANGLE_POINTS=f"{point}=kill")
        order = world.buy("orchestrated", sku=sku, customer=customer)
        assert victim.wait(SECONDS) == -signal.SIGKILL, point
        processes.start(service)
        until(lambda order=order: world.state(order) != "pending", f"{order} ends after {point}", SECONDS)  # type: ignore[misc]
        assert world.state(order) == "confirmed", (service, point)
        assert world.shelf(sku) == (8, 2), (service, point)
        assert world.balance("payments", customer) == 70, (service, point)


def test_under_random_kills_stock_and_money_are_conserved(world: World, processes: Processes) -> None:
    """Sixty orders of both kinds, some without stock, some without money, while services are killed all the time."""
    seed = 20260
    choose = random.Random(seed)
    for service in SERVICES:
        processes.start(service)
    sku = world.stock(60)
    before = books(world)
    customers = [world.account("payments", 90) for _ in range(15)]
    before = (*before[:2], before[2] + 15 * 90)
    storm = Background(lambda: processes.storm(seed, kills=12))
    orders = []
    for number in range(60):
        kind = "orchestrated" if number % 2 else "choreographed"
        orders.append(world.buy(kind, sku=sku, customer=choose.choice(customers)))
    until(lambda: not storm.running(), "the storm is over", SECONDS)
    storm.outcome()
    until(lambda: open_orders(world, orders) == 0, "every order has ended", SECONDS)
    until(lambda: world.one("orders", "SELECT count(*) FROM saga_state WHERE wake_at IS NOT NULL") == 0, "all sagas")
    confirmed = world.one(
        "orders", "SELECT count(*) FROM shop_order WHERE id = ANY (%s) AND state = 'confirmed'", orders
    )
    assert 0 < confirmed <= 30
    after = books(world)
    assert after[2] == before[2], "money"
    assert (after[0] + after[1], after[1] - before[1]) == (before[0] + before[1], 2 * confirmed), "stock"
    spent = sum(90 - world.balance("payments", customer) for customer in customers)
    assert spent == 30 * confirmed


def test_a_conductor_killed_as_it_begins_has_begun_nothing(world: World, processes: Processes) -> None:
    a, b = world.account("payments", 1000), world.account("inventory", 0)
    made_id = str(uuid.uuid4())
    words = ("-m", "tests.sagas.host", "begin", made_id, a, b)
    assert processes.run(*words, STRANGLE_POINTS="sagas.started=kill").returncode == -signal.SIGKILL
    found = world.one("orders", "SELECT count(*) FROM saga_state WHERE saga_id = %s", made_id)
    sent = world.one("orders", "SELECT count(*) FROM strangle_outbox WHERE aggregate_id = %s", made_id)
    assert (found, sent) == (0, 0)
    done = processes.run(*words)
    assert done.returncode == 0, done.stderr
    world.settle()
    assert world.status(made_id) == "completed"


@pytest.mark.parametrize(("point", "sent"), [("sagas.wish_noted", 1), ("sagas.wish_committed", 2)])
def test_an_operators_wish_cut_off_is_done_or_not_at_all(
    world: World, processes: Processes, point: str, sent: int
) -> None:
    a, b = world.account("payments", 1000), world.account("inventory", 0)
    saga = world.begin(services.SHOP_TRANSFER, {"from": a, "to": b, "amount": 100})
    wish = (
        "import django; django.setup(); import tests.sagas.services; "
        "from django.core.management import call_command; "
        f"call_command('strangle_sagas', 'retry', '{saga}', '--reason', 'a test')"
    )
    done = processes.run("-c", wish, STRANGLE_POINTS=f"{point}=kill")
    assert done.returncode == -signal.SIGKILL, done.stderr
    count = "SELECT count(*) FROM strangle_outbox WHERE aggregate_id = %s"
    assert world.one("orders", count, saga) == sent
    assert processes.run("-c", wish).returncode == 0
    assert world.one("orders", count, saga) == sent + 1
    world.settle()
    assert world.status(saga) == "completed"
    assert (world.balance("payments", a), world.balance("inventory", b)) == (900, 100)


def test_a_celery_worker_killed_in_a_wake_is_followed_by_another(world: World, processes: Processes) -> None:
    """The runner only says which saga is due; a worker dies before its commit, the task comes to the next one."""
    a, b = world.account("payments", 1000), world.account("inventory", 0)
    saga = world.begin(services.SHOP_TRANSFER, {"from": a, "to": b, "amount": 100})
    world.expire(saga)
    attempt = "SELECT attempt FROM saga_state WHERE saga_id = %s"
    with made(EmbeddedRedis) as broker:
        env = {"SAGA_BROKER_URL": broker.url}
        words = "import django; django.setup(); from django.core.management import call_command; "
        runner = subprocess.Popen(
            [sys.executable, "-c", words + "call_command('strangle_sagas', 'run', '--celery')"],
            cwd=ROOT,
            env=processes.environment("orders", **env),
        )
        doomed = worker(processes, STRANGLE_POINTS="sagas.woken=kill", **env)
        try:
            assert doomed.wait(SECONDS) == -signal.SIGKILL
            assert world.one("orders", attempt, saga) == 1
            follower = worker(processes, **env)
            try:
                until(lambda: world.one("orders", attempt, saga) == 2, "another worker wakes it", SECONDS)
            finally:
                follower.kill()
                follower.wait()
            runner.send_signal(signal.SIGTERM)
            assert runner.wait(SECONDS) == 0
        finally:
            for process in (runner, doomed):
                process.kill()
                process.wait()
    world.settle()
    assert world.status(saga) == "completed"


def worker(processes: Processes, **env: str) -> "subprocess.Popen[bytes]":
    """A real worker, one task at a time, that knows the definitions."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "-A", "tests.sagas.workers", "worker"),
            *("-n", f"{uuid.uuid4().hex[:8]}@%h", "-P", "solo", "-Q", "strangle_sagas", "-l", "WARNING"),
            *("--without-gossip", "--without-mingle"),
        ],
        cwd=ROOT,
        env=processes.environment("orders", **env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
