"""What a customer is called now, as events: for who begins to follow names after some of them had changed."""

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
