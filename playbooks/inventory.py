"""The inventory context: what is on hand and every change of it. Sales follow by events, whoever owns the stock."""

from django.db.models import F

from migration_tools.playbook import Playbook, Projection, Route, SumEqual, Unique
from playbooks.evidence import gates as gates_of


class Inventory(Playbook):
    """Stock and movements move together: the one is the sum of the other, and a movement says what was done already."""

    context = "inventory"
    source = "default"
    target = "inventory"
    projections = [
        Projection(
            "inventory.Stock",
            into="depot_stock",
            key={"id": "id"},
            columns={"product_id": "product_id", "on_hand": "on_hand"},
        ),
        Projection(
            "inventory.Movement",
            into="depot_movement",
            key={"id": "id"},
            columns={
                "product_id": "product_id",
                "order_number": "order_id",
                "quantity": "delta",
                "reason": "reason",
                "moved_at": "created_at",
            },
        ),
    ]
    routes = [Route("/api/stock", service="inventory")]
    invariants = [
        Unique("depot_stock", ["product_id"]),
        SumEqual("depot_stock", source=F("on_hand"), target="on_hand"),
        SumEqual("depot_movement", source=F("delta"), target="quantity"),
    ]
    gates = gates_of(context)
