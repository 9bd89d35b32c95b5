"""Keeps accounts.User.last_order up to date: a sin, since bulk and raw writers never pass here."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_save
from django.dispatch import receiver

from legacy_monolith.accounts.models import User
from legacy_monolith.orders.models import Order


@receiver(post_save, sender=Order, dispatch_uid="remember_last_order")
def remember_last_order(instance: Order, created: bool, raw: bool, **kwargs: Any) -> None:
    if created and not raw:
        User.objects.filter(pk=instance.user_id).update(last_order=instance)
