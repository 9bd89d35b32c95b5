"""The way over: the rows of a stock that is the service's own for good, copied into documents, compared, put away."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, Min, Sum

from migration_tools.capture.ownership import owned_here
from migration_tools.errors import StoreError
from migration_tools.kernel import points
from migration_tools.stores.mongodb_client import answering, database_at

from ..models import Movement, Reservation, ReservedLine, Stock
from .guard import CONTEXT, DECOMMISSION, on_its_way
from .keeper import DATABASE
from .promises import HELD, Promises
from .shelves import EMPTY, Shelves

AT_ONCE = 500
SUFFIX = "_until_documents"
TABLES = tuple(model._meta.db_table for model in (Stock, Movement, Reservation, ReservedLine))
COLLECTIONS = ("stock", "movements", "reservations")
MARK = {"_id": CONTEXT}
"""Of the collection `carrying`: that what lies in the others was put there by a copy that was cut off."""


class NotCarried(StoreError):
    """The stock stays in rows; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """What has to be the same on both sides."""

    products: int
    on_hand: int
    reserved: int
    movements: int
    moved: int
    reservations: int
    held: int


def carry(url: str, *, dry_run: bool = False) -> Sums | None:
    """Copy the stock into the documents of `url`, compare the sums, and put the rows away; None if that was done.

    Nobody writes the rows meanwhile: they are locked, and afterwards they are not there under their names. Cut off
    anywhere it is begun anew by the next call. With `dry_run` it copies nothing and gives the sums of the rows.

    Raises:
        NotCarried: the stock is not the service's for good, the documents are somebody else's, or sums differ.
        StoreAway: MongoDB does not answer.
    """
    if put_away():
        return None
    with transaction.atomic():
        if not owned_here(CONTEXT):
            raise NotCarried(f"the service does not own {CONTEXT!r}; first carry it out, up to {DECOMMISSION}")
        if why := on_its_way():
            raise NotCarried(f"{why}; finish with {DECOMMISSION} (without --keep-copies), then run this again")
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE")
        expected = _sums_of_rows()
        database = database_at(url, DATABASE)
        try:
            with answering():
                _refuse_foreign(database)
                if dry_run:
                    return expected
                _copy(database)
                found = _sums_of_documents(database)
                if found != expected:
                    raise NotCarried(f"the rows say {asdict(expected)} and the documents {asdict(found)}; run it again")
                _put_away()
                points.reached("inventory.carried")
        finally:
            database.client.close()
    return expected


def put_away() -> bool:
    """Whether the rows were carried over before."""
    return Stock._meta.db_table + SUFFIX in connection.introspection.table_names()


