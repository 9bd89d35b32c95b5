"""Signing up: the one place that makes a customer."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from legacy_monolith.accounts.models import User


class EmailTaken(Exception):
    """Somebody signed up with this e-mail address before."""

    def __init__(self, email: str) -> None:
        super().__init__(f"the e-mail address {email!r} is taken; log in or use another one")
        self.email = email


def register(*, email: str, password: str, first_name: str, last_name: str) -> User:
    """Create a customer.

    Raises:
        EmailTaken: also when two visitors ask for the same address at the same moment.
    """
    try:
        with transaction.atomic():
            return User.objects.create_user(email, password, first_name=first_name, last_name=last_name)
    except IntegrityError as error:
        raise EmailTaken(email) from error
