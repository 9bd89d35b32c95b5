"""Tokens as the monolith signs them, for tests that stand before a service; and forged ones."""

import json

from migration_tools.routing.identity.keys import derived_key, key_document
from migration_tools.routing.identity.tokens import sign
from migration_tools.routing.identity.user import StranglerUser

SECRET = "the key of the monolith of these tests"
SESSION = "s" * 32


def jwks(*secrets: str) -> str:
    """The document that publishes the keys of these secrets."""
    return json.dumps(key_document([derived_key(secret) for secret in secrets or (SECRET,)]))


def token(
    uid: int,
    name: str,
    *,
    secret: str = SECRET,
    session: str = SESSION,
    issuer: str = "monolith",
    audience: tuple[str, ...] = ("orders",),
    life_seconds: int = 300,
) -> str:
    """A token for a customer; every part may be wrong."""
    user = StranglerUser(pk=uid, name=name)
    key = derived_key(secret)
    return sign(user, session, key=key, issuer=issuer, audience=audience, life_seconds=life_seconds)


def cookies(uid: int, name: str) -> dict[str, str]:
    """What a logged-in browser shows."""
    return {"sx_identity": token(uid, name), "sessionid": SESSION}
