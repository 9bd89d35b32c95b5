"""The domain events of customers, published in the caller's transaction."""

from typing import Any

from django.db.models.signals import pre_delete
from django.dispatch import receiver

from legacy_monolith.accounts.models import User
from legacy_monolith.told import told
from migration_tools.messaging.outbox import publish


@receiver(told, sender=User, dispatch_uid="user_told")
def user_told(instance: User, *, made: bool, **kwargs: Any) -> None:
    _publish("user.registered" if made else "user.renamed", instance.pk, facts(instance))


def facts(user: User) -> dict[str, Any]:
    """What others keep of a customer."""
    return {"user_id": user.pk, "name": user.name, "version": user.version}


@receiver(pre_delete, sender=User, dispatch_uid="user_deleted")
def user_deleted(instance: User, **kwargs: Any) -> None:
    """Tell that somebody goes, behind the row's lock; Django's deletions, one by one or many, all come by here."""
    locked = type(instance)._base_manager.select_for_update().filter(pk=instance.pk).first()
    if locked is not None:
        _publish("user.deleted", locked.pk, {"user_id": locked.pk, "version": locked.version + 1})


def _publish(event_type: str, user: int, payload: dict[str, Any]) -> None:
    publish(event_type, aggregate_type="user", aggregate_id=user, payload=payload, stream="users")
