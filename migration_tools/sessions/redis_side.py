"""Sessions in Redis, as Django's own session backend `cache` keeps them there, with the steps that a move needs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings
from django.contrib.sessions.backends.cache import KEY_PREFIX
from django.core.cache import caches
from django.core.cache.backends.redis import RedisCache

from migration_tools.errors import SettingsError

SCAN_COUNT = 1000
NEVER_ENDS = -1

MARK = "strangle.sessions.mark."
MARK_SECONDS = 86_400
ADDED, THERE, CHANGED = 1, 0, -1

# KEYS: the session's key and its mark. ARGV: its bytes, its life in milliseconds, the mark as it was.
_MOVE_IN = """if (redis.call('GET', KEYS[2]) or '') ~= ARGV[3] then return -1 end
return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') and 1 or 0"""
# KEYS: the session's key. ARGV: the bytes that it must hold to be deleted.
_DELETE_IF = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
_GLOB = str.maketrans({character: f"\\{character}" for character in "*?[]^-\\"})


@dataclass(frozen=True, kw_only=True)
class Held:
    """A key as it is: its bytes, what they say, and how long it lives; None for one that never ends."""

    raw: bytes
    data: dict[str, Any]
    milliseconds: int | None


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A row that is to become a key, and the key's mark before the row was read."""

    key: str
    data: dict[str, Any]
    milliseconds: int
    mark: bytes


class RedisSessions:
    """The keys of SESSION_CACHE_ALIAS. Every read goes to the first server: a replica may not know of a login yet.

    Errors of Redis are raised as they are: who cannot be read is not logged out.

    Raises:
        SettingsError: that cache is not Django's for Redis.
    """

    def __init__(self) -> None:
        alias = django_settings.SESSION_CACHE_ALIAS
        cache = caches[alias]
        if not isinstance(cache, RedisCache):
            raise SettingsError(
                f"SESSION_CACHE_ALIAS is {alias!r}, which is {type(cache).__name__}; it must name an entry of CACHES "
                "with 'BACKEND': 'django.core.cache.backends.redis.RedisCache'"
            )
        self._cache = cache
        # Not by the cache's own methods: these can neither replace what is there alone, nor read from one server.
        self._inner: Any = cache._cache

    @property
    def failures(self) -> type[Exception]:
        """What redis-py raises."""
        return self._inner._lib.RedisError  # type: ignore[no-any-return]

    @property
    def client(self) -> Any:
        """redis-py's client of the first server."""
        return self._inner.get_client(write=True)

    def read(self, key: str) -> dict[str, Any] | None:
        """What the session says; None when it is not there."""
        raw = self.client.get(self._name(key))
        return None if raw is None else self._loads(raw)

    def exists(self, key: str) -> bool:
        """Whether it is there."""
        return bool(self.client.exists(self._name(key)))

    def add(self, key: str, data: Mapping[str, Any], milliseconds: int) -> bool:
        """Write it if it is absent; False, and nothing is changed, when it is there."""
        return bool(self.client.set(self._name(key), self._dumps(data), px=milliseconds, nx=True))

    def marks(self, keys: Sequence[str]) -> list[bytes]:
        """What tells of each whether its row is changed from now on; see `move_in`."""
        return [each or b"" for each in self.client.mget([self._mark(key) for key in keys])]

    def move_in(self, sessions: Sequence[Arrival]) -> list[int]:
        """Add many in one round trip; of each whether it was ADDED, is THERE, or its row was CHANGED since its mark."""
        pipeline = self.client.pipeline(transaction=False)
        for each in sessions:
            names = (self._name(each.key), self._mark(each.key))
            pipeline.eval(_MOVE_IN, 2, *names, self._dumps(each.data), each.milliseconds, each.mark)
        return [int(each) for each in pipeline.execute()]

    def replace(self, key: str, data: Mapping[str, Any], seconds: int) -> bool:
        """Write it if it is there; False, and nothing is changed, when it is absent."""
        return bool(self.client.set(self._name(key), self._dumps(data), ex=seconds, xx=True))

    def delete(self, key: str) -> None:
        """Take it away."""
        self.client.delete(self._name(key))

    def replace_after_row(self, key: str, data: Mapping[str, Any], seconds: int) -> bool:
        """Do as `replace` when the row was changed: a move that has read it before adds nothing any more."""
        pipeline = self._marking(key).set(self._name(key), self._dumps(data), ex=seconds, xx=True)
        return bool(pipeline.execute()[-1])

    def end(self, key: str) -> None:
        """Take it away when the row is; a move that has read that before adds nothing any more."""
        self._marking(key).delete(self._name(key)).execute()

    def hold(self, key: str) -> Held | None:
        """The key with its bytes and its life, of one moment."""
        name = self._name(key)
        raw, left = self.client.pipeline().get(name).pttl(name).execute()
        if raw is None:
            return None
        return Held(raw=raw, data=self._loads(raw), milliseconds=None if left == NEVER_ENDS else left)

    def delete_if(self, key: str, raw: bytes) -> bool:
        """Take it away if it still holds these bytes."""
        return bool(self.client.eval(_DELETE_IF, 1, self._name(key), raw))

    def walk(self) -> Iterator[str]:
        """The keys of all sessions; those that are there all the while are told at least once."""
        mark = "*"
        before, _, after = self._name(mark).rpartition(mark)
        pattern = f"{before.translate(_GLOB)}*{after.translate(_GLOB)}"
        for name in self.client.scan_iter(match=pattern, count=SCAN_COUNT):
            yield name.decode()[len(before) : len(name.decode()) - len(after)]

    def risks(self) -> list[str]:
        """How this Redis may forget a session by itself, in sentences; nothing when it does not say."""
        memory, persistence = self.client.info("memory"), self.client.info("persistence")
        found = []
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        if memory.get("maxmemory") and policy != "noeviction":
            found.append(f"this Redis evicts keys when it is full (maxmemory-policy {policy}); noeviction does not")
        if not persistence.get("aof_enabled", 1):
            found.append("this Redis has no append-only file: when it restarts, everybody is logged out")
        return found

    def _name(self, key: str) -> str:
        # Not validated: Redis takes any key, and one that a stranger has made up is simply not there.
        return str(self._cache.make_key(KEY_PREFIX + key))

    def _marking(self, key: str) -> Any:
        return self.client.pipeline().incr(self._mark(key)).expire(self._mark(key), MARK_SECONDS)

    def _mark(self, key: str) -> str:
        return str(self._cache.make_key(MARK + key))

    def _dumps(self, data: Mapping[str, Any]) -> Any:
        return self._inner._serializer.dumps(dict(data))

    def _loads(self, raw: bytes) -> dict[str, Any]:
        return dict(self._inner._serializer.loads(raw))
