"""The walk down the road, made once: each phase kept as a pair of database templates that every cell clones.

On the way each command notes the points that it passes, so the table of crash points is measured.
"""

import itertools
import json
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from migration_tools.testing.postgres import EmbeddedPostgres, fleeting_directory
from tests.chaos.ledger import Ledger, OwnerWatch, Renamer, Writer
from tests.chaos.world import BACK, FORWARD, PHASES, Nurseries, World, cluster_of
from tests.conftest import SMALL_SHOP, Pair, migrate_templates, recreate

MORE_ORDERS = """
    INSERT INTO orders_order (public_id, user_id, status, total, currency, client_reference, shipping_address,
        placed_at, updated_at)
    SELECT gen_random_uuid(), 1 + (n % 20), 'placed', n * 0.01, 'EUR', 'more' || n, '{}', now(), now()
    FROM generate_series(1, 1500) n;
    INSERT INTO orders_orderline (order_id, product_id, quantity, unit_price)
    SELECT id, 1, 1, 1 FROM orders_order WHERE client_reference LIKE 'more%';
"""
TRIES = 8
_serial = itertools.count(1)

Passages = dict[str, dict[str, int]]


class Crossroads:
    """A cluster of its own, which may be killed, and a template pair for every phase reached so far."""

    def __init__(self, server: EmbeddedPostgres, nurseries: Nurseries, directory: Path):
        self.server = server
        self.nurseries = nurseries
        self.directory = directory
        self.passages: Passages = {}
        self._made: dict[str, tuple[str, str]] = {}

    def walk(self) -> None:
        """Make all templates: forward through every phase, under writers."""
        names = migrate_templates(cluster_of(self.server))
        pair = self._clone(names)
        with pair.connect("shop") as conn:
            conn.execute(SMALL_SHOP)
            conn.execute(MORE_ORDERS)
            conn.execute("ANALYZE")
        self._keep(pair, PHASES[0])
        for phase in PHASES[1:]:
            with self.travelling(pair) as (world, ledger):
                for _ in range(TRIES):
                    self._measure(world, f"to {phase}", FORWARD[phase])
                    if world.phase() == (phase, None):
                        break
                    # The sides are equal, and the lag is too large for the phase: let a slow machine catch up.
                    world.calm.set()
                else:
                    raise AssertionError(f"{FORWARD[phase]} is done, and the phase is {world.phase()}")
            assert ledger.faults == [], ledger.faults
            self._keep(pair, phase)

    def measure_the_ways_back(self) -> None:
        """Roll back from every phase once, to see what it passes."""
        for phase in PHASES[1:]:
            with self.at(phase) as world, self.busy(world):
                self._measure(world, f"undo {phase}", BACK)

    @contextmanager
    def at(self, phase: str, **env: str) -> Iterator[World]:
        """A world of its own in a phase; nothing of it runs yet."""
        pair = self._clone(self._made[phase])
        directory = Path(tempfile.mkdtemp(prefix="cell-", dir=self.directory))
        world = World(self.server, pair, self.nurseries, directory, **env)
        try:
            yield world
        except BaseException:
            world.close()
            raise  # the databases and the logs stay for inspection
        else:
            world.close()
            self._drop(pair)
            shutil.rmtree(directory, ignore_errors=True)

    @contextmanager
    def travelling(self, pair: Pair) -> Iterator[tuple[World, Ledger]]:
        """A world on an existing pair, busy for the block; it ends with everything stopped and disconnected."""
        world = World(self.server, pair, self.nurseries, Path(tempfile.mkdtemp(prefix="walk-", dir=self.directory)))
        try:
            with self.busy(world) as ledger:
                yield world, ledger
        finally:
            world.close()

    @contextmanager
    def busy(self, world: World, *, seed: int = 1, writers: int = 2, pause: float = 0.006) -> Iterator[Ledger]:
        """All processes run, customers write and somebody watches the owners for the block."""
        world.serve_all(relay=world.directory / "relay.seen", consumer=world.directory / "consumer.seen")
        ledger = Ledger(world)
        ledger.open()
        stop = threading.Event()
        watch = OwnerWatch(world, stop)
        customers: list[threading.Thread] = [Writer(ledger, seed * 100 + n, stop, pause) for n in range(writers)]
        everybody = [*customers, Renamer(world, seed, stop), watch]
        for each in everybody:
            each.start()
        try:
            yield ledger
        finally:
            stop.set()
            for each in everybody:
                each.join(60)
            ledger.faults += watch.faults
            ledger.acknowledged["looks at the owners"] += watch.looks
            for name in ("relay", "consumer"):
                self._note(name, world.directory / f"{name}.seen")

    def _measure(self, world: World, move: str, command: str) -> None:
        seen = world.directory / f"{move.replace(' ', '_')}.seen"
        world.insist(command, seen=seen)
        self._note(move, seen)

    def _note(self, move: str, seen: Path) -> None:
        counts = Counter(seen.read_text().split()) if seen.exists() else Counter()
        known = self.passages.setdefault(move, {})
        for point, count in counts.items():
            known[point] = max(count, known.get(point, 0))

    def _clone(self, names: tuple[str, str]) -> Pair:
        number = next(_serial)
        pair = Pair(cluster=cluster_of(self.server), shop=f"shop_{number}", orders=f"orders_{number}")
        for side, name, template in (("shop", pair.shop, names[0]), ("orders", pair.orders, names[1])):
            recreate(pair.cluster, name, owner=f"{side}_owner", template=template)
        # A sequence that was cloned with numbers logged in advance draws them without logging them again, and a crash
        # before the next checkpoint would draw them twice. No database in use is made this way.
        with psycopg.connect(self.server.dsn(), autocommit=True) as conn:
            conn.execute("CHECKPOINT")
        return pair

    def _keep(self, pair: Pair, phase: str) -> None:
        names = (f"shop_at_{phase}", f"orders_at_{phase}")
        with psycopg.connect(self.server.dsn(), autocommit=True) as conn:
            for name in (pair.shop, pair.orders):
                conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        for side, name, template in (("shop", names[0], pair.shop), ("orders", names[1], pair.orders)):
            recreate(pair.cluster, name, owner=f"{side}_owner", template=template)
        self._made[phase] = names

    def _drop(self, pair: Pair) -> None:
        with psycopg.connect(self.server.dsn(), autocommit=True) as conn:
            for name in (pair.shop, pair.orders):
                conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def opened(directory: Path) -> Iterator[Crossroads]:
    """A cluster whose commits are on disk when they are acknowledged, and the walk made."""
    nurseries = Nurseries.opened()
    try:
        with EmbeddedPostgres(fleeting_directory(), options={"max_connections": "300"}) as server:
            made = Crossroads(server, nurseries, directory)
            made.walk()
            yield made
    finally:
        nurseries.close()


def write_passages(path: Path, passages: Passages) -> None:
    """Keep what was measured."""
    path.write_text(json.dumps(passages, indent=1, sort_keys=True) + "\n")
