"""The domain events the service publishes, each inside the transaction that makes it true."""

from typing import Any

from migration_tools.messaging import outbox

from .models import Person, PublicId


def user_registered(person: Person) -> None:
    """Publish `user.registered`; call inside the `atomic()` that made the row."""
    _publish("user.registered", person, facts(person))


def user_renamed(person: Person) -> None:
    """Publish `user.renamed`; call inside `atomic()`, behind the row's lock."""
    _publish("user.renamed", person, facts(person))


def user_known(person: Person) -> None:
    """Publish `user.known`: under which id somebody is spoken of; call inside `atomic()`, once the row is there."""
    _publish("user.known", person, known(person))


def facts(person: Person) -> dict[str, Any]:
    """What others keep of a customer."""
    return {"user_id": person.pk, "name": person.name, "version": person.version}


def known(person: Person) -> dict[str, Any]:
    """Under which id somebody is known outside."""
    return {"user_id": person.pk, "public_id": str(PublicId.of(person.pk))}


def _publish(event_type: str, person: Person, payload: dict[str, Any]) -> None:
    outbox.publish(event_type, aggregate_type="user", aggregate_id=person.pk, payload=payload, stream="users")
