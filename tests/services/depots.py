"""A pytest plugin: the inventory service with its stock in either engine, and a look at what is in it past the code.

PYTEST_DONT_REWRITE: test modules also import it for its types, before pytest loads it as a plugin.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import pymongo
import pytest

from migration_tools.testing.postgres import EmbeddedPostgres
from tests.document_server import mongodb_url
from tests.services import rig
from tests.services.rig import RunningService

NAME = "inventory"
ROWS, DOCUMENTS = "rows", "documents"


class Depot(Protocol):
    """A stock as a test sees it."""

    service: RunningService

    def put(self, product: int, on_hand: int) -> None:
        """A product that is not there yet."""

    def shelf(self, product: int) -> tuple[int, int] | None:
        """(on hand, reserved)."""

    def moved(self, order: int) -> list[tuple[int, int, str]]:
        """(product, quantity, reason) of an order's movements."""

    def promised(self, product: int) -> int:
        """How many the reservations that are held promise, by themselves."""


@dataclass(frozen=True)
class RowsDepot:
    """In PostgreSQL."""

    service: RunningService

    def put(self, product: int, on_hand: int) -> None:
        """See Depot."""
        self.service.rows("INSERT INTO depot_stock (product_id, on_hand) VALUES (%s, %s)", product, on_hand)

    def shelf(self, product: int) -> tuple[int, int] | None:
        """See Depot."""
        found = self.service.rows("SELECT on_hand, reserved FROM depot_stock WHERE product_id = %s", product)
        return (found[0][0], found[0][1]) if found else None

    def moved(self, order: int) -> list[tuple[int, int, str]]:
        """See Depot."""
        query = "SELECT product_id, quantity, reason FROM depot_movement WHERE order_number = %s ORDER BY 1"
        return [(row[0], row[1], row[2]) for row in self.service.rows(query, order)]

    def promised(self, product: int) -> int:
        """See Depot."""
        query = """SELECT coalesce(sum(quantity), 0) FROM depot_reservedline l JOIN depot_reservation r
            ON r.id = reservation_id WHERE state = 'held' AND product_id = %s"""
        return int(self.service.rows(query, product)[0][0])


@dataclass(frozen=True)
class DocumentsDepot:
    """In MongoDB."""

    service: RunningService
    url: str
    database: Any

    def put(self, product: int, on_hand: int) -> None:
        """See Depot."""
        self.database.stock.insert_one(new_shelf(product, on_hand))

    def shelf(self, product: int) -> tuple[int, int] | None:
        """See Depot; what is free and who holds how much must say the same."""
        return seen_shelf(self.database, product)

    def moved(self, order: int) -> list[tuple[int, int, str]]:
        """See Depot."""
        return sorted((product, quantity, reason) for of, product, quantity, reason in movements(self.database)
                      if of == order)  # fmt: skip

    def promised(self, product: int) -> int:
        """See Depot."""
        held = self.database.reservations.find({"state": "held"})
        return sum(line["quantity"] for each in held for line in each["lines"] if line["product"] == product)


def new_shelf(product: int, on_hand: int) -> dict[str, Any]:
    """The document of a product that nobody has moved yet."""
    shelf = {"on_hand": on_hand, "free": on_hand, "reserved": 0, "holds": {}, "marks": {}, "tidied": 0}
    return {"_id": product, **shelf}


def seen_shelf(database: Any, product: int) -> tuple[int, int] | None:
    """(on hand, reserved) of a product's document, which must not contradict itself."""
    found = database.stock.find_one({"_id": product})
    if found is None:
        return None
    assert found["free"] == found["on_hand"] - found["reserved"], found
    assert sum(found["holds"].values()) == found["reserved"], found
    return found["on_hand"], found["reserved"]


def movements(database: Any) -> list[tuple[int, int, int, str]]:
    """(order, product, quantity, reason) of what orders moved: the documents, and marks that are none yet."""
    found = {(row["order"], row["product"], row["reason"]): row["quantity"] for row in database.movements.find()}
    for shelf in database.stock.find():
        for mark in shelf["marks"].values():
            found[mark["order"], shelf["_id"], mark["reason"]] = mark["quantity"]
    return [(order, product, quantity, reason) for (order, product, reason), quantity in found.items() if order]


