"""Signing up: the one place that makes a customer."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from legacy_monolith.accounts import directory
from legacy_monolith.accounts.models import User


class EmailTaken(Exception):
    """Somebody signed up with this e-mail address before."""

    def __init__(self, email: str) -> None:
        super().__init__(f"the e-mail address {email!r} is taken; log in or use another one")
        self.email = email


def register(*, email: str, password: str, first_name: str, last_name: str) -> User:
    """Create a customer, here or in the users service.

    Raises:
        EmailTaken: also when two visitors ask for the same address at the same moment.
        directory.Invalid: the service does not take what it was told.
        directory.NotNow: nobody takes it at the moment.
        directory.Unanswered: the service may have made the customer or not.
    """

    def here() -> User:
        with transaction.atomic():
            return User.objects.create_user(email, password, first_name=first_name, last_name=last_name)

    def there() -> User:
        return directory.register(email=email, password=password, first_name=first_name, last_name=last_name)

    try:
        return directory.ask(here, there)
    except IntegrityError as error:
        raise EmailTaken(email) from error
    except directory.Invalid as error:
        # An address of the wrong form does not come so far.
        if set(error.get_codes()) != {"email"}:
            raise
        raise EmailTaken(email) from error
