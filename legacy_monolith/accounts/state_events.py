"""What customers are called now, as events: for who begins to follow names after some had signed up."""

from legacy_monolith.accounts import events
from legacy_monolith.accounts.models import User
from migration_tools.projections.state_events import publishes_state

publishes_state(
    "user.renamed",
    stream="users",
    aggregate_type="user",
    queryset=User.objects.all,
    aggregate_id=lambda user: str(user.pk),
    payload=events.facts,
)
