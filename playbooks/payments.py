"""The payments context: the money of each order. Steps follow by events, whoever owns the payments."""

from django.db.models import F, Value

from migration_tools.playbook import Playbook, Projection, Route, SumEqual
from playbooks.evidence import gates as gates_of
from playbooks.money import cents, money


class Payments(Playbook):
    """One table moves; orders are known by number, so it matters not where they are."""

    context = "payments"
    source = "default"
    target = "payments"
    projections = [
        Projection(
            "payments.Payment",
            into="billing_payment",
            key={"id": "id"},
            columns={
                "order_number": "order_id",
                "order_public_id": "order_public_id",
                "payer_id": "payer_id",
                "amount_cents": cents("amount"),
                "status": "status",
                "authorised_at": "created_at",
                "changed_at": "updated_at",
            },
            reverse={"amount": money("amount_cents")},
        ),
    ]
    routes = [Route("/api/payments", service="payments")]
    invariants = [SumEqual("billing_payment", source=F("amount") * Value(100), target="amount_cents")]
    gates = gates_of(context)
