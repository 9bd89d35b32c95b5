"""What the gateway does when orders are told of; users and products are declared in `copies.py`."""

import datetime as dt
import uuid
from collections import Counter

from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles

from .models import OrderedLine


@handles("order.placed", stream="orders", versions=(1, 1))
def note_lines(envelope: Envelope) -> None:
    """Keep what was ordered, in the consumer's transaction; an order that is known already stays as it is."""
    _keep(envelope, placed_at=envelope.timestamp)


@handles("order.recorded", stream="orders", versions=(1, 1))
def note_history(envelope: Envelope) -> None:
    """Keep what was ordered before the gateway listened."""
    _keep(envelope, placed_at=dt.datetime.fromisoformat(envelope.payload["placed_at"]))


def _keep(envelope: Envelope, *, placed_at: dt.datetime) -> None:
    payload = envelope.payload
    quantities: Counter[int] = Counter()
    for line in payload["lines"]:
        quantities[line["product"]] += line["quantity"]
    OrderedLine.objects.bulk_create(
        [
            OrderedLine(
                order=uuid.UUID(payload["public_id"]), product=product, user=payload["user_id"], quantity=quantity,
                placed_at=placed_at.astimezone(dt.UTC),
            )
            for product, quantity in quantities.items()
        ],
        ignore_conflicts=True,
    )  # fmt: skip
