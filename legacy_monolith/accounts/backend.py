"""Logging in, and whose session it is, wherever the customers are."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import update_last_login
from django.db import OperationalError, transaction
from django.http import HttpRequest

from legacy_monolith.accounts import directory
from legacy_monolith.accounts.models import User
from migration_tools.capture.ownership import owned_here
from migration_tools.routing.middleware import is_fenced


class CustomersBackend(ModelBackend):
    """Passwords are checked by whoever owns the customers; sessions read the table here, be it the rows or a copy."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """The customer with this e-mail address and password.

        Raises:
            directory.NotNow: nobody can tell at the moment.
        """
        if username is None or password is None:
            return None

        def here() -> User | None:
            found = super(CustomersBackend, self).authenticate(request, username=username, password=password, **kwargs)
            return found if isinstance(found, User) else None

        return directory.ask(here, lambda: directory.recognise(username, password))

    def get_user(self, user_id: int) -> User | None:
        """The session's customer. Who has just signed up at the service may not be in the copy yet."""
        found = super().get_user(user_id)
        if found is None and not owned_here(directory.CONTEXT):
            found = directory.account(user_id)
        return found if isinstance(found, User) else None


def note_login(sender: type[User], user: User, **kwargs: Any) -> None:
    """Keep `last_login` where it is ours; the service does so itself. One that meets a hand-over is not worth a 503."""
    try:
        with transaction.atomic():
            if owned_here(directory.CONTEXT):
                update_last_login(sender, user)
    except OperationalError as error:
        if not is_fenced(error):
            raise
