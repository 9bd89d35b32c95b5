"""The keys that tokens are signed with, by the name each has of itself, and the document that publishes them.

Note [keys of tokens]. Without IDENTITY_KEYS the keys are derived from Django's SECRET_KEY and SECRET_KEY_FALLBACKS, so
they are rotated as those are: the new key signs from the first request on, tokens under the old one are honoured until
its fallback is removed. Whoever knows SECRET_KEY is every user already. Tokens of API clients are signed by keys of
another purpose, so that two sides that share a secret do not share a key. A key's name is its RFC 7638 thumbprint, so
that two keys never share one and nobody has to make names up.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.conf import settings as django_settings
from jwt.algorithms import ECAlgorithm

from migration_tools.conf import settings
from migration_tools.errors import SettingsError

ALGORITHM = "ES256"
# The order of the group of P-256: a private key is a number from 1 below it.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# 16 bytes more than the order, so that the remainder is as good as even.
_MATERIAL_BYTES = 48
# What a derived key is for.
SESSIONS = b"strangler.identity/1"
API = b"strangler.identity.api/1"
_USE = {"use": "sig", "alg": ALGORITHM}
_KEYS_AT_MOST = 32


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """A private key and the name it is published under."""

    kid: str
    private: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """A published key: what a service checks signatures by."""

    kid: str
    public: ec.EllipticCurvePublicKey


def signing_keys(purpose: bytes = SESSIONS) -> tuple[SigningKey, ...]:
    """This side's keys, those of IDENTITY_KEYS or derived for `purpose`; the first signs, all are published.

    Raises:
        SettingsError: an entry of IDENTITY_KEYS is no private key for ES256.
    """
    pems = tuple(settings().IDENTITY_KEYS)
    if pems:
        return _from_pems(pems)
    secrets = (django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS)
    return tuple(derived_key(secret, purpose) for secret in secrets)


def key_document(keys: Sequence[SigningKey]) -> dict[str, Any]:
    """The JWKS document (RFC 7517) of these keys' public halves."""
    return {"keys": [{**_jwk(key.private.public_key()), "kid": key.kid, **_USE} for key in keys]}


def parse_keys(document: object) -> dict[str, PublicKey]:
    """Read a JWKS document; keys of other kinds are left out, so that no other algorithm can ever be chosen.

    Raises:
        ValueError: it is no JWKS document.
    """
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise ValueError("it has no list of keys")
    found = {}
    for item in keys[:_KEYS_AT_MOST]:
        if not isinstance(item, dict) or (item.get("kty"), item.get("crv")) != ("EC", "P-256") or "d" in item:
            continue
        if item.get("alg", ALGORITHM) != ALGORITHM or item.get("use", "sig") != "sig":
            continue
        try:
            public = ECAlgorithm.from_jwk(item)
        except jwt.InvalidKeyError:
            continue
        if isinstance(public, ec.EllipticCurvePublicKey):
            kid = str(item.get("kid") or thumbprint(public))
            found[kid] = PublicKey(kid=kid, public=public)
    return found


def thumbprint(public: ec.EllipticCurvePublicKey) -> str:
    """A key's name by RFC 7638."""
    members = {name: value for name, value in _jwk(public).items() if name in ("crv", "kty", "x", "y")}
    digest = hashlib.sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).digest()
    return jwt.utils.base64url_encode(digest).decode()


@lru_cache(maxsize=8)
def derived_key(secret: str | bytes, purpose: bytes = SESSIONS) -> SigningKey:
    """The key that belongs to a secret and a purpose: the same one on every process that knows it."""
    material = HKDF(algorithm=SHA256(), length=_MATERIAL_BYTES, salt=None, info=purpose).derive(
        secret.encode() if isinstance(secret, str) else secret
    )
    private = ec.derive_private_key(int.from_bytes(material) % (_ORDER - 1) + 1, ec.SECP256R1())
    return SigningKey(kid=thumbprint(private.public_key()), private=private)


@lru_cache(maxsize=4)
def _from_pems(pems: tuple[str, ...]) -> tuple[SigningKey, ...]:
    found = []
    for number, pem in enumerate(pems, 1):
        try:
            private = load_pem_private_key(pem.encode(), password=None)
        except (ValueError, TypeError) as error:
            raise SettingsError(
                f"key {number} of MIGRATION_TOOLS['IDENTITY_KEYS'] cannot be read; make one with: openssl genpkey "
                "-algorithm EC -pkeyopt ec_paramgen_curve:P-256"
            ) from error
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
            raise SettingsError(f"key {number} of MIGRATION_TOOLS['IDENTITY_KEYS'] is not of the curve P-256")
        found.append(SigningKey(kid=thumbprint(private.public_key()), private=private))
    return tuple(found)


def _jwk(public: ec.EllipticCurvePublicKey) -> dict[str, Any]:
    found: dict[str, Any] = ECAlgorithm.to_jwk(public, as_dict=True)
    return found
