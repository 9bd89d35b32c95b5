"""Tokens of API clients, sent as `Authorization: Bearer`: signed by a side of its own name, believed where it is named.

Note [bearer or cookies]. A browser sends cookies on its own, so who is known by them must show a CSRF token; it sends
no Bearer token on its own, so who is known by that need not. A request that showed both could have the one's user and
the other's freedom. So the header decides alone: where tokens of API clients are believed, a request with a Bearer
header is its token's user or nobody, whatever its cookies say, and its answer leaves the identity cookie alone.
"""

import json
import logging
import time

from django.http import HttpRequest

from migration_tools.conf import settings
from migration_tools.routing.identity import tokens
from migration_tools.routing.identity.keyring import Keyring, keyring_of
from migration_tools.routing.identity.keys import API, key_document, signing_keys
from migration_tools.routing.identity.user import StranglerUser

log = logging.getLogger(__name__)


def issue_for_api(user: StranglerUser) -> str:
    """A token for those that IDENTITY_API_AUDIENCE names, signed in the name of this side; good for
    IDENTITY_LIFE_SECONDS."""
    conf = settings()
    return tokens.sign_for_api(
        user,
        key=signing_keys(API)[0],
        issuer=conf.SIDE,
        audience=tuple(conf.IDENTITY_API_AUDIENCE),
        life_seconds=conf.IDENTITY_LIFE_SECONDS,
    )


def bearer_token(request: HttpRequest) -> str | None:
    """The Bearer token of a request, empty if there is only the word; None where none is shown, or none is believed."""
    conf = settings()
    if not (conf.IDENTITY_ISSUERS or conf.IDENTITY_API_AUDIENCE):
        return None
    scheme, _, text = request.headers.get("Authorization", "").strip().partition(" ")
    return text.strip() if scheme.lower() == "bearer" else None


def bearer_user(text: str) -> StranglerUser | None:
    """Whose token it is; None when it is not to be believed, the log says why.

    Only key and name are taken over: a further issuer makes nobody one of the staff.

    Raises:
        Unreachable: its issuer's keys are not known yet, and cannot be asked for.
    """
    try:
        issuer = tokens.claimed_issuer(text)
        token = _keyring(issuer).read(text, issuer=issuer, audience=settings().SIDE, kind=tokens.API_TYPE)
    except tokens.InvalidToken as error:
        log.info("a bearer token is not believed: %s", error)
        return None
    if token.expired_for(time.time()) >= 0:
        return None
    return StranglerUser(pk=token.user.pk, name=token.user.name)


def _keyring(issuer: str) -> Keyring:
    conf = settings()
    if conf.IDENTITY_API_AUDIENCE and issuer == conf.SIDE:
        return keyring_of(json.dumps(key_document(signing_keys(API))))
    if issuer not in conf.IDENTITY_ISSUERS:
        raise tokens.InvalidToken(f"issuer {issuer!r} is not in IDENTITY_ISSUERS")
    return keyring_of(conf.IDENTITY_ISSUERS[issuer])
