"""The mapping that the benchmark measures: renames, a concatenation, money as whole cents; pushed down as SQL."""

from django.db.models import BigIntegerField, DecimalField, F, Value
from django.db.models.functions import Cast, Concat

from migration_tools.playbook import Playbook, Projection


class Bench(Playbook):
    """Orders move from `bench_order` into `service_order`."""

    context = "bench"
    source = "default"
    target = "service"
    projections = [
        Projection(
            "shop.Order",
            into="service_order",
            key={"id": "id"},
            columns={
                "public_id": "public_id",
                "customer_id": "customer_id",
                "customer_name": Concat("first_name", Value(" "), "last_name"),
                "state": "status",
                "total_cents": Cast(F("total") * Value(100), BigIntegerField()),
                "discount_cents": Cast(F("discount") * Value(100), BigIntegerField()),
                "currency": "currency",
                "remark": "note",
                "reference": "client_reference",
                "ship_to": "shipping_address",
                "ordered_at": "placed_at",
                "paid_at": "paid_at",
                "modified_at": "updated_at",
                "weight": "weight",
                "gift": "gift",
            },
            reverse={
                "total": Cast(F("total_cents"), DecimalField(max_digits=20, decimal_places=2)) / Value(100),
                "discount": Cast(F("discount_cents"), DecimalField(max_digits=20, decimal_places=2)) / Value(100),
            },
        ),
    ]


#: Columns that are the same on both sides, so that a tool without a mapping can compare them too.
COMMON = {
    "public_id": "public_id",
    "customer_id": "customer_id",
    "status": "state",
    "currency": "currency",
    "note": "remark",
    "client_reference": "reference",
    "placed_at": "ordered_at",
    "paid_at": "paid_at",
    "updated_at": "modified_at",
    "weight": "weight",
    "gift": "gift",
}
