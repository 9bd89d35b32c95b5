"""The orders context: from the shop's monolith into a service of its own, and back."""

from django.db.models import Value
from django.db.models.functions import Concat

from migration_tools.playbook import Playbook, Projection, Route
from playbooks.evidence import gates as gates_of
from playbooks.money import cents, money


class Orders(Playbook):
    """Orders and their lines move; the catalogue stays and is replicated for prices and names."""

    context = "orders"
    source = "default"
    target = "orders"
    projections = [
        Projection(
            "orders.Order",
            into="sales_order",
            key={"id": "id"},
            columns={
                "public_id": "public_id",
                "customer_id": "user_id",
                "customer_name": Concat("user__first_name", Value(" "), "user__last_name"),
                "state": "status",
                "total_cents": cents("total"),
                "discount_cents": cents("discount"),
                "currency": "currency",
                "remark": "note",
                "reference": "client_reference",
                "ship_to": "shipping_address",
                "ordered_at": "placed_at",
                "paid_at": "paid_at",
                "modified_at": "updated_at",
            },
            reverse={"total": money("total_cents"), "discount": money("discount_cents")},
        ),
        Projection(
            "orders.OrderLine",
            into="sales_orderitem",
            key={"id": "id"},
            columns={
                "order_public_id": "order__public_id",
                "product_id": "product_id",
                "qty": "quantity",
                "unit_cents": cents("unit_price"),
                "gift_note": "gift_message",
            },
            reverse={"order_id": "order_public__id", "unit_price": money("unit_cents")},
        ),
    ]
    references = [
        Projection(
            "catalog.Product",
            into="sales_product",
            key={"id": "id"},
            columns={
                "sku": "sku",
                "name": "name",
                "price_cents": cents("price"),
                "currency": "currency",
                "active": "active",
            },
        ),
    ]
    routes = [Route("/api/orders", service="orders")]
    gates = gates_of(context)
