"""The domain events the service publishes, each inside the transaction that makes it true."""

from migration_tools.messaging import outbox

from .models import Person


def user_renamed(person: Person) -> None:
    """Publish `user.renamed`; call inside `atomic()`, behind the row's lock."""
    outbox.publish(
        "user.renamed",
        aggregate_type="user",
        aggregate_id=person.pk,
        payload={"user_id": person.pk, "name": person.name},
        stream="users",
    )
