"""A read-through cache of another service's entities: filled by one, emptied by events, never older than it was.

Note [floors]. An event says which version an entity has now; that version is the entity's floor. A value below its
floor is stale, whoever stored it and when: a load that began before the event and ends after it stores what readers
already refuse. Floors only rise, under a lock of the key, so events in any order leave the newest. Floors outlive
values; where the cache forgets one, only the protection from loads that are under way at that moment is lost.

Works on any of Django's caches that several processes share, such as its Redis backend.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.core.cache import caches

log = logging.getLogger(__name__)

POLL_SECONDS = 0.01
FLOOR_FACTOR = 4


class Loaded(NamedTuple):
    """What a load gives: the entity's version, and its value (None: there is no such entity)."""

    version: int
    value: Any


@dataclass(frozen=True, kw_only=True)
class RemoteCache:
    """Entities of another service by key.

    Args:
        name: the cache's own, part of its keys.
        load: asks the service; raises if it cannot.
        fresh_seconds: how long a value is given without asking again, unless an event came.
        stale_seconds: how long after that it is still given while one caller asks anew in the background, and given
            in place of an error; 0: never.
        load_seconds: how long a load may take before another caller tries.
        alias: which of Django's caches.
    """

    name: str
    load: Callable[[Any], Loaded]
    fresh_seconds: float = 60.0
    stale_seconds: float = 600.0
    load_seconds: float = 10.0
    alias: str = "default"

    def get(self, key: object) -> Any:
        """The entity's value; asks the service if there is none, and lets one caller ask for all.

        Raises:
            Exception: what `load` raised, if there is nothing older to give.
        """
        kept, floor = self._look(key)
        if kept is None or kept.version < floor:
            return self._have(key)
        age = time.time() - kept.since
        if age >= self.fresh_seconds + self.stale_seconds:
            return self._have(key)
        if age >= self.fresh_seconds and (token := self._lock(key)):
            threading.Thread(target=self._refresh, args=(key, token), daemon=True).start()
        return kept.value

    def invalidate(self, key: object, version: int) -> None:
        """Say by an event that the entity has this version now; late and repeated events change nothing."""
        lock = f"{self._key(key)}:floor-lock"
        cache = caches[self.alias]
        deadline = time.monotonic() + self.load_seconds
        while not cache.add(lock, 1, self.load_seconds):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the floor of {self.name!r} could not be raised: its lock is held")
            time.sleep(POLL_SECONDS)
        try:
            floor = cache.get(f"{self._key(key)}:floor", -1)
            if version > floor:
                cache.set(f"{self._key(key)}:floor", version, self._floor_seconds())
        finally:
            cache.delete(lock)

    def _have(self, key: object) -> Any:
        """Load, or wait for whoever loads."""
        began, deadline = time.time(), time.monotonic() + self.load_seconds
        while True:
            token = self._lock(key)
            # Looked at again with the lock in hand: whoever had it before may have filled it.
            kept, floor = self._look(key)
            if kept is not None and kept.version >= floor and kept.since > min(began, time.time() - self.fresh_seconds):
                self._unlock(key, token)
                return kept.value
            if token:
                return self._load(key, token)
            if time.monotonic() > deadline:
                return self._load(key, "")
            time.sleep(POLL_SECONDS)

    def _refresh(self, key: object, token: str) -> None:
        try:
            self._load(key, token)
        except Exception as error:
            log.warning("cache %s: %s while refreshing; the older value stays", self.name, type(error).__name__)

    def _load(self, key: object, token: str) -> Any:
        """Ask the service and keep its answer, unless a newer one is kept; gives the lock back."""
        try:
            loaded = self.load(key)
            kept, floor = self._look(key)
            if kept is not None and kept.version > loaded.version and kept.version >= floor:
                return kept.value
            keep_seconds = self.fresh_seconds + self.stale_seconds
            caches[self.alias].set(self._key(key), (loaded.version, time.time(), loaded.value), keep_seconds)
            return loaded.value
        finally:
            self._unlock(key, token)

    def _lock(self, key: object) -> str:
        """A token if the lock was free, else nothing; it ends by itself when its holder dies."""
        token = secrets.token_hex(8)
        return token if caches[self.alias].add(f"{self._key(key)}:lock", token, self.load_seconds) else ""

    def _unlock(self, key: object, token: str) -> None:
        """Give the lock back, unless it ended meanwhile and is another's."""
        name = f"{self._key(key)}:lock"
        if token and caches[self.alias].get(name) == token:
            caches[self.alias].delete(name)

    def _look(self, key: object) -> tuple["_Kept | None", int]:
        name = self._key(key)
        found = caches[self.alias].get_many([name, f"{name}:floor"])
        return (_Kept(*found[name]) if name in found else None), found.get(f"{name}:floor", -1)

    def _floor_seconds(self) -> float:
        return FLOOR_FACTOR * (self.fresh_seconds + self.stale_seconds + self.load_seconds)

    def _key(self, key: object) -> str:
        return f"strangle:remote:{self.name}:{key}"


class _Kept(NamedTuple):
    version: int
    since: float
    value: Any
