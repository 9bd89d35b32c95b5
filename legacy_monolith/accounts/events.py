"""The domain events of customers, published in the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models.signals import pre_delete
from django.dispatch import receiver

from migration_tools.messaging.outbox import publish

if TYPE_CHECKING:
    from legacy_monolith.accounts.models import User


def user_registered(user: User) -> None:
    _publish("user.registered", user.pk, facts(user))


def user_renamed(user: User) -> None:
    _publish("user.renamed", user.pk, facts(user))


def facts(user: User) -> dict[str, Any]:
    """What others keep of a customer."""
    return {"user_id": user.pk, "name": user.name, "version": user.version}


@receiver(pre_delete, sender="accounts.User", dispatch_uid="user_deleted")
def user_deleted(instance: User, **kwargs: Any) -> None:
    """Tell that somebody goes, behind the row's lock; Django's deletions, one by one or many, all come by here."""
    locked = type(instance)._base_manager.select_for_update().filter(pk=instance.pk).first()
    if locked is not None:
        _publish("user.deleted", locked.pk, {"user_id": locked.pk, "version": locked.version + 1})


def _publish(event_type: str, user: int, payload: dict[str, Any]) -> None:
    publish(event_type, aggregate_type="user", aggregate_id=user, payload=payload, stream="users")
