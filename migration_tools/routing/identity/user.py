"""A user of the monolith as a service sees them, without a table of users."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from migration_tools.conf import settings

UserKey = int | str


@dataclass(frozen=True, kw_only=True)
class StranglerUser:
    """The key and what IDENTITY_CLAIMS says of a user; no row, no permissions beyond `is_staff`.

    `claims` holds what is declared besides `name` and `is_staff`.
    """

    pk: UserKey
    name: str = ""
    is_staff: bool = False
    claims: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def id(self) -> UserKey:
        return self.pk

    @property
    def is_authenticated(self) -> Literal[True]:
        return True

    @property
    def is_anonymous(self) -> Literal[False]:
        return False

    @property
    def is_active(self) -> Literal[True]:
        return True

    def get_username(self) -> str:
        return str(self.pk)

    def get_full_name(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name or str(self.pk)

    def document(self) -> dict[str, Any]:
        """As JSON values: what a token says."""
        return {"uid": self.pk, "name": self.name, "is_staff": self.is_staff, **self.claims}


def parse_user(document: Mapping[str, Any]) -> StranglerUser:
    """Read what `document` wrote; claims that IDENTITY_CLAIMS does not declare here are left out.

    Raises:
        ValueError: the key is missing or neither a number nor a text.
    """
    key = document.get("uid")
    if isinstance(key, bool) or not isinstance(key, int | str) or key == "":
        raise ValueError(f"the user's key is {key!r}")
    wanted = settings().IDENTITY_CLAIMS.keys() - {"name", "is_staff"}
    return StranglerUser(
        pk=key,
        name=str(document.get("name", "")),
        is_staff=document.get("is_staff") is True,
        claims={name: document[name] for name in sorted(wanted) if name in document},
    )


def describe(user: Any) -> StranglerUser:
    """What a service is told of a user of the monolith: their key, and the attributes that IDENTITY_CLAIMS names."""
    found = {claim: _attribute(user, path) for claim, path in settings().IDENTITY_CLAIMS.items()}
    key = user.pk
    return StranglerUser(
        pk=key if isinstance(key, int) else str(key),
        name=str(found.pop("name", "")),
        is_staff=found.pop("is_staff", False) is True,
        claims=dict(sorted(found.items())),
    )


def _attribute(user: Any, path: str) -> Any:
    """`profile.plan` or a method without arguments; what JSON has no word for becomes text."""
    value = user
    for name in path.split("."):
        value = getattr(value, name, None)
        value = value() if callable(value) else value
    return str(value) if isinstance(value, uuid.UUID) else value
