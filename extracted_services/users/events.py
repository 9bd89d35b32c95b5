"""The domain events the service publishes, each inside the transaction that makes it true."""

from typing import Any

from migration_tools.messaging import outbox

from .models import Person


def user_registered(person: Person) -> None:
    """Publish `user.registered`; call inside the `atomic()` that made the row."""
    _publish("user.registered", person)


def user_renamed(person: Person) -> None:
    """Publish `user.renamed`; call inside `atomic()`, behind the row's lock."""
    _publish("user.renamed", person)


def facts(person: Person) -> dict[str, Any]:
    """What others keep of a customer."""
    return {"user_id": person.pk, "name": person.name, "version": person.version}


def _publish(event_type: str, person: Person) -> None:
    outbox.publish(event_type, aggregate_type="user", aggregate_id=person.pk, payload=facts(person), stream="users")
