"""Which further issuers of identity a setting may name: who they are, and where their keys are published."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

WHERE = "MIGRATION_TOOLS['IDENTITY_ISSUERS']"


def issuer_mistakes(issuers: Any, *, signed: bool, monolith: object, own: object) -> Iterator[str]:
    """Everything wrong with IDENTITY_ISSUERS, in sentences that say what mends it.

    Args:
        issuers: issuer → URL of its JWKS.
        signed: whether IDENTITY is "signed", the only way by which tokens are believed.
        monolith: IDENTITY_ISSUER, whose tokens count beside a session alone.
        own: the name this side signs tokens of API clients by; None when it signs none.
    """
    if not signed and (issuers or own is not None):
        yield f"{WHERE} or ['IDENTITY_API_AUDIENCE'] is set, but no token is believed; set IDENTITY to 'signed'"
    if own is not None and own == monolith:
        yield (
            f"MIGRATION_TOOLS['IDENTITY_API_AUDIENCE'] is set at {own!r}, whose name is the issuer of sessions' tokens;"
            " set it at a service with a SIDE of its own"
        )
    if not isinstance(issuers, Mapping):
        yield f"{WHERE} is {type(issuers).__name__}; it must be a dict of issuers and the URLs of their JWKS"
        return
    seen: dict[str, str] = {}
    for name, url in issuers.items():
        if not isinstance(name, str) or not name:
            yield f"{WHERE} names the issuer {name!r}; use the text that its tokens have as 'iss'"
            continue
        if name == monolith:
            yield f"{WHERE} names {name!r}, whose tokens count beside its sessions alone; remove it"
        if name == own:
            yield f"{WHERE} names {name!r}, which is this side: it knows its own keys; remove it"
        if not isinstance(url, str) or not _is_url(url):
            yield (
                f"{WHERE}[{name!r}] is {url!r}; it must be the URL of its JWKS without user, query or fragment, as "
                "'http://users.internal/.well-known/jwks.json'"
            )
        elif (other := seen.setdefault(url, name)) != name:
            # Each could sign for the other.
            yield f"{WHERE} has one URL for {other!r} and {name!r}; give each issuer keys of its own"


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    return usable and len(parts.path) > 1 and not (parts.query or parts.fragment or parts.username or parts.password)
