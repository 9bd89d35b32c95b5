"""A service's view of an issuer's keys: fetched from its JWKS, kept for a while, asked again for an unknown key."""

import json
import logging
import threading
import time

from migration_tools.conf import settings
from migration_tools.routing.identity.inquiry import Unreachable, ask
from migration_tools.routing.identity.keys import PublicKey, parse_keys
from migration_tools.routing.identity.tokens import TYPE, Token, read

log = logging.getLogger(__name__)

# However many forged tokens name however many keys, the monolith is asked no more often than this.
ASK_EVERY_SECONDS = 5.0
# A signature costs a third of a millisecond to check, and a visitor shows the same token for minutes.
TOKENS_AT_MOST = 4096


class Keyring:
    """The keys of one JWKS, from its URL or as the document itself; threads share it."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._keys: dict[str, PublicKey] = {}
        self._believed: dict[tuple[str, str, str, str], Token] = {}
        self._fetched = self._asked = float("-inf")
        self._lock = threading.Lock()
        if source.lstrip().startswith("{"):
            self._keys, self._fetched = parse_keys(json.loads(source)), float("inf")

    def read(self, text: str, *, issuer: str, audience: str, kind: str = TYPE) -> Token:
        """Read a token, checking its signature once; whether it has expired is the caller's to judge.

        Raises:
            InvalidToken, Unreachable: as `tokens.read` and `find`.
        """
        if self._is_due():
            self._refresh()
        # Each refresh begins with an empty one, so that what was believed by a withdrawn key is not kept: neither what
        # is in it, nor what a thread is about to put there.
        believed, key = self._believed, (text, issuer, audience, kind)
        token = believed.get(key)
        if token is None:
            token = read(text, find=self.find, issuer=issuer, audience=audience, kind=kind)
            if len(believed) >= TOKENS_AT_MOST:
                believed.clear()
            believed[key] = token
        return token

    def find(self, kid: str) -> PublicKey | None:
        """The key of that name, or None when the monolith does not publish it.

        Raises:
            Unreachable: there is no key at all yet, and the monolith cannot be asked.
        """
        if self._is_due(lacking=kid not in self._keys):
            self._refresh()
        if not self._keys:
            raise Unreachable(f"no key of {self._source} is known yet")
        return self._keys.get(kid)

    def _is_due(self, *, lacking: bool = False) -> bool:
        now = time.monotonic()
        stale = now - self._fetched > settings().IDENTITY_KEYS_SECONDS
        return (stale or lacking) and now - self._asked > ASK_EVERY_SECONDS

    def _refresh(self) -> None:
        # With keys at hand nobody waits for somebody else's question.
        if not self._lock.acquire(blocking=not self._keys):
            return
        try:
            if self._fetched != float("inf") and time.monotonic() - self._asked > ASK_EVERY_SECONDS:
                self._fetch()
        finally:
            self._lock.release()

    def _fetch(self) -> None:
        try:
            status, document = ask(self._source)
            if status != 200:
                raise Unreachable(f"{self._source} answered {status}")
            self._keys = parse_keys(document)
            self._believed = {}
            self._fetched = time.monotonic()
        except (Unreachable, ValueError) as error:
            # The last keys stay: a monolith that is down for a while logs nobody out.
            log.warning("the keys of identity tokens are not renewed: %s", error)
        finally:
            self._asked = time.monotonic()


_rings: dict[str, Keyring] = {}


def keyring() -> Keyring:
    """The monolith's key ring: of IDENTITY_URL, or of the document in IDENTITY_JWKS."""
    conf = settings()
    return keyring_of(conf.IDENTITY_JWKS or f"{conf.IDENTITY_URL.rstrip('/')}/jwks.json")


def keyring_of(source: str) -> Keyring:
    """The key ring of a URL or a document; one for each in a process."""
    # Two threads may both make one; the second is dropped, and nothing is lost but a question.
    return _rings.setdefault(source, Keyring(source)) if source not in _rings else _rings[source]