def _put_away() -> None:
    """Let a process that would write rows find none, and a rollback of the decommission stop before it reads any."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO depot_settled (order_number, reason) SELECT DISTINCT order_number, reason FROM depot_movement "
            "WHERE order_number IS NOT NULL ON CONFLICT DO NOTHING"
        )
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} RENAME TO {table}{SUFFIX}")


def _refuse_foreign(database: Any) -> None:
    """Raise NotCarried where there are documents that no copy of ours began."""
    if database["carrying"].find_one(MARK):
        return
    full = [name for name in COLLECTIONS if database[name].find_one({}) is not None]
    if full:
        raise NotCarried(
            f"the database {database.name!r} holds documents in {full} that this command did not put there; name an "
            "empty one in INVENTORY_STORE_URL, or drop them"
        )


def _copy(database: Any) -> None:
    if database["carrying"].find_one(MARK):
        for name in COLLECTIONS:
            database[name].drop()
    else:
        database["carrying"].insert_one(dict(MARK))
    _insert(database["movements"], _movements())
    points.reached("inventory.copied_movements")
    holds: defaultdict[int, dict[str, int]] = defaultdict(dict)
    _insert(database["reservations"], _reservations(holds))
    _insert(database["stock"], _shelves(holds))
    Promises(database, Shelves(database)).prepare()


def _insert(collection: Any, documents: Iterable[dict[str, Any]]) -> None:
    coming = iter(documents)
    while part := list(islice(coming, AT_ONCE)):
        collection.insert_many(part, ordered=False)


def _movements() -> Iterator[dict[str, Any]]:
    """One a product, order and reason: by that name it is known again. What no order caused keeps its row's number."""
    named = Movement.objects.filter(order_number__isnull=False).values("product_id", "order_number", "reason")
    summed = named.annotate(sum=Sum("quantity"), rows=Count("id"), at=Min("moved_at"))
    for row in summed.order_by("product_id", "order_number", "reason").iterator():
        yield {
            "_id": f"{row['product_id']} {row['reason']}-{row['order_number']}", "product": row["product_id"],
            "order": row["order_number"], "reason": row["reason"], "quantity": row["sum"], "moved_at": row["at"],
            "rows": row["rows"],
        }  # fmt: skip
    for alone in Movement.objects.filter(order_number__isnull=True).order_by("id").iterator():
        yield {
            "_id": f"{alone.product_id} {alone.reason}-row{alone.pk}", "product": alone.product_id, "order": None,
            "reason": alone.reason, "quantity": alone.quantity, "moved_at": alone.moved_at, "rows": 1,
        }  # fmt: skip


def _reservations(holds: defaultdict[int, dict[str, int]]) -> Iterator[dict[str, Any]]:
    """Every reservation, ended ones too: a reference stands for what it stood for. What is held is noted in `holds`."""
    for row in Reservation.objects.prefetch_related("lines").order_by("id").iterator(AT_ONCE):
        order: uuid.UUID | None = row.order_public_id
        wanted: Counter[int] = Counter()
        for line in row.lines.all():
            wanted[line.product_id] += line.quantity
            if row.state == HELD:
                holds[line.product_id][row.public_id.hex] = wanted[line.product_id]
        yield {
            "_id": f"order:{order}" if order else f"{row.customer_id}:{row.reference}",
            "public_id": row.public_id.hex, "customer": row.customer_id, "reference": row.reference,
            "order": str(order) if order else None, "state": row.state, "made_at": row.made_at,
            "lines": [{"product": product, "quantity": wanted[product]} for product in sorted(wanted)],
        }  # fmt: skip


def _shelves(holds: defaultdict[int, dict[str, int]]) -> Iterator[dict[str, Any]]:
    for row in Stock.objects.order_by("product_id").iterator():
        yield {
            "_id": row.product_id,
            **EMPTY,
            "on_hand": row.on_hand,
            "reserved": row.reserved,
            "free": row.on_hand - row.reserved,
            "holds": holds[row.product_id],
        }


def _sums_of_rows() -> Sums:
    stock = Stock.objects.aggregate(products=Count("id"), on_hand=Sum("on_hand"), reserved=Sum("reserved"))
    moved = Movement.objects.aggregate(movements=Count("id"), moved=Sum("quantity"))
    held = ReservedLine.objects.filter(reservation__state=HELD).aggregate(held=Sum("quantity"))
    sums = {name: value or 0 for name, value in {**stock, **moved, **held}.items()}
    return Sums(**sums, reservations=Reservation.objects.count())


def _sums_of_documents(database: Any) -> Sums:
    """Counted from the documents as they were read back."""
    shelves = list(database["stock"].find({}))
    movements = list(database["movements"].find({}, {"quantity": 1, "rows": 1}))
    return Sums(
        products=len(shelves),
        on_hand=sum(each["on_hand"] for each in shelves),
        reserved=sum(each["on_hand"] - each["free"] for each in shelves),
        movements=sum(each["rows"] for each in movements),
        moved=sum(each["quantity"] for each in movements),
        reservations=database["reservations"].count_documents({}),
        held=sum(sum(each["holds"].values()) for each in shelves),
    )
