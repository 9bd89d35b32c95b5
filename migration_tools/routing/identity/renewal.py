"""A service asks the monolith for a new token of a visitor who shows a session but no good token."""

import re
import threading
import time

from migration_tools.conf import settings
from migration_tools.routing.identity.inquiry import SESSION_HEADER, Unreachable, ask
from migration_tools.routing.identity.tokens import session_mark

# A browser that comes with an old token asks for several things at once: the monolith is asked once.
REMEMBER_SECONDS = 2.0
REMEMBER_AT_MOST = 1024
# A monolith that does not answer must not hold every thread of the service for its timeout.
QUIET_SECONDS = 1.0
AT_ONCE = 4
_SESSION_KEY = re.compile(r"[A-Za-z0-9_:.=-]{1,3800}")


class Renewals:
    """Asks, with an upper bound of questions at once, and remembers the answers for a moment; threads share it."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._answers: dict[str, tuple[float, str | None]] = {}
        self._quiet_until = 0.0

    def token(self, session_key: str, *, secure: bool) -> str | None:
        """A new token for the session's user; None when the monolith says that nobody is logged in by it.

        Raises:
            Unreachable: the monolith could not be asked; that says nothing about the visitor.
        """
        if not _SESSION_KEY.fullmatch(session_key):
            return None
        mark, now = session_mark(session_key), time.monotonic()
        remembered = self._answers.get(mark)
        if remembered is not None and remembered[0] > now:
            return remembered[1]
        if now < self._quiet_until or not self._places.acquire(timeout=QUIET_SECONDS):
            raise Unreachable("the monolith did not answer a moment ago")
        try:
            found = _ask(session_key, secure)
        except Unreachable:
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            raise
        finally:
            self._places.release()
        if len(self._answers) >= REMEMBER_AT_MOST:
            self._answers.clear()
        self._answers[mark] = (time.monotonic() + REMEMBER_SECONDS, found)
        return found


def _ask(session_key: str, secure: bool) -> str | None:
    conf = settings()
    headers = {
        "Authorization": f"Bearer {conf.IDENTITY_TOKEN}",
        # Not as a cookie: then no middleware of the monolith sees a session, and none can rotate or save it.
        SESSION_HEADER: session_key,
        "X-Forwarded-Proto": "https" if secure else "http",
    }
    status, document = ask(f"{conf.IDENTITY_URL.rstrip('/')}/renew/", headers=headers)
    token = document.get("token") if isinstance(document, dict) else None
    if status != 200 or not (token is None or isinstance(token, str)):
        raise Unreachable(
            f"{conf.IDENTITY_URL} answered {status} to a renewal; compare IDENTITY_TOKEN here with FEED_TOKENS there"
        )
    return token


renewals = Renewals()
