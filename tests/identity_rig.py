"""Tokens as the monolith signs them, for tests that stand before a service; and forged ones."""

import json
from typing import Any

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
    staff: bool = False,
) -> str:
    """A token for a customer; every part may be wrong."""
    user = StranglerUser(pk=uid, name=name, is_staff=staff)
    key = derived_key(secret)
    return sign(user, session, key=key, issuer=issuer, audience=audience, life_seconds=life_seconds)


def cookies(uid: int, name: str, **further: Any) -> dict[str, str]:
    """What a logged-in browser shows; `further` is what `token` takes."""
    return {"sx_identity": token(uid, name, **further), "sessionid": SESSION}
