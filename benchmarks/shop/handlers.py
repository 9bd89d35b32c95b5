"""What the service does with an event: one row, in the consumer's transaction."""

from django.db import connections

from migration_tools.conf import settings
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles


@handles("bench.placed", stream="bench")
@handles("bench.placed", stream="bench_more")
def placed(event: Envelope) -> None:
    """Keep the event's id."""
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute("INSERT INTO bench_handled (event) VALUES (%s)", [event.event_id])
