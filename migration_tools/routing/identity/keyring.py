"""A service's view of the monolith's keys: fetched from its JWKS, kept for a while, asked again for an unknown key."""

import json
import logging
import threading
import time

from migration_tools.conf import settings
from migration_tools.routing.identity.inquiry import Unreachable, ask
from migration_tools.routing.identity.keys import PublicKey, parse_keys

log = logging.getLogger(__name__)

# However many forged tokens name however many keys, the monolith is asked no more often than this.
ASK_EVERY_SECONDS = 5.0


class Keyring:
    """The keys of one JWKS, from its URL or as the document itself; threads share it."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._keys: dict[str, PublicKey] = {}
        self._fetched = self._asked = float("-inf")
        self._lock = threading.Lock()
        if source.lstrip().startswith("{"):
            self._keys, self._fetched = parse_keys(json.loads(source)), float("inf")

    def find(self, kid: str) -> PublicKey | None:
        """The key of that name, or None when the monolith does not publish it.

        Raises:
            Unreachable: there is no key at all yet, and the monolith cannot be asked.
        """
        now = time.monotonic()
        stale = now - self._fetched > settings().IDENTITY_KEYS_SECONDS
        if (stale or kid not in self._keys) and now - self._asked > ASK_EVERY_SECONDS:
            self._refresh()
        if not self._keys:
            raise Unreachable(f"no key of {self._source} is known yet")
        return self._keys.get(kid)

    def _refresh(self) -> None:
        with self._lock:
            if self._fetched == float("inf") or time.monotonic() - self._asked <= ASK_EVERY_SECONDS:
                return
            try:
                status, document = ask(self._source)
                if status != 200:
                    raise Unreachable(f"{self._source} answered {status}")
                self._keys = parse_keys(document)
                self._fetched = time.monotonic()
            except (Unreachable, ValueError) as error:
                # The last keys stay: a monolith that is down for a while logs nobody out.
                log.warning("the keys of identity tokens are not renewed: %s", error)
            finally:
                self._asked = time.monotonic()


_rings: dict[str, Keyring] = {}


def keyring() -> Keyring:
    """The key ring of IDENTITY_URL, or of the document in IDENTITY_JWKS; one for each in a process."""
    conf = settings()
    source = conf.IDENTITY_JWKS or f"{conf.IDENTITY_URL.rstrip('/')}/jwks.json"
    # Two threads may both make one; the second is dropped, and nothing is lost but a question.
    return _rings.setdefault(source, Keyring(source)) if source not in _rings else _rings[source]
