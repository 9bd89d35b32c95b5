"""A service is cut off at every point that it passes, and the saga ends all the same, with each effect once."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connections
from django.db.utils import Error as DatabaseFailure

from migration_tools.conf import settings
from migration_tools.errors import StrangleError
from migration_tools.kernel import points
from tests.sagas import services
from tests.sagas.world import World


class Death(BaseException):
    """Ends the process's work where kill -9 would: the transaction is never committed."""


@contextmanager
def dying(world: World, service: str, point: str) -> Iterator[list[str]]:
    """Let that service die at the first passage of the point."""
    died: list[str] = []

    def die() -> None:
        if not died and service == settings().SIDE:
            died.append(point)
            connections[world.alias(service)].close()
            raise Death

    with points.on(point, die):
        yield died


def died_meanwhile(world: World, died: list[str]) -> bool:
    """Move the world; whether the service died of it, which whoever moves it sees as a lost connection, too."""
    before = len(died)
    try:
        world.settle()
    except (Death, DatabaseFailure, StrangleError):
        if len(died) == before:
            raise
        return True
    return False


PARTICIPANTS = ["claimed", "effect_written", "answer_written"]
ORCHESTRATOR = ["answer_read", "state_written", "command_written", "done_here", "answer_taken"]
BY_EVENTS = ["reacted", "reaction_published"]


@pytest.mark.parametrize("funds", [100, 0], ids=["paid", "refused"])
@pytest.mark.parametrize(
    ("kind", "service", "point"),
    [
        *(("orchestrated", service, point) for service in ("inventory", "payments") for point in PARTICIPANTS),
        *(("orchestrated", "orders", point) for point in ORCHESTRATOR),
        *(("choreographed", service, point) for service in ("orders", "inventory", "payments") for point in BY_EVENTS),
    ],
)
def test_a_service_cut_off_at_any_point_ends_the_saga_all_the_same(
    world: World, kind: str, service: str, point: str, funds: int
) -> None:
    sku, customer = world.stock(10), world.account("payments", funds)
    shop = world.balance("payments", "shop")
    order = world.buy(kind, sku=sku, customer=customer)
    with dying(world, service, f"sagas.{point}") as died:
        for _ in range(20):
            if not died_meanwhile(world, died):
                break
    assert died or (service, point, funds) == ("payments", "effect_written", 0), "what is refused has no effect"
    paid = funds == 100
    assert world.state(order) == ("confirmed" if paid else "cancelled")
    assert world.shelf(sku) == ((8, 2) if paid else (10, 0))
    assert (world.balance("payments", customer), world.balance("payments", "shop") - shop) == (
        (70, 30) if paid else (0, 0)
    )


@pytest.mark.parametrize("point", ["due_read", "state_written", "command_written", "woken", "wake_committed"])
def test_a_runner_cut_off_at_any_point_leaves_the_saga_to_the_next_one(world: World, point: str) -> None:
    a, b = world.account("payments", 1000), world.account("inventory", 0)
    saga = world.begin(services.SHOP_TRANSFER, {"from": a, "to": b, "amount": 100})
    world.expire(saga)
    with dying(world, "orders", f"sagas.{point}") as died, pytest.raises(Death):
        world.run_due()
    assert died
    world.settle()
    assert world.status(saga) == "completed"
    assert (world.balance("payments", a), world.balance("inventory", b)) == (900, 100)
