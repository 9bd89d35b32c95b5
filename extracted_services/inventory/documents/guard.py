"""When documents may not be used: a playbook moves rows, and rows are what it captures, fences and compares."""

from django.db import connection
from django.db.models import F

from migration_tools.capture.models import CapturedTable, Ownership
from migration_tools.errors import StoreAway

from ..models import Stock

CONTEXT = "inventory"
DECOMMISSION = f"strangle_decommission {CONTEXT}"


def on_its_way() -> str:
    """Why a playbook forbids documents now, as one sentence; empty if none does.

    One forbids them from its dual write to its decommission: while the monolith owns the stock, and after that for as
    long as the service's rows are captured to be carried back.
    """
    if Ownership.objects.filter(context=CONTEXT).exclude(owner=F("side")).exists():
        return f"the monolith owns {CONTEXT!r} and a playbook moves its rows"
    if CapturedTable.objects.filter(stream=CONTEXT, captured=True).exists():
        return f"the rows of {CONTEXT!r} are captured and carried back to the monolith"
    return ""


def rows_left() -> bool:
    """Whether the stock is in PostgreSQL's rows still: nobody has carried it over."""
    return Stock._meta.db_table in connection.introspection.table_names() and Stock.objects.exists()


def refuse_on_its_way() -> None:
    """Raise StoreAway while a playbook forbids documents.

    Asked at each step, since a process may have been started before the playbook; events wait, and requests are
    refused, until the engine is PostgreSQL or the decommission is done.
    """
    if why := on_its_way():
        raise StoreAway(f"INVENTORY_STORE_ENGINE is 'mongodb', but {why}; {remedy()}")


def remedy() -> str:
    """What to do then."""
    return (
        f"set INVENTORY_STORE_ENGINE=postgresql without INVENTORY_STORE_URL, finish with {DECOMMISSION} (without "
        "--keep-copies), and go over with inventory_to_documents"
    )
