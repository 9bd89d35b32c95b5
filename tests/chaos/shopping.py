"""Customers of the shop of services, what befalls it meanwhile, and what must be true once it is at rest."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import httpx2
import pytest

from migration_tools.testing.brokers import EmbeddedBroker, EmbeddedRabbit, EmbeddedRedis
from migration_tools.testing.postgres import EmbeddedPostgres
from tests.services.shop import NAMES, Shop, opened

TRANSPORTS: dict[str, type[EmbeddedBroker] | None] = {
    "feed": None,
    "rabbitmq": EmbeddedRabbit,
    "redis": EmbeddedRedis,
}
BLOWS = ("killed", "deaf", "cut", "its database is slow", "its database is away", "all databases crash")
BROKER_BLOWS = ("the broker is killed", "the broker is deaf", "the broker is slow")
PATIENCE_SECONDS = 2.0


@contextmanager
def shop_over(transport: str) -> Iterator[Shop]:
    """The three services on a database server of their own, and a broker of their own: all of it will crash."""
    kind = TRANSPORTS[transport]
    with ExitStack() as stack:
        own = stack.enter_context(EmbeddedPostgres())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("STRANGLE_TEST_PG_PORT", str(own.port))
        patch.setenv("STRANGLE_TEST_PG_PASSWORD", own.password)
        broker = stack.enter_context(kind()) if kind else None
        yield stack.enter_context(opened(own, broker=broker))


def blows_of(shop: Shop) -> tuple[str, ...]:
    """What may befall this shop."""
    return (*BLOWS, *BROKER_BLOWS) if shop.broker else BLOWS


@dataclass(kw_only=True)
class Town:
    """The shop's goods and people: how many of each product there were, and what a customer may pay at most."""

    on_hand: dict[int, int]
    customers: list[int]
    limits: dict[int, int]

    @classmethod
    def of(cls, shop: Shop, *, products: int, on_hand: int, customers: int, limit: int) -> "Town":
        """Put so many on the shelves and let so many customers be known; every second may pay `limit` at most."""
        shelves = {shop.product(on_hand): on_hand for _ in range(products)}
        free = [shop.customer() for _ in range(customers // 2)]
        bound = [shop.customer(limit=f"{limit}.00") for _ in range(customers - len(free))]
        return cls(on_hand=shelves, customers=free + bound, limits=dict.fromkeys(bound, limit))


@dataclass
class Shopper(threading.Thread):
    """Buys as one customer after another while `more` says so; remembers what was acknowledged."""

    shop: Shop
    town: Town
    seed: int
    more: Callable[[], bool]
    pause: tuple[float, float] = (0.05, 0.3)
    acknowledged: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    unknown: int = 0

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.dice = random.Random(self.seed)
        self.products = sorted(self.town.on_hand)

    # A thread is itself, whatever it holds.
    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        """Buy until it is over; who gets no answer within two seconds gives up."""
        between = threading.Event()
        while self.more():
            customer = self.dice.choice(self.town.customers)
            product, quantity = self.dice.choice(self.products), self.dice.randint(1, 3)
            bought = self.shop.buy(customer, product, quantity, seconds=PATIENCE_SECONDS)
            if bought is None:
                self.unknown += 1
            else:
                self.acknowledged.append(bought)
                if self.dice.random() < 0.1 and self._withdraw(customer, bought):
                    self.withdrawn.append(bought)
            between.wait(self.dice.uniform(*self.pause))

    def _withdraw(self, customer: int, bought: str) -> bool:
        """Change one's mind; whether that was certainly heard in time."""
        try:
            with self.shop.browser("orders", customer, seconds=PATIENCE_SECONDS) as browser:
                return browser.post(f"/api/orders/checkouts/{bought}/withdraw/").status_code == 200
        except httpx2.HTTPError:
            return False


def strike(shop: Shop, blow: str, dice: random.Random, pause: threading.Event) -> None:
    """One misfortune of one service, of the broker or of all: it ends after a while."""
    name = dice.choice(NAMES)
    match blow:
        case "killed":
            shop.kill(name)
            pause.wait(dice.uniform(0.0, 0.5))
            shop.begin(shop.kind)
        case "deaf" | "its database is slow":
            wire = (shop.wires if blow == "deaf" else shop.database_wires)[name]
            wire.deafen()
            pause.wait(dice.uniform(0.5, 2.0))
            wire.hear()
        case "cut":
            shop.wires[name].cut()
        case "its database is away":
            with shop.database_away(name):
                pause.wait(dice.uniform(0.2, 1.0))
        case "all databases crash":
            shop.crash_databases()
        case _:
            _strike_the_broker(shop, blow, dice, pause)
    pause.wait(dice.uniform(0.1, 0.5))


def _strike_the_broker(shop: Shop, blow: str, dice: random.Random, pause: threading.Event) -> None:
    assert shop.broker is not None
    assert shop.broker_wire is not None
    match blow:
        case "the broker is killed":
            shop.broker.kill()
            pause.wait(dice.uniform(0.2, 1.0))
            shop.broker.start()
        case "the broker is deaf":
            shop.broker_wire.deafen()
            pause.wait(dice.uniform(0.5, 3.0))
            shop.broker_wire.hear()
        case "the broker is slow":
            shop.broker_wire.slow(dice.uniform(0.1, 0.4))
            pause.wait(dice.uniform(1.0, 3.0))
            shop.broker_wire.hurry()


def heal(shop: Shop) -> None:
    """End what is still the matter with any wire."""
    for wire in (*shop.wires.values(), *shop.database_wires.values(), shop.broker_wire):
        if wire is not None:
            wire.hear()
            wire.hurry()


def violations(shop: Shop, town: Town, shoppers: list[Shopper]) -> list[str]:
    """What a shop at rest did not keep of its promises to these shoppers; see also `Shop.faults`."""
    found = shop.faults()
    acknowledged = Counter(bought for shopper in shoppers for bought in shopper.acknowledged)
    found += [
        f"checkout {bought} was acknowledged {times} times" for bought, times in acknowledged.items() if times > 1
    ]
    rows = shop.conns["orders"].execute("SELECT public_id::text, state, customer_id FROM sales_checkout").fetchall()
    states = {public_id: state for public_id, state, _ in rows}
    orders = Counter(row[0] for row in shop.conns["orders"].execute("SELECT public_id::text FROM sales_order"))
    for bought in acknowledged:
        wanted = {"confirmed": 1, "cancelled": 0}.get(states.get(bought, "absent"))
        if orders[bought] != wanted:
            found.append(f"checkout {bought} is {states.get(bought, 'absent')} and has {orders[bought]} orders")
    kept = [bought for shopper in shoppers for bought in shopper.withdrawn if states.get(bought) != "cancelled"]
    found += [f"checkout {bought} was withdrawn and is {states.get(bought)}" for bought in kept]
    known = set(town.customers)
    opened_ = [public_id for public_id, _, customer in rows if customer in known]
    # Who got no answer may have bought, once.
    most = len(acknowledged) + sum(shopper.unknown for shopper in shoppers)
    if not len(acknowledged) <= len(opened_) <= most:
        found.append(f"{len(opened_)} checkouts, {len(acknowledged)} acknowledged, {most} asked for")
    return found + _of_goods(shop, town) + _of_limits(shop, town)


def _of_goods(shop: Shop, town: Town) -> list[str]:
    query = "SELECT product_id, sum(qty)::bigint FROM sales_orderitem GROUP BY 1"
    sold = dict(shop.conns["orders"].execute(query).fetchall())
    wanted = {product: (on_hand - sold.get(product, 0), 0) for product, on_hand in town.on_hand.items()}
    shelves = {product: shop.shelf(product) for product in town.on_hand}
    return [f"shelf of {each}: {shelves[each]}, not {wanted[each]}" for each in wanted if shelves[each] != wanted[each]]


def _of_limits(shop: Shop, town: Town) -> list[str]:
    query = "SELECT payer_id, sum(amount_cents)::bigint FROM billing_payment WHERE status = 'captured' GROUP BY 1"
    paid = dict(shop.conns["payments"].execute(query).fetchall())
    return [
        f"customer {customer} paid {paid[customer]} cents, the limit is {limit}.00"
        for customer, limit in town.limits.items()
        if paid.get(customer, 0) > limit * 100
    ]
