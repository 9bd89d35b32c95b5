"""What a customer is called now, and their id, as events: for who begins to follow them after the first events."""

from migration_tools.projections.state_events import publishes_state

from . import events
from .models import Person

publishes_state(
    "user.renamed",
    stream="users",
    aggregate_type="user",
    queryset=Person.objects.all,
    aggregate_id=lambda person: str(person.pk),
    payload=events.facts,
)

publishes_state(
    "user.known",
    stream="users",
    aggregate_type="user",
    queryset=Person.objects.all,
    aggregate_id=lambda person: str(person.pk),
    payload=events.known,
)
