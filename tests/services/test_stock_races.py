"""The stock in documents, by interleaving: who comes between two steps, and who dies there."""

import datetime as dt
import json
import uuid
from typing import Any

import pytest

from tests.services import depots
from tests.services.depots import DocumentsDepot, manage

pytest_plugins = ["tests.services.rig", "tests.services.depots"]

# What scenarios share: who does `first` runs into `point` once, where `then` happens.
STAGE = """
import datetime as dt, json, threading, uuid
from collections import Counter
from django.db import connection, transaction
from migration_tools.kernel import points
from migration_tools.messaging.models import Outbox
from migration_tools.sagas.admission import Stored
from migration_tools.sagas.decisions import Direction
from migration_tools.sagas.participant import claim, keep
from extracted_services.inventory import stock
from extracted_services.inventory.documents.sweep import sweep
from extracted_services.inventory.models import Reason

keeper = stock.keeper()
said = []

def tried(work):
    try:
        said.append(work() or "done")
    except (stock.TooFew, stock.OtherReservation) as refused:
        said.append(type(refused).__name__)

def race(point, first, then):
    seen = []
    def once():
        if not seen:
            seen.append(1)
            tried(then)
    with points.on(point, once):
        tried(first)
    assert seen, f"nobody came to {point}"

def reserve(reference, **lines):
    wanted = Counter({int(name[1:]): quantity for name, quantity in lines.items()})
    return lambda: keeper.reserve(7, reference, wanted).state

def sold(order, number, **lines):
    def sell():
        with transaction.atomic():
            keeper.sell(order, number, {int(name[1:]): quantity for name, quantity in lines.items()})
    return sell

def for_order(order, **lines):
    wanted = Counter({int(name[1:]): quantity for name, quantity in lines.items()})
    def promise():
        with transaction.atomic():
            keeper.reserve_for_order(order, 7, wanted)
    return promise

ORDER = uuid.UUID(%r)
NOW = dt.timedelta(0)
"""


def played(depot: DocumentsDepot, scenario: str, order: uuid.UUID | None = None, **env: str) -> list[Any]:
    """Run a scenario in a process of the service; what it said."""
    script = STAGE % str(order or uuid.uuid4()) + scenario + "\nprint(json.dumps(said, default=vars))"
    done = manage(depot, "shell", "-v0", "-c", script, **env)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def killed(depot: DocumentsDepot, scenario: str, point: str, order: uuid.UUID | None = None) -> None:
    """Run a scenario in a process that dies by SIGKILL at a point."""
    script = STAGE % str(order or uuid.uuid4()) + scenario
    depots.killed_while(depot.service, depot.url, point, "shell", "-v0", "-c", script)


