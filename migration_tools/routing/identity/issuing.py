"""The monolith's own tokens: made for a user and a session, and judged whether they still say what is so."""

import hmac
import time

from migration_tools.conf import settings
from migration_tools.routing.identity import tokens
from migration_tools.routing.identity.keys import PublicKey, signing_keys
from migration_tools.routing.identity.user import StranglerUser


def issue(user: StranglerUser, session_key: str) -> str:
    """A token for the services that IDENTITY_AUDIENCE names; without it, for those that FEED_TOKENS names."""
    conf = settings()
    return tokens.sign(
        user,
        session_key,
        key=signing_keys()[0],
        issuer=conf.IDENTITY_ISSUER,
        audience=tuple(conf.IDENTITY_AUDIENCE) or tuple(conf.FEED_TOKENS),
        life_seconds=conf.IDENTITY_LIFE_SECONDS,
    )


def is_current(text: str, user: StranglerUser, session_key: str) -> bool:
    """Whether a token is this user's, of this session, under the key that signs now, and in the first half of its
    life."""
    conf, key = settings(), signing_keys()[0]

    def find(kid: str) -> PublicKey | None:
        return PublicKey(kid=kid, public=key.private.public_key()) if kid == key.kid else None

    try:
        token = tokens.read(text, find=find, issuer=conf.IDENTITY_ISSUER, audience=None)
    except tokens.InvalidToken:
        return False
    return (
        token.user == user
        and hmac.compare_digest(token.session, tokens.session_mark(session_key))
        and time.time() - token.issued < conf.IDENTITY_LIFE_SECONDS / 2
    )
