"""What the monolith says of customers; `strangle_contracts check` holds it and the service to the same."""

from __future__ import annotations

from dataclasses import dataclass

from migration_tools.contracts.declaration import event


@event("user.registered", stream="users")
@dataclass(frozen=True, kw_only=True)
class UserRegistered:
    """Somebody signed up."""

    user_id: int
    name: str
    version: int


@event("user.renamed", stream="users")
@dataclass(frozen=True, kw_only=True)
class UserRenamed:
    """Somebody is called otherwise from now on."""

    user_id: int
    name: str
    version: int = 0


@event("user.deleted", stream="users")
@dataclass(frozen=True, kw_only=True)
class UserDeleted:
    """Somebody is a customer no more."""

    user_id: int
    version: int