def swept(depot: DocumentsDepot, older_than: int = 0) -> dict[str, int]:
    """What one sweep gave back."""
    done = manage(depot, "inventory_sweep", "--older-than", str(older_than), "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_both_saw_the_last_one_and_one_gets_it(documents: DocumentsDepot) -> None:
    documents.put(20, 1)
    said = played(documents, 'race("inventory.seen", reserve("a", p20=1), reserve("b", p20=1))')
    assert said == ["held", "TooFew"]
    assert (documents.shelf(20), documents.promised(20)) == ((1, 1), 1)


def test_begun_by_one_and_held_by_another_under_one_reference_is_held_once(documents: DocumentsDepot) -> None:
    documents.put(21, 5)
    said = played(documents, 'race("inventory.inserted", reserve("c", p21=2), reserve("c", p21=2))')
    assert said == ["held", "held"]
    assert (documents.shelf(21), documents.promised(21)) == ((5, 2), 2)


def test_released_while_another_still_enters_it_is_given_back_whole(documents: DocumentsDepot) -> None:
    documents.put(22, 5)
    scenario = """
def another():
    held = keeper.reserve(7, "d", Counter({22: 2}))
    return keeper.release(7, held.public_id).state
race("inventory.inserted", reserve("d", p22=2), another)
"""
    assert played(documents, scenario) == ["released", "OtherReservation"]
    assert (documents.shelf(22), documents.promised(22)) == ((5, 0), 0)


def test_sold_out_behind_the_first_product_gives_the_first_back(documents: DocumentsDepot) -> None:
    documents.put(23, 5)
    documents.put(24, 1)
    said = played(documents, 'race("inventory.held_one", reserve("e", p23=2, p24=1), reserve("f", p24=1))')
    assert said == ["held", "TooFew"]
    assert (documents.shelf(23), documents.shelf(24)) == ((5, 0), (1, 1))
    assert documents.database.reservations.find_one({"_id": "7:e"}) is None


def test_what_was_promised_to_an_order_is_free_for_nobody_while_it_is_sold(documents: DocumentsDepot) -> None:
    """To end the promise first and take the shelf then, as a transaction may, would promise the same thing twice."""
    documents.put(25, 2)
    scenario = """
tried(for_order(ORDER, p25=2))
race("inventory.looked", sold(ORDER, 7801, p25=2), reserve("g", p25=1))
race("inventory.ended", sold(ORDER, 7801, p25=2), reserve("h", p25=1))
said.append(list(Outbox.objects.filter(payload__order_id=7801).values_list("event_type", flat=True)))
"""
    assert played(documents, scenario) == ["done", "TooFew", "done", "TooFew", "done", ["stock.moved"]]
    assert documents.shelf(25) == (0, 0)
    assert documents.moved(7801) == [(25, -2, "ordered")]


def test_swept_under_one_who_is_alive_begins_anew_and_holds_once(documents: DocumentsDepot) -> None:
    documents.put(26, 5)
    documents.put(27, 5)
    scenario = """race("inventory.held_one", reserve("i", p26=1, p27=1), lambda: vars(sweep(keeper, NOW)))"""
    said = played(documents, scenario)
    assert said == [{"given_up": 1, "unanswered": 0, "left_over": 0}, "held"]
    assert (documents.shelf(26), documents.shelf(27)) == ((5, 1), (5, 1))
    assert swept(documents) == {"given_up": 0, "unanswered": 0, "left_over": 0}


SWEPT_BESIDE = """
step = (connection.alias, str(ORDER), "reserve", Direction.DO)
swept = []
def beside():
    swept.append(vars(sweep(keeper, NOW)))
    connection.close()
waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
def is_waited_for():
    with connection.cursor() as cursor:
        cursor.execute(waiting)
        return cursor.fetchone()[0]
class Lost(Exception): pass
try:
    with transaction.atomic():
        claim(*step, Stored.DONE)
        keeper.reserve_for_order(ORDER, 7, Counter({PRODUCT: 1}))
        thread = threading.Thread(target=beside)
        thread.start()
        pause = threading.Event()
        while not is_waited_for():
            pause.wait(0.01)
        keep(*step, Stored.DONE, "", {})
        if LOST: raise Lost
except Lost: pass
thread.join()
said += swept
"""


@pytest.mark.parametrize(("product", "lost"), [(28, False), (29, True)], ids=["committed", "lost"])
def test_swept_beside_a_step_that_is_not_committed_waits_and_believes_what_became_of_it(
    documents: DocumentsDepot, product: int, lost: bool
) -> None:
    documents.put(product, 5)
    scenario = SWEPT_BESIDE.replace("PRODUCT", str(product)).replace("LOST", str(lost))
    assert played(documents, scenario) == [{"given_up": 0, "unanswered": int(lost), "left_over": 0}]
    assert documents.shelf(product) == (5, int(not lost))


def test_an_order_whose_lost_promise_was_swept_is_promised_anew(documents: DocumentsDepot) -> None:
    documents.put(30, 5)
    scenario = """
tried(for_order(ORDER, p30=2))
said.append(vars(sweep(keeper, NOW))["unanswered"])
tried(for_order(ORDER, p30=2))
tried(for_order(ORDER, p30=2))
said.append(sum(keeper.shelves.find(30)["holds"].values()))
keeper.release_of_order(ORDER)
"""
    assert played(documents, scenario) == ["done", 1, "done", "done", 2]
    assert (documents.shelf(30), documents.promised(30)) == ((5, 0), 0)


POINTS_OF_RESERVING = ["inventory.inserted", "inventory.held_one", "inventory.held"]


@pytest.mark.parametrize("point", [POINTS_OF_RESERVING[1], *(pytest.param(each, marks=pytest.mark.thorough)
                                                             for each in POINTS_OF_RESERVING[::2])])  # fmt: skip
def test_killed_while_it_reserves_is_finished_by_the_same_reference_or_swept(
    documents: DocumentsDepot, point: str
) -> None:
    first = 40 + 4 * POINTS_OF_RESERVING.index(point)
    for product in range(first, first + 4):
        documents.put(product, 5)
    for reference, product in (("again", first), ("gone", first + 2)):
        killed(documents, f'reserve("{point} {reference}", p{product}=2, p{product + 1}=1)()', point)
    lines = [{"product": first, "quantity": 2}, {"product": first + 1, "quantity": 1}]
    with documents.service.browser(7) as browser:
        made = browser.post("/api/stock/reservations/", json={"reference": f"{point} again", "lines": lines})
    assert (made.status_code, made.json()["state"]) == (201, "held")
    assert (documents.shelf(first), documents.shelf(first + 1)) == ((5, 2), (5, 1))
    assert swept(documents, older_than=300) == {"given_up": 0, "unanswered": 0, "left_over": 0}
    # One that was held before the process died is a promise like any other, of which its customer was not told.
    begun = int(point != "inventory.held")
    assert swept(documents) == {"given_up": begun, "unanswered": 0, "left_over": 0}
    kept = ((5, 0), (5, 0)) if begun else ((5, 2), (5, 1))
    assert (documents.shelf(first + 2), documents.shelf(first + 3)) == kept
    assert (documents.shelf(first), documents.shelf(first + 1)) == ((5, 2), (5, 1))


@pytest.mark.parametrize("ended", ["released", pytest.param("withdrawn", marks=pytest.mark.thorough)])
def test_killed_between_the_end_of_a_promise_and_its_products_leaves_what_the_sweep_gives_back(
    documents: DocumentsDepot, ended: str
) -> None:
    first = {"released": 60, "withdrawn": 62}[ended]
    documents.put(first, 5)
    documents.put(first + 1, 1)
    if ended == "released":
        scenario = (
            f'reserve("r", p{first}=2)(); keeper.release(7, keeper.reserve(7, "r", Counter({{{first}: 2}})).public_id)'
        )
        killed(documents, scenario, "inventory.ended")
    else:
        other = f'reserve("taken", p{first + 1}=1)'
        scenario = f'race("inventory.held_one", reserve("w", p{first}=2, p{first + 1}=1), {other})'
        killed(documents, scenario, "inventory.withdrawn")
    assert documents.shelf(first) == (5, 2)
    assert swept(documents, older_than=300) == {"given_up": 0, "unanswered": 0, "left_over": 1}
    assert documents.shelf(first) == (5, 0)


@pytest.mark.parametrize("point", ["inventory.moved_one", pytest.param("inventory.ended", marks=pytest.mark.thorough)])
def test_killed_between_the_documents_and_postgresqls_commit_is_sold_once_and_told_once(
    documents: DocumentsDepot, point: str
) -> None:
    """The event comes again, finds its steps done, and tells of them."""
    product, order = (70, 7901) if point == "inventory.moved_one" else (72, 7902)
    for each in (product, product + 1):
        documents.put(each, 5)
    public, lines = uuid.uuid4(), f"p{product}=2, p{product + 1}=1"
    played(documents, f"tried(for_order(ORDER, {lines}))", public)
    killed(documents, f"sold(ORDER, {order}, {lines})()", point, public)
    assert documents.service.rows("SELECT count(*) FROM depot_settled WHERE order_number = %s", order) == [(0,)]
    told = f'said.append(list(Outbox.objects.filter(payload__order_id={order}).values_list("event_type", flat=True)))'
    again = f"for _ in range(2): sold(ORDER, {order}, {lines})()\n{told}"
    assert played(documents, again, public) == [["stock.moved"]]
    assert (documents.shelf(product), documents.shelf(product + 1)) == ((3, 0), (4, 0))
    assert documents.moved(order) == [(product, -2, "ordered"), (product + 1, -1, "ordered")]


def test_what_is_swept_is_old(documents: DocumentsDepot) -> None:
    documents.put(80, 5)
    killed(documents, 'reserve("young", p80=2)()', "inventory.held_one")
    assert swept(documents, older_than=60)["given_up"] == 0
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=2)
    documents.database.reservations.update_one({"_id": "7:young"}, {"$set": {"made_at": long_ago}})
    assert swept(documents, older_than=60)["given_up"] == 1
    assert documents.shelf(80) == (5, 0)
