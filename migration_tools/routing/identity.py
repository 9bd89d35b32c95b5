"""The signed, short-lived cookie by which the monolith tells a service who is logged in."""

from dataclasses import dataclass
from typing import Any, Literal

from django.core import signing
from django.http import HttpRequest

from migration_tools.conf import settings
from migration_tools.errors import SettingsError

COOKIE = "strangler_identity"
SALT = "strangler.identity"
LIFE_SECONDS = 3600
REFRESH_SECONDS = LIFE_SECONDS // 2


@dataclass(frozen=True, kw_only=True)
class StranglerUser:
    """A user of the monolith as a service sees them: no row, no permissions beyond `is_staff`."""

    pk: int
    name: str
    is_staff: bool = False

    @property
    def id(self) -> int:
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
        return self.name


def sign_identity(user: StranglerUser) -> str:
    """Make the cookie's value; anybody who knows IDENTITY_KEY can make one, nobody else."""
    document = {"uid": user.pk, "name": user.name, "staff": user.is_staff}
    return signing.dumps(document, key=_key(), salt=SALT, compress=True)


def verify_identity(value: str, *, max_age_seconds: int = LIFE_SECONDS) -> StranglerUser | None:
    """Read a cookie's value; None when it is forged, malformed or older than `max_age_seconds`."""
    try:
        document: Any = signing.loads(value, key=_key(), salt=SALT, max_age=max_age_seconds)
        return StranglerUser(pk=int(document["uid"]), name=str(document["name"]), is_staff=document["staff"] is True)
    except (signing.BadSignature, KeyError, TypeError, ValueError):
        return None


def read_identity(request: HttpRequest) -> StranglerUser | None:
    """Who sent this request according to the monolith; None for strangers.

    Cookies are sent by browsers on their own: an unsafe request needs CSRF protection as well.
    """
    value = request.COOKIES.get(COOKIE)
    return verify_identity(value) if value else None


def _key() -> str:
    key = settings().IDENTITY_KEY
    if not key:
        raise SettingsError(
            "MIGRATION_TOOLS['IDENTITY_KEY'] is empty; set the same secret in the monolith and every service"
        )
    return key
