"""SESSION_ENGINE `migration_tools.sessions.bridge`: a session is found in Redis or in the table, wherever it is now."""

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.db import connections, router, transaction
from django.utils import timezone

from migration_tools.conf import settings
from migration_tools.kernel.locks import LockClass, lock_keys
from migration_tools.sessions.redis_side import RedisSessions

TABLE, REDIS, REDIS_ONLY = "table", "redis", "redis_only"


class SessionStore(db.SessionStore):
    """See Note [where a session is]. Django takes the name of the class into the key it signs rows with."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self._redis = RedisSessions()
        self._home = settings().SESSIONS

    def load(self) -> dict[str, Any]:
        """Read it from Redis, else from the table, else from Redis again."""
        key = self.session_key
        if key is None:
            return {}
        found = self._redis.read(key)
        if found is None and self._home != REDIS_ONLY:
            # A replica may not have a row yet that a move has just committed.
            rows = self.model.objects.using(router.db_for_write(self.model))
            row = rows.filter(session_key=key, expire_date__gt=timezone.now()).first()
            found = self._redis.read(key) if row is None else dict(self.decode(row.session_data))
        if found is None:
            self._session_key = None
        return found or {}

    def exists(self, session_key: str) -> bool:
        """Whether a session has this key, in either place."""
        return self._redis.exists(session_key) or (self._home != REDIS_ONLY and super().exists(session_key))

    def save(self, must_create: bool = False) -> None:
        """Change it where it is; a new one is made where SESSIONS says.

        Raises:
            CreateError: it was to be made, and is there.
            UpdateError: it was to be changed, and somebody has logged out.
        """
        key = self.session_key
        if key is None:
            self.create()
        elif must_create and self._home == TABLE:
            super().save(must_create=True)
        elif must_create:
            data = self._get_session(no_load=True)  # type: ignore[attr-defined]
            if not self._redis.add(key, data, max(1, self.get_expiry_age()) * 1000):
                raise CreateError
        else:
            self._change(key)

    def delete(self, session_key: str | None = None) -> None:
        """Take it away from both places, before whatever moves it or after."""
        key = self.session_key if session_key is None else session_key
        if key is None:
            return
        if self._home == REDIS_ONLY:
            self._redis.delete(key)
            return
        using = router.db_for_write(self.model)
        with transaction.atomic(using=using):
            lock(using, key)
            self.model.objects.using(using).filter(session_key=key).delete()
            self._redis.end(key)

    def _change(self, key: str) -> None:
        data, age = self._get_session(), self.get_expiry_age()  # type: ignore[attr-defined]
        if self.session_key is None:
            raise UpdateError  # it was not loaded before, and is not there
        if age <= 0:
            # Redis keeps nothing that has ended, and its row may not outlive it.
            if not self.exists(key):
                raise UpdateError
            self.delete(key)
        elif not self._redis.replace(key, data, age):
            if self._home == REDIS_ONLY:
                raise UpdateError
            row_changed = self._change_row()
            if not self._redis.replace_after_row(key, data, age) and not row_changed:
                raise UpdateError

    def _change_row(self) -> bool:
        try:
            super().save()
        except UpdateError:
            return False
        return True

    async def aload(self) -> dict[str, Any]:
        """See load()."""
        return await sync_to_async(self.load)()

    async def aexists(self, session_key: str) -> bool:
        """See exists()."""
        return await sync_to_async(self.exists)(session_key)

    async def acreate(self) -> None:
        """See create()."""
        await sync_to_async(self.create)()

    async def asave(self, must_create: bool = False) -> None:
        """See save()."""
        await sync_to_async(self.save)(must_create)

    async def adelete(self, session_key: str | None = None) -> None:
        """See delete()."""
        await sync_to_async(self.delete)(session_key)


def lock(using: str, key: str) -> None:
    """Hold a session for the running transaction against moves to the table and other logouts."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", lock_keys(LockClass.SESSION, key))
