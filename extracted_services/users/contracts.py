"""What the users' events carry; `strangle_contracts check` holds it to what was released."""

from __future__ import annotations

import uuid
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


@event("user.known", stream="users")
@dataclass(frozen=True, kw_only=True)
class UserKnown:
    """Under which id somebody is known outside; it never changes."""

    user_id: int
    public_id: uuid.UUID
