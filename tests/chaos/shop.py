"""Checkouts through the real services and databases, struck all the time: `make chaos-shop ARGS="--checkouts 400"`.

A seed repeats who buys what and the order of the blows, not the very interleaving. The exit status is 1 when lines,
stock or money were not conserved, or a purchase that was acknowledged is not there exactly once.
"""

import argparse
import os
import random
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack

from tests.chaos.shopping import TRANSPORTS, Shopper, Town, blows_of, heal, shop_over, strike, violations
from tests.services.shop import Shop

KINDS = ("orchestrated", "choreographed")
SAY_SECONDS = 10.0
PRODUCTS = 20
# An eighth more is asked for than there is; a customer asks for about 300.00 and every second may pay 250.00.
BOUGHT_AT_ONCE, SHORT, CHECKOUTS_A_CUSTOMER, LIMIT = 2, 8 / 9, 10, 250
BETWEEN_BLOWS_SECONDS = (0.5, 1.5)
REST_SECONDS = 600.0
ENDED = "SELECT state, count(*) FROM sales_checkout GROUP BY state ORDER BY state"


class Till:
    """How many checkouts were acknowledged, and how many are wanted."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.shoppers: list[Shopper] = []

    def rung(self) -> int:
        """So many are acknowledged."""
        return sum(len(shopper.acknowledged) for shopper in self.shoppers)

    def open(self) -> bool:
        """Whether more are wanted."""
        return self.rung() < self.wanted


def main(arguments: list[str] | None = None) -> int:
    """Play; 0 when all was conserved, 1 when anything was not."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.shop", description=__doc__)
    parser.add_argument("--checkouts", type=int, default=1000, help="how many are to be acknowledged, at least")
    parser.add_argument("--seed", type=int, default=None, help="of shoppers and blows (default: the time)")
    parser.add_argument("--transport", choices=TRANSPORTS, default="feed", help="how the services hear each other")
    parser.add_argument("--kind", choices=KINDS, default=None, help="how a checkout is carried (default: half each)")
    parser.add_argument("--shoppers", type=int, default=16, help="who buy at once")
    options = parser.parse_args(arguments)
    if options.checkouts < 1 or options.shoppers < 1:
        parser.error("--checkouts and --shoppers must be at least 1")
    seed = options.seed if options.seed is not None else int(time.time())
    kinds = (options.kind,) if options.kind else KINDS
    print(f"seed {seed}: {options.checkouts} checkouts, {' then '.join(kinds)}, over {options.transport}", flush=True)
    with shop_over(options.transport) as shop:
        shop.begin(kinds[0])
        town = Town.of(
            shop,
            products=PRODUCTS,
            on_hand=max(1, int(options.checkouts * BOUGHT_AT_ONCE * SHORT / PRODUCTS)),
            customers=max(2, options.checkouts // CHECKOUTS_A_CUSTOMER),
            limit=LIMIT,
        )
        shoppers: list[Shopper] = []
        blows: Counter[str] = Counter()
        dice = random.Random(seed)
        for number, kind in enumerate(kinds):
            share = options.checkouts // len(kinds) + (options.checkouts % len(kinds) if number == 0 else 0)
            shop.begin(kind)
            shoppers += _play(shop, town, Till(share), dice, options.shoppers, blows)
        return _audit(shop, town, shoppers, blows)


def _play(shop: Shop, town: Town, till: Till, dice: random.Random, many: int, blows: Counter[str]) -> list[Shopper]:
    """Let so many buy until the till is full, and strike without an end."""
    till.shoppers = [Shopper(shop, town, dice.getrandbits(32), till.open, pause=(0.0, 0.05)) for _ in range(many)]
    began = said = time.monotonic()
    pause = threading.Event()
    for shopper in till.shoppers:
        shopper.start()
    with ExitStack() as calm:
        calm.callback(heal, shop)
        while till.open() and any(shopper.is_alive() for shopper in till.shoppers):
            blow = dice.choice(blows_of(shop))
            strike(shop, blow, dice, pause)
            blows[blow] += 1
            pause.wait(dice.uniform(*BETWEEN_BLOWS_SECONDS))
            if time.monotonic() > said + SAY_SECONDS:
                said = time.monotonic()
                pace = till.rung() / (said - began)
                print(f"{shop.kind}: {till.rung()} of {till.wanted}, {pace:.1f} a second", flush=True)
    for shopper in till.shoppers:
        shopper.join(60)
    if till.open() or any(shopper.is_alive() for shopper in till.shoppers):
        raise RuntimeError(f"shoppers ended at {till.rung()} of {till.wanted} checkouts; what stopped them is above")
    return till.shoppers


def _audit(shop: Shop, town: Town, shoppers: list[Shopper], blows: Counter[str]) -> int:
    shop.begin(shop.kind)
    began = time.monotonic()
    print("nothing is struck any more; waiting until everything has ended", flush=True)
    found: list[str] = []
    try:
        shop.rest(REST_SECONDS)
    except AssertionError as error:
        found.append(str(error)[:2000])
    found += [each for each in violations(shop, town, shoppers) if each not in found]
    print(f"at rest after {time.monotonic() - began:.1f} s")
    unknown = sum(shopper.unknown for shopper in shoppers)
    print(f"acknowledged {sum(len(each.acknowledged) for each in shoppers)}, without an answer {unknown}")
    print(f"withdrawn in time {sum(len(each.withdrawn) for each in shoppers)}")
    print("ended " + ", ".join(f"{state} {many}" for state, many in shop.conns["orders"].execute(ENDED.encode())))
    print(f"struck {blows.total()} times: " + ", ".join(f"{what} {many}" for what, many in sorted(blows.items())))
    print(f"violations: {len(found) or 'none'}")
    for each in found[:50]:
        print(f"  {each[:500]}")
    return 1 if found else 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
