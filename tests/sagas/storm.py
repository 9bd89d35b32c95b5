"""Thousands of checkouts of the example shop at random over real databases: `make chaos-sagas RUNS=10000 SEED=1`.

The three services with their own sagas, tables, outboxes and inboxes; half of the checkouts have a conductor, half go
by events. Everything that carries them is real except the network: a process a service is moved turn by turn, and
meanwhile killed at any named point, its sessions ended, its steps failed, messages repeated, lost, early and out of
order; customers withdraw, operators interfere, clocks run out. Then it is calm, everything ends, and the books are
held against each other.

A turn of the three goes on at once, each hearing the others as they were before it: so a seed draws the same again.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from tests.sagas import storm_audit as audit
from tests.services import rig
from tests.services.shop import NAMES, PRICE, PRODUCT, STOCK, Shop

CARTS_A_TURN = 20
RESTLESS_AFTER, LONGEST_CALM = 6, 30
# So many turns long a service may hear nothing, and how often.
DEAF_TURNS, DEAF = 4, 0.2
KINDS = ("orchestrated", "choreographed")
# Some writes of these fail, with the share that the session says.
TROUBLE = """CREATE FUNCTION storm() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF random() < coalesce(nullif(current_setting('storm.fails', true), ''), '0')::float THEN
        RAISE EXCEPTION 'the storm';
    END IF;
    RETURN NEW; END $$"""
TROUBLED = {
    "orders": ("UPDATE ON sales_checkout", "INSERT ON sales_order"),
    "inventory": ("INSERT OR UPDATE ON depot_reservation", "INSERT ON depot_movement"),
    "payments": ("INSERT OR UPDATE ON billing_payment",),
}


@dataclass(kw_only=True)
class Report:
    """What a storm did and what was found afterwards."""

    seed: int
    ends: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, str] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)
    turns: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = Counter(what.partition(" at ")[0] for what in self.struck.elements())
        ended = ", ".join(f"{count} {how}" for how, count in sorted(self.ends.items()))
        hit = ", ".join(f"{count} times {what}" for what, count in sorted(kinds.items()))
        return (
            f"seed {self.seed}: {self.ends.total()} checkouts ({len(self.acknowledged)} acknowledged, "
            f"{len(self.withdrawn)} withdrawn) in "
            f"{self.turns} turns and {self.seconds:.0f} s: {ended}; {hit} at {len(self.struck)} places; "
            f"{len(self.violations)} violations"
        )


class Worker:
    """A service's process; it is told of a turn, and heard until the turn is over or its life is."""

    def __init__(self, shop: Shop, name: str, seed: int) -> None:
        dsns = {each: shop.cluster.dsn(base) for each, base in shop.databases.items()}
        said = None if os.environ.get("SHOP_LOGS") else subprocess.DEVNULL
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.sagas.storm_service", name],
            cwd=rig.ROOT,
            env={**shop.environment(name), f"{name.upper()}_DB_PORT": str(shop.cluster.port)}
            | {"STORM_DSNS": json.dumps(dsns), "STORM_SEED": str(seed)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
        )

    def order(self, turn: dict[str, Any]) -> None:
        """Tell of a turn."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(turn).encode() + b"\n")
        self.process.stdin.flush()

    def heard(self) -> Iterator[dict[str, Any]]:
        """What it tells until the turn's end; a life that was killed has none."""
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            said = json.loads(line)
            assert "failed" not in said, said["failed"]
            if "turn" in said or "died" in said:
                return
            yield said
        raise AssertionError(f"{self.name} ended with {self.process.wait()}; SHOP_LOGS=1 shows why")

    def end(self) -> None:
        """Have no more turns for it."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Storm:
    """One storm over an opened shop."""

    def __init__(self, shop: Shop, *, runs: int, seed: int) -> None:
        self.shop, self.runs = shop, runs
        self.dice = random.Random(seed)
        self.report = Report(seed=seed)
        self.deaf: set[str] = set()
        self.stocked = {number: self.dice.randint(5, 50) for number in range(1, max(runs // 8, 4))}
        self.customers = range(1, max(runs // 10, 6))
        # Half of them may pay for some things only.
        self.limits = {each: PRICE * self.dice.randint(1, 30) for each in self.customers if each % 2}

    def blow(self) -> Report:
        """Play it to its end; what is wrong then is in the report."""
        began = time.monotonic()
        self._stock()
        with ExitStack() as stack:
            self.workers = [Worker(self.shop, name, self.report.seed) for name in NAMES]
            for each in self.workers:
                stack.callback(each.end)
            self._turn(calm=True, limits=self.limits)
            while (left := self.runs - self._opened()) > 0:
                self._turn(carts=[self._cart() for _ in range(min(CARTS_A_TURN, left))])
            for _ in range(RESTLESS_AFTER):
                self._turn()
            unrest = audit.unrest(self.shop)
            for _ in range(LONGEST_CALM):
                self._turn(calm=True)
                if not (unrest := audit.unrest(self.shop)):
                    break
        # Sums of what is not at rest would say the same in many words.
        told = audit.Told(
            acknowledged=self.report.acknowledged,
            withdrawn=self.report.withdrawn,
            stocked=self.stocked,
            limits=self.limits,
        )
        self.report.violations = unrest or audit.violations(self.shop, told)
        self.report.ends = audit.ends(self.shop)
        self.report.seconds = time.monotonic() - began
        return self.report

    def _turn(
        self, *, calm: bool = False, carts: list[Any] | None = None, limits: dict[int, int] | None = None
    ) -> None:
        self.report.turns += 1
        heads = audit.heads(self.shop)
        if self.report.turns % DEAF_TURNS == 0:
            self.deaf = {name for name in NAMES if self.dice.random() < DEAF}
        for each in self.workers:
            each.order(
                {
                    "number": self.report.turns,
                    "calm": calm,
                    "deaf": each.name in self.deaf,
                    "heads": heads,
                    "carts": carts or [],
                    "limits": (limits or {}) if each.name == "payments" else {},
                }
            )
        for each in self.workers:
            for said in each.heard():
                if "acknowledged" in said:
                    self.report.acknowledged[said["acknowledged"]] = said["kind"]
                elif "withdrawn" in said:
                    self.report.withdrawn.add(said["withdrawn"])
                else:
                    self.report.struck[said["struck"]] += 1

    def _cart(self) -> dict[str, Any]:
        products = self.dice.sample(sorted(self.stocked), self.dice.choice((1, 1, 1, 2, 3)))
        return {
            "kind": self.dice.choice(KINDS),
            "customer": self.dice.choice(self.customers),
            "lines": [(product, self.dice.randint(1, 3)) for product in products],
        }

    def _stock(self) -> None:
        for name, conn in self.shop.conns.items():
            conn.execute(TROUBLE.encode())
            for number, where in enumerate(TROUBLED[name]):
                conn.execute(
                    f"CREATE TRIGGER storm{number} BEFORE {where} FOR EACH ROW EXECUTE FUNCTION storm()".encode()
                )
        for product, on_hand in self.stocked.items():
            self.shop.conns["orders"].execute(PRODUCT.encode(), [product, f"S{product}", PRICE])
            self.shop.conns["inventory"].execute(STOCK.encode(), [product, on_hand])

    def _opened(self) -> int:
        return int(self.shop.one("orders", "SELECT count(*) FROM sales_checkout"))
