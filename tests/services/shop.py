"""The shop as services: orders, inventory and payments, a process and a database each, over wires that can fail."""

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx2
import psycopg
from psycopg import sql

from migration_tools.testing.brokers import EmbeddedBroker
from migration_tools.testing.postgres import EmbeddedPostgres, free_port
from tests import identity_rig
from tests.chaos.wire import Wire
from tests.services import rig
from tests.services.depots import looking, movements, new_shelf, seen_shelf, shelf_faults, variables
from tests.waiting import until

NAMES = ("orders", "inventory", "payments")
PRICE = 1500
SECONDS = 60.0
PRODUCT = "INSERT INTO sales_product VALUES (%s, %s, 'A thing', %s, 'EUR', true)"
STOCK = "INSERT INTO depot_stock (product_id, on_hand) VALUES (%s, %s)"

# What a checkout that ended as confirmed has to have left behind, by order: lines, stock, money.
ORDERS = """SELECT o.public_id::text, o.id, o.customer_id, o.total_cents, o.state, count(i.id),
        coalesce(sum(i.qty * i.unit_cents), 0)::bigint, coalesce(sum(i.qty), 0)::bigint
    FROM sales_order o LEFT JOIN sales_orderitem i ON i.order_public_id = o.public_id GROUP BY o.id"""
MOVED = "SELECT order_number, -sum(quantity)::bigint, count(*) FROM depot_movement GROUP BY 1"
PAID = """SELECT order_public_id::text, order_number, amount_cents FROM billing_payment WHERE status = 'captured'"""
LEDGER = """SELECT coalesce(payer, 0), sum(amount)::text FROM (
        SELECT (state->>'payer')::bigint AS payer, CASE event_type WHEN 'payer_account.refunded' THEN -1 ELSE 1 END
               * (CASE jsonb_typeof(state->'amount') WHEN 'object' THEN state->'amount'->>'_data_'
                  ELSE state->>'amount' END)::numeric AS amount
        FROM strangle_event
        WHERE event_type IN ('payer_account.captured', 'payer_account.refunded', 'payer_account.carried')) e
    GROUP BY payer"""


