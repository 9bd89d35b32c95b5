"""The monolith's sessions, read and never touched: no save, no new key, no flush, whatever is found.

Note [a read logs nobody out]. Django's own `get_user` writes: a session whose hash was made with a fallback of
SECRET_KEY gets a new key and a new hash, and one whose hash does not fit is flushed. On another side, whose SECRET_KEY
is its own, that is every session of the monolith: the browser's next request to the monolith shows a session that is
gone. Here the same comparison is made, and nothing follows from it but the answer.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from django.conf import settings as django_settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model, load_backend
from django.core.exceptions import ValidationError
from django.utils.crypto import constant_time_compare

from migration_tools.routing.shadow.guard import unsaved


def session_user(session_key: str) -> Any | None:
    """The user who is logged in by this session; None when nobody is. Needs the table of users."""
    store = unsaved(import_module(django_settings.SESSION_ENGINE).SessionStore)(session_key)
    path, key = store.get(BACKEND_SESSION_KEY), store.get(SESSION_KEY)
    if key is None or path not in django_settings.AUTHENTICATION_BACKENDS:
        return None
    try:
        user = load_backend(path).get_user(get_user_model()._meta.pk.to_python(key))
    except (ValidationError, ValueError, TypeError):
        return None
    return user if user is not None and _fits(store.get(HASH_SESSION_KEY), user) else None


def _fits(held: str | None, user: Any) -> bool:
    """Whether the session was made under the password the user has now, with the key or one of its fallbacks."""
    if not hasattr(user, "get_session_auth_hash"):
        return True
    if not held:
        return False
    fallbacks: Iterable[str] = getattr(user, "get_session_auth_fallback_hash", tuple)()
    return any(constant_time_compare(held, each) for each in (user.get_session_auth_hash(), *fallbacks))
