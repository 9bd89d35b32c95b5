"""What its application does: `python -m benchmarks.messaging.peer.drive EVENTS` publishes; `handle` takes an event."""

import sys
from typing import Any

DESTINATION = "/topic/bench.v1"


def handle(payload: Any) -> None:
    """Keep the event in its inbox, in a transaction, as its documentation does."""
    from django.db import transaction

    with transaction.atomic():
        payload.save()


def publish(events: int) -> None:
    """Write so many events into its outbox, in one transaction."""
    import django

    django.setup()
    from django_outbox_pattern.headers import get_message_headers
    from django_outbox_pattern.models import Published

    made = [Published(destination=DESTINATION, body={"order_id": n, "total": "19.90"}) for n in range(events)]
    for each in made:
        each.headers = get_message_headers(each)  # what its save() does
    Published.objects.bulk_create(made)


if __name__ == "__main__":
    publish(int(sys.argv[1]))