def shelf_faults(database: Any) -> list[str]:
    """Products of which more is promised than reservations say, or which are short."""
    held = database.reservations.find({"state": {"$in": ["taking", "held"]}})
    promised = Counter((each["public_id"], line["product"]) for each in held for line in each["lines"])
    return [
        f"shelf {shelf}"
        for shelf in database.stock.find()
        if shelf["on_hand"] < 0
        or shelf["free"] != shelf["on_hand"] - shelf["reserved"]
        or any((key, shelf["_id"]) not in promised for key in shelf["holds"])
    ]


def database_url(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}"))


def variables(url: str) -> dict[str, str]:
    """What says that the stock is in these documents."""
    return {"INVENTORY_STORE_ENGINE": "mongodb", "INVENTORY_STORE_URL": url}


@contextmanager
def looking(url: str) -> Iterator[Any]:
    """A database of a MongoDB, looked into by the test itself; dropped afterwards."""
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        database = client.get_default_database()
        try:
            yield database
        finally:
            for name in database.list_collection_names():
                database[name].drop()


@contextmanager
def with_documents(cluster: EmbeddedPostgres, *, workers: int = 1) -> Iterator[DocumentsDepot]:
    """The service on a MongoDB, both for the block alone.

    A worker asks by one connection, on which its threads come one after the other: who wants a race takes several.
    """
    with mongodb_url() as server, pytest.MonkeyPatch.context() as patch:
        url = database_url(server, f"depot_{os.urandom(4).hex()}")
        for name, value in variables(url).items():
            patch.setenv(name, value)
        patch.setenv("GUNICORN_CMD_ARGS", f"--workers {workers}")
        with rig.served(cluster, NAME) as service, looking(url) as database:
            patch.undo()
            yield DocumentsDepot(service, url, database)


@pytest.fixture(scope="module")
def depots(cluster: EmbeddedPostgres, running: Callable[[str], RunningService]) -> Iterator[Callable[[str], Depot]]:
    """Give the service by where its stock is; each is started when it is first asked for."""
    made: dict[str, Depot] = {}
    with ExitStack() as stack:

        def get(engine: str) -> Depot:
            if engine not in made:
                made[engine] = (
                    RowsDepot(running(NAME)) if engine == ROWS else stack.enter_context(with_documents(cluster))
                )
            return made[engine]

        yield get


@pytest.fixture(params=[ROWS, DOCUMENTS])
def depot(request: pytest.FixtureRequest, depots: Callable[[str], Depot]) -> Depot:
    """The service in each engine."""
    return depots(request.param)


@pytest.fixture(params=[ROWS, pytest.param(DOCUMENTS, marks=pytest.mark.thorough)])
def thorough_depot(request: pytest.FixtureRequest, depots: Callable[[str], Depot]) -> Depot:
    """The same, in documents only where thorough tests are asked for."""
    return depots(request.param)


@pytest.fixture(params=[ROWS, DOCUMENTS])
def crowded_depot(
    request: pytest.FixtureRequest, cluster: EmbeddedPostgres, running: Callable[[str], RunningService]
) -> Iterator[Depot]:
    """The service in each engine, its documents asked by as many processes as the server has sockets for."""
    if request.param == ROWS:
        yield RowsDepot(running(NAME))
        return
    with with_documents(cluster, workers=3) as made:
        yield made


@pytest.fixture
def documents(depots: Callable[[str], Depot]) -> DocumentsDepot:
    """The service with its stock in documents."""
    found = depots(DOCUMENTS)
    assert isinstance(found, DocumentsDepot)
    return found


def manage(depot: Depot, *args: str, **env: str) -> Any:
    """Run a management command of the service to its end, on the same stock."""
    further = variables(depot.url) if isinstance(depot, DocumentsDepot) else {}
    return depot.service.manage(*args, **further, **env)


def killed_while(service: RunningService, url: str, point: str, *command: str) -> None:
    """Run a management command of the service, its stock in documents, which dies by SIGKILL at a point."""
    environment = {
        **rig.environment(NAME, service.database, "owner"),
        **variables(url),
        "STRANGLE_POINTS": f"{point}=kill",
    }
    argv = [sys.executable, "manage.py", *command, "--settings", "extracted_services.inventory.settings"]
    done = subprocess.run(argv, cwd=rig.ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