class Shop:
    """The three services; `conns` are a test's own connections to look with."""

    def __init__(
        self,
        cluster: EmbeddedPostgres,
        databases: dict[str, str],
        stack: ExitStack,
        *,
        documents: str = "",
        broker: EmbeddedBroker | None = None,
    ) -> None:
        self.cluster = cluster
        self.broker = broker
        self.broker_wire = stack.enter_context(Wire(broker.port)) if broker else None
        self.databases = databases
        self.ports = {name: free_port() for name in NAMES}
        self.wires = {name: stack.enter_context(Wire(self.ports[name])) for name in NAMES}
        self.database_wires = {name: stack.enter_context(Wire(cluster.port)) for name in NAMES}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.conns: dict[str, psycopg.Connection[Any]] = {}
        self._look()
        stack.callback(self._look_away)
        self.kind = "orchestrated"
        # Where the stock is, if it is in documents: a URL, and the test's own look there.
        self.documents = documents
        self.depot = stack.enter_context(looking(documents)) if documents else None

    def _look(self) -> None:
        for name, base in self.databases.items():
            self.conns[name] = psycopg.connect(self.cluster.dsn(base), autocommit=True)

    def _look_away(self) -> None:
        for each in self.conns.values():
            each.close()

    def environment(self, name: str, **more: str) -> dict[str, str]:
        """What a process of a service is started with; it meets the others, and its database, over the wires."""
        return {
            **rig.environment(name, self.databases[name], "owner"),
            **{f"{other.upper()}_ADDRESS": f"127.0.0.1:{self.wires[other].port}" for other in NAMES},
            f"{name.upper()}_DB_PORT": str(self.database_wires[name].port),
            "SERVED_PORT": str(self.ports[name]),
            "ORDERS_CHECKOUT": self.kind,
            **(variables(self.documents) if self.documents else {}),
            **self._transport(),
            **more,
        }

    def _transport(self) -> dict[str, str]:
        if self.broker is None or self.broker_wire is None:
            return {"STRANGLE_TRANSPORT": "feed"}
        return {"STRANGLE_TRANSPORT": "kombu", "STRANGLE_BROKER_URL": self.broker.url_at(self.broker_wire.port)}

    def start(self, name: str, **more: str) -> "subprocess.Popen[bytes]":
        """Start a service in the place of its last process; with STRANGLE_POINTS it dies where that says."""
        self.kill(name)
        said = None if os.environ.get("SHOP_LOGS") else subprocess.DEVNULL
        self.running[name] = subprocess.Popen(
            [sys.executable, "-m", "tests.services.host", name],
            cwd=rig.ROOT,
            env=self.environment(name, **more),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        return self.running[name]

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self.running.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def begin(self, kind: str, names: Sequence[str] = NAMES) -> None:
        """Have every service answer, checkouts carried through in this way."""
        absent = [name for name in names if name not in self.running or (name == "orders" and kind != self.kind)]
        self.kind = kind
        for name in absent:
            self.start(name)
        for name in names:
            until(lambda name=name: self._answers(name), f"{name} answers", SECONDS)  # type: ignore[misc]

    def ready(self, name: str) -> int:
        """What a service answers to who asks whether it is ready."""
        return httpx2.get(f"http://127.0.0.1:{self.ports[name]}/readyz", timeout=10).status_code

    def _answers(self, name: str) -> bool:
        with contextlib.suppress(httpx2.HTTPError):
            return self.ready(name) == 200
        return False

    @contextmanager
    def database_away(self, name: str) -> Iterator[None]:
        """Shut a service's database to everybody but the test for the block; its processes go on."""
        database, mine = self.databases[name], self.conns[name].info.backend_pid
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> %s"
        with psycopg.connect(self.cluster.dsn(), autocommit=True) as operator:
            shut = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format
            operator.execute(shut(sql.Identifier(database), sql.SQL("false")))
            try:
                operator.execute(end, [database, mine])
                yield
            finally:
                operator.execute(shut(sql.Identifier(database), sql.SQL("true")))

    def crash_databases(self) -> None:
        """Let the server of all databases crash, and start it; call only where the server is the test's own."""
        self._look_away()
        self.cluster.restart("immediate")
        self._look()

    # Customers and staff.

    def product(self, on_hand: int) -> int:
        """A fresh article, on sale for 15.00, so many on the shelf."""
        number = uuid.uuid4().int >> 80
        self.conns["orders"].execute(PRODUCT, [number, f"S{number}", PRICE])
        if self.depot is not None:
            self.depot.stock.insert_one(new_shelf(number, on_hand))
        else:
            self.conns["inventory"].execute(STOCK, [number, on_hand])
        return number

    def customer(self, limit: str | None = None) -> int:
        """Somebody new, who may pay so much."""
        number = uuid.uuid4().int >> 80
        if limit is not None:
            with self.browser("payments", 1, staff=True) as staff:
                said = staff.put(f"/api/payments/accounts/{number}/limit/", json={"limit": limit})
                assert said.status_code == 200, said.text
        return number

    def browser(self, name: str, customer: int, *, staff: bool = False, seconds: float = 30) -> httpx2.Client:
        """A client of a service, over its wire."""
        shown = identity_rig.cookies(customer, "Ada", audience=(name,), staff=staff)
        return httpx2.Client(
            base_url=f"http://127.0.0.1:{self.wires[name].port}",
            cookies={**shown, "csrftoken": rig.CSRF},
            headers={"X-CSRFToken": rig.CSRF},
            timeout=seconds,
        )

    def buy(self, customer: int, product: int, quantity: int = 2, *, seconds: float = 30) -> str | None:
        """Open a checkout; its id, or None when nothing certain was answered."""
        wanted = {"lines": [{"product": product, "quantity": quantity}], "shipping_address": {"city": "Graz"}}
        try:
            with self.browser("orders", customer, seconds=seconds) as browser:
                said = browser.post("/api/orders/checkouts/", json=wanted)
        except httpx2.HTTPError:
            return None
        return str(said.json()["id"]) if said.status_code == 202 else None

    def one(self, name: str, query: str, *params: Any) -> Any:
        """The first column of the first row; None if there is no row."""
        row = self.conns[name].execute(query.encode(), params).fetchone()
        return None if row is None else row[0]

    def state(self, checkout: str) -> str:
        """Where a checkout is."""
        return str(self.one("orders", "SELECT state FROM sales_checkout WHERE public_id = %s", checkout))

    def ended(self, checkout: str) -> str:
        """Where a checkout has ended, everything that follows from it having followed."""
        until(lambda: self.state(checkout) in ("confirmed", "cancelled"), f"{checkout} ends", SECONDS)
        self.rest()
        return self.state(checkout)

    def rest(self, seconds: float = SECONDS) -> None:
        """Wait until nothing is on its way any more: every checkout ended, each promise kept or taken back."""
        open_ = "SELECT count(*) FROM sales_checkout WHERE state NOT IN ('confirmed', 'cancelled')"
        sagas = "SELECT count(*) FROM saga_state WHERE status IN ('running', 'compensating')"

        def still() -> bool:
            asked = (("orders", open_), ("orders", sagas))
            return all(self.one(name, query) == 0 for name, query in asked) and not self._held() and not self.faults()

        try:
            until(still, "the shop is at rest", seconds)
        except AssertionError:
            assert not self.faults()
            raise

    def _held(self) -> int:
        """How many reservations are held."""
        if self.depot is not None:
            return int(self.depot.reservations.count_documents({"state": {"$in": ["taking", "held"]}}))
        return int(self.one("inventory", "SELECT count(*) FROM depot_reservation WHERE state = 'held'"))

    def _moved(self) -> dict[int, tuple[int, int]]:
        """By order: how many its movements took, and how many they are."""
        if self.depot is not None:
            found: dict[int, tuple[int, int]] = {}
            for order, _, quantity, _ in movements(self.depot):
                taken, rows = found.get(order, (0, 0))
                found[order] = (taken - quantity, rows + 1)
            return found
        return {order: (quantity, rows) for order, quantity, rows in self.conns["inventory"].execute(MOVED)}

    def shelf(self, product: int) -> tuple[int, int]:
        """(on hand, reserved) of an article."""
        if self.depot is not None:
            return seen_shelf(self.depot, product) or (0, 0)
        query = "SELECT on_hand, reserved FROM depot_stock WHERE product_id = %s"
        row = self.conns["inventory"].execute(query, [product]).fetchone()
        return row  # type: ignore[return-value]

    def balance(self, customer: int) -> str:
        """What the payments service says it took of a customer, asked over HTTP."""
        with self.browser("payments", customer) as browser:
            return str(browser.get("/api/payments/account/").json()["balance"])

    # The audit: by SQL over the three databases, with nothing of the code under test.

    def faults(self) -> list[str]:
        """What is not as it must be when the shop is at rest; empty when lines, stock and money are all conserved."""
        found: list[str] = []
        orders = self.conns["orders"].execute(ORDERS).fetchall()
        moved = self._moved()
        paid = self.conns["payments"].execute(PAID).fetchall()
        for public_id, number, _, total, state, lines, sum_, quantity in orders:
            if not lines or sum_ != total:
                found.append(f"order {public_id} has {lines} lines of {sum_} cents for a total of {total}")
            if state != "paid":
                found.append(f"order {public_id} is {state}")
            if moved.get(number, (0, 0))[0] != quantity:
                found.append(f"order {public_id} sold {quantity}, the stock gave {moved.get(number)}")
            if [row for row in paid if row[0] == public_id] != [(public_id, number, total)]:
                found.append(f"order {public_id} of {total} cents is paid by other than one payment of that")
        known = {row[0] for row in orders}
        found += [f"payment {row} is for no order" for row in paid if row[0] not in known]
        found += [f"movement {order} is of no order" for order in moved.keys() - {row[1] for row in orders}]
        confirmed = "SELECT public_id::text FROM sales_checkout WHERE state = 'confirmed'"
        if {row[0] for row in self.conns["orders"].execute(confirmed)} != known:
            found.append("orders and confirmed checkouts are not the same")
        found += self._of_the_shelves() + self._of_the_ledger()
        return found

    def _of_the_shelves(self) -> list[str]:
        if self.depot is not None:
            return shelf_faults(self.depot)
        promised = """SELECT product_id, on_hand, reserved, (SELECT coalesce(sum(l.quantity), 0)
            FROM depot_reservedline l JOIN depot_reservation r ON r.id = l.reservation_id
            WHERE l.product_id = s.product_id AND r.state = 'held') FROM depot_stock s"""
        rows = self.conns["inventory"].execute(promised).fetchall()
        return [f"shelf {row}" for row in rows if row[1] < 0 or row[2] != row[3]]

    def _of_the_ledger(self) -> list[str]:
        rows = "SELECT payer_id, (sum(amount_cents) / 100.0)::numeric(20, 2)::text FROM billing_payment"
        table = dict(self.conns["payments"].execute(f"{rows} WHERE status = 'captured' GROUP BY 1").fetchall())
        ledger = {payer: sum_ for payer, sum_ in self.conns["payments"].execute(LEDGER) if float(sum_)}
        carried = self.one("payments", "SELECT count(*) FROM strangle_event WHERE event_type = 'payer_account.carried'")
        wrong = [] if ledger == table else [f"the ledger says {ledger} and the payments say {table}"]
        return wrong + ([f"{carried} entries are carried"] if carried else [])


@contextmanager
def opened(cluster: EmbeddedPostgres, *, documents: str = "", broker: EmbeddedBroker | None = None) -> Iterator[Shop]:
    """Three migrated databases, each the owner of its context for good, no process yet.

    The stock is where `documents` says, if given; events go by a broker, if given.
    """
    databases = {name: f"{name}_shop_{os.urandom(4).hex()}" for name in NAMES}
    with ExitStack() as stack:
        for name, database in databases.items():
            rig.make_database(cluster, name, database)
            stack.callback(_drop, cluster, database)
        migrations = [
            subprocess.Popen(
                [sys.executable, "manage.py", "migrate", "-v0", "--settings", f"extracted_services.{name}.settings"],
                cwd=rig.ROOT,
                env=rig.environment(name, database, "owner"),
            )
            for name, database in databases.items()
        ]
        assert [each.wait(120) for each in migrations] == [0, 0, 0]
        shop = Shop(cluster, databases, stack, documents=documents, broker=broker)
        for name, conn in shop.conns.items():
            conn.execute(rig.OWNED, [name])
        try:
            yield shop
        finally:
            for name in NAMES:
                shop.kill(name)


def _drop(cluster: EmbeddedPostgres, database: str) -> None:
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))
