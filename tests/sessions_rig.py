"""A pytest plugin: sessions of the shop in the table of a database of the test's own, and a Redis to move them to.

PYTEST_DONT_REWRITE: test modules also import it, before pytest loads it as a plugin.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as redis_py
from django.contrib.sessions.backends.db import SessionStore as InTable
from django.contrib.sessions.models import Session

from migration_tools.sessions import moving
from migration_tools.sessions.bridge import SessionStore
from migration_tools.sessions.redis_side import RedisSessions
from migration_tools.testing.brokers import EmbeddedRedis
from tests.conftest import Pair

BRIDGE = "migration_tools.sessions.bridge"
Home = Callable[[str], None]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as made:
        yield made


def caches_at(url: str) -> dict[str, Any]:
    backend = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url, "KEY_PREFIX": "shop[1]*"}
    return {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}, "sessions": backend}


@pytest.fixture
def home(pair: Pair, redis_server: EmbeddedRedis, settings: Any) -> Home:
    """Choose where sessions are at home; they begin in the table."""
    with redis_py.Redis.from_url(redis_server.url) as client:
        client.flushall()
    settings.CACHES = caches_at(redis_server.url)
    settings.SESSION_CACHE_ALIAS = "sessions"
    settings.SESSION_ENGINE = BRIDGE

    def choose(name: str) -> None:
        settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SESSIONS": name, "BATCH_ROWS": 7}

    choose("table")
    return choose


def made(engine: type[Any] | None = None, seconds: int = 3600, **data: Any) -> str:
    """Make a session, by Django's engine of the table unless told otherwise; its key."""
    store = (engine or InTable)()
    store.update(data)
    store.set_expiry(seconds)
    store.create()
    return str(store.session_key)


def save(key: str, **data: Any) -> None:
    store = SessionStore(key)
    store.update(data)
    store.save()


def said(key: str) -> Any:
    """What a session says wherever it is; None when it has ended."""
    found = SessionStore(key).load()
    return found.get("said") if found else None


def places(key: str) -> tuple[bool, bool]:
    """Whether a session is in the table, and in Redis."""
    return Session.objects.filter(pk=key).exists(), RedisSessions().exists(key)


def move() -> moving.Moved:
    return moving.move(threading.Event())
