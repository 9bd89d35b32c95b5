"""Who sent this request, as a service finds it out: once a request, by the way that IDENTITY names.

Note [how long a logout takes]. A token is good for IDENTITY_LIFE_SECONDS and only beside the session cookie it was made
for. A browser that logged out shows no session and is nobody at once. Somebody who copied both cookies before is known
until the token ends, and then the monolith is asked, which knows that the session is gone. Only while the monolith
cannot be asked at all is an ended token believed, for IDENTITY_GRACE_SECONDS more: a service does not log out
everybody because the monolith restarts. Nor is a visitor who talks to the service alone ever logged out by that: the
service asks for a new token by itself, and hands it to the browser with its answer.
"""

import hmac
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings as django_settings
from django.http import HttpRequest

from migration_tools.conf import settings
from migration_tools.errors import SettingsError
from migration_tools.routing.identity.inquiry import Unreachable
from migration_tools.routing.identity.user import StranglerUser, describe

if TYPE_CHECKING:
    from migration_tools.routing.identity.tokens import Token

log = logging.getLogger(__name__)

COOKIE = "sx_identity"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Who it is, and what the answer has to do with the cookie: set `renewed`, or take it away.

    `bearer` says that the request's Bearer token was asked and no cookie, see Note [bearer or cookies].
    """

    user: StranglerUser | None
    renewed: str | None = None
    forget: bool = False
    bearer: bool = False


def identify(request: HttpRequest) -> StranglerUser | None:
    """Who sent this request according to the monolith or an issuer of IDENTITY_ISSUERS; None for strangers.

    Cookies are sent by browsers on their own: an unsafe request needs CSRF protection as well,
    unless `finding` says `bearer`.

    Raises:
        Unreachable: it cannot be known now; answer 503, not 401.
        SettingsError: IDENTITY names no way.
    """
    found: Finding | None = getattr(request, "_strangler_identity", None)
    if found is None:
        found = _find(request)
        request._strangler_identity = found  # type: ignore[attr-defined]
    return found.user


def finding(request: HttpRequest) -> Finding | None:
    """What `identify` found; None when nobody asked."""
    return getattr(request, "_strangler_identity", None)


def _find(request: HttpRequest) -> Finding:
    session_key = request.COOKIES.get(django_settings.SESSION_COOKIE_NAME, "")
    match settings().IDENTITY:
        case "signed":
            return _by_bearer(request) or _by_token(request, session_key)
        case "session":
            return _by_session(session_key)
        case other:
            raise SettingsError(f"MIGRATION_TOOLS['IDENTITY'] is {other!r}; set it to 'signed' or 'session'")


def _by_bearer(request: HttpRequest) -> Finding | None:
    from migration_tools.routing.identity.bearer import bearer_token, bearer_user

    text = bearer_token(request)
    return None if text is None else Finding(user=bearer_user(text), bearer=True)


def _by_session(session_key: str) -> Finding:
    from migration_tools.routing.identity.sessions import session_user

    user = session_user(session_key) if session_key else None
    return Finding(user=describe(user) if user is not None else None)


def _by_token(request: HttpRequest, session_key: str) -> Finding:
    from migration_tools.routing.identity import tokens
    from migration_tools.routing.identity.renewal import renewals

    text = request.COOKIES.get(COOKIE, "")
    if not session_key:
        return Finding(user=None, forget=bool(text))
    token = _read(text) if text else None
    if token is not None and not hmac.compare_digest(token.session, tokens.session_mark(session_key)):
        token = None  # of a session before: somebody else may have logged in since
    if token is not None and token.expired_for(time.time()) < 0:
        return Finding(user=token.user)
    if not settings().IDENTITY_URL:
        return Finding(user=None, forget=bool(text))
    try:
        renewed = renewals.token(session_key, secure=bool(request.is_secure()))
    except Unreachable as error:
        if token is not None and token.expired_for(time.time()) < settings().IDENTITY_GRACE_SECONDS:
            log.warning("an ended token is believed for a while: %s", error)
            return Finding(user=token.user)
        raise
    fresh = _read(renewed) if renewed else None
    if renewed and fresh is None:
        raise Unreachable("the monolith gave a token that this side cannot believe; see the log for why")
    return Finding(user=fresh.user if fresh else None, renewed=renewed, forget=bool(text) and renewed is None)


def _read(text: str) -> "Token | None":
    from migration_tools.routing.identity import tokens
    from migration_tools.routing.identity.keyring import keyring

    conf = settings()
    try:
        return keyring().read(text, issuer=conf.IDENTITY_ISSUER, audience=conf.SIDE)
    except tokens.InvalidToken as error:
        log.info("an identity token is not believed: %s", error)
        return None
