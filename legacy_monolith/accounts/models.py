"""The customer, who signs in by e-mail address."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.db import models

from legacy_monolith.told import Told


class UserManager(BaseUserManager):
    """Creates customers by e-mail address, since there is no username."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=email.lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractUser, Told):
    """A customer of the shop."""

    username = None  # type: ignore[assignment]
    email = models.EmailField(unique=True)
    # A sin: accounts knows orders, orders knows accounts; a signal in orders keeps this up to date.
    last_order = models.ForeignKey("orders.Order", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")

    objects = UserManager()  # type: ignore[assignment]

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = []
    TOLD: ClassVar = ("first_name", "last_name")

    @property
    def name(self) -> str:
        return self.get_full_name()

    def get_full_name(self) -> str:
        """Join the names as SQL would: unlike Django's own, no outer space is stripped."""
        return f"{self.first_name} {self.last_name}"
