"""The token: a JWT signed with ES256 that says who is logged in, in which session, for whom, and for how long.

One of an API client is of no session, and of a type of its own: none of the two is ever taken for the other.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt

from migration_tools.routing.identity.keys import ALGORITHM, PublicKey, SigningKey
from migration_tools.routing.identity.user import StranglerUser, parse_user

# A type of its own: a JWT that was signed with the same key for something else is no token of ours.
TYPE = "sx-identity+jwt"
API_TYPE = "sx-api+jwt"
# What there must be in a token of each type.
_REQUIRED = ["exp", "iat", "iss", "aud", "sub"]
REQUIRED = {TYPE: [*_REQUIRED, "sid"], API_TYPE: _REQUIRED}
# How far the clocks of two sides may differ.
LEEWAY_SECONDS = 5
LENGTH_AT_MOST = 4096


class InvalidToken(Exception):
    """Not a token that this side may believe; the message says why, for the log."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """A genuine token's content; it may have expired. An API client's has no session."""

    user: StranglerUser
    session: str
    issued: int
    expires: int

    def expired_for(self, now: float) -> float:
        """Seconds since it expired; below zero while it is good."""
        return now - self.expires


def session_mark(session_key: str) -> str:
    """What a token says of the session it was made for; nobody gets the session's key from it."""
    return hashlib.sha256(f"strangler.session:{session_key}".encode()).hexdigest()[:32]


def sign(
    user: StranglerUser, session_key: str, *, key: SigningKey, issuer: str, audience: tuple[str, ...], life_seconds: int
) -> str:
    """Make a token of a session that begins now."""
    said = {**user.document(), "sub": str(user.pk), "sid": session_mark(session_key)}
    return _encode(said, TYPE, key, issuer, audience, life_seconds)


def sign_for_api(
    user: StranglerUser, *, key: SigningKey, issuer: str, audience: tuple[str, ...], life_seconds: int
) -> str:
    """Make a token of an API client that begins now; of the user it says key and name alone."""
    said = {"uid": user.pk, "name": user.name, "sub": str(user.pk)}
    return _encode(said, API_TYPE, key, issuer, audience, life_seconds)


def _encode(
    said: dict[str, Any], kind: str, key: SigningKey, issuer: str, audience: tuple[str, ...], life_seconds: int
) -> str:
    now = int(time.time())
    claims = {
        **said,
        "iss": issuer,
        "aud": list(audience),
        "iat": now,
        "exp": now + life_seconds,
    }
    return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.kid, "typ": kind})


def claimed_issuer(text: str) -> str:
    """Who the token says has signed it: it picks the keys that it is then checked by, and says nothing else.

    Raises:
        InvalidToken: it is no token, or says nobody.
    """
    if len(text) > LENGTH_AT_MOST:
        raise InvalidToken("too long")
    try:
        issuer = jwt.decode(text, options={"verify_signature": False}).get("iss")
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise InvalidToken(f"{type(error).__name__}: {error}") from error
    if not isinstance(issuer, str):
        raise InvalidToken("no issuer")
    return issuer


def read(
    text: str, *, find: Callable[[str], PublicKey | None], issuer: str, audience: str | None, kind: str = TYPE
) -> Token:
    """Read a token that this key ring's owner signed for `audience`; whether it has expired is the caller's to judge.

    With no `audience`, any is right: the issuer looking at its own.

    Raises:
        InvalidToken: forged, malformed, of another algorithm, type, issuer or audience, not begun, or under an
            unknown key.
    """
    if len(text) > LENGTH_AT_MOST:
        raise InvalidToken("too long")
    try:
        header = jwt.get_unverified_header(text)
        if (header.get("alg"), header.get("typ")) != (ALGORITHM, kind):
            raise InvalidToken(f"algorithm {header.get('alg')!r}, type {header.get('typ')!r}")
        key = find(str(header.get("kid", "")))
        if key is None:
            raise InvalidToken("unknown key")
        claims: dict[str, Any] = jwt.decode(
            text,
            key.public,
            algorithms=[ALGORITHM],
            issuer=issuer,
            audience=audience,
            leeway=LEEWAY_SECONDS,
            options={
                "require": REQUIRED[kind],
                "verify_exp": False,
                "verify_aud": audience is not None,
            },
        )
        return Token(
            user=parse_user(claims),
            session=str(claims.get("sid", "")),
            issued=int(claims["iat"]),
            expires=int(claims["exp"]),
        )
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        raise InvalidToken(f"{type(error).__name__}: {error}") from error
