"""Sessions in Redis: nobody is logged out by a fault, a side without the table reads them, the command says what is."""

import json
from contextlib import suppress
from io import StringIO
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from legacy_monolith.testing import Shopper
from migration_tools.checks import check_sessions
from migration_tools.conf import find_mistakes
from migration_tools.errors import SettingsError
from migration_tools.kernel.locks import LockClass
from migration_tools.sessions.bridge import SessionStore
from migration_tools.stores.postgres import advisory, connect
from tests.sessions_rig import BRIDGE, Home, caches_at, made, move, said, save

pytest_plugins = ["tests.sessions_rig"]


def test_nobody_is_logged_out_while_redis_cannot_be_reached(home: Home, settings: Any) -> None:
    """Django's own backend takes the failure for a session that is not there, and takes the cookie away."""
    home("redis")
    shopper = Shopper().sign_up()
    cookies = shopper.client.cookies
    there = settings.CACHES
    settings.CACHES = caches_at("redis://127.0.0.1:1/0")
    for engine, status, kept in ((BRIDGE, 500, True), ("django.contrib.sessions.backends.cache", 403, False)):
        settings.SESSION_ENGINE = engine
        client = Client(raise_request_exception=False)
        client.cookies.load(cookies.output(header="", sep=";"))
        answer = client.get("/api/accounts/me/", headers={"accept": "application/json"})
        assert answer.status_code == status, answer.content
        assert bool(client.cookies["sessionid"].value) is kept
    settings.CACHES, settings.SESSION_ENGINE = there, BRIDGE
    assert shopper.get("/api/accounts/me/").json()["id"] == shopper.id


def test_a_side_without_the_table_reads_what_the_monolith_wrote_and_django_reads_it_alone(
    home: Home, settings: Any
) -> None:
    key = made(said="here")
    home("redis")
    move()

    def refuse(*args: Any) -> Any:
        raise AssertionError("the table was asked")

    home("redis_only")
    with connection.execute_wrapper(refuse):
        assert said(key) == "here"
        save(key, said="there")
        fresh = made(SessionStore, said="fresh")
        SessionStore(fresh).flush()
        assert said(fresh) is None
    from django.contrib.sessions.backends.cache import SessionStore as Plain

    assert Plain(key)["said"] == "there"
    with pytest.raises(SettingsError, match=r"'redis_only'.*set it to 'redis' in every process"):
        move()


def command(*args: str) -> dict[str, Any]:
    out = StringIO()
    with suppress(CommandError):
        call_command("strangle_sessions", *args, "--format", "json", stdout=out, stderr=StringIO())
    result: dict[str, Any] = json.loads(out.getvalue())
    return result


def test_the_command_counts_moves_and_says_what_it_leaves(home: Home, settings: Any) -> None:
    for number in range(9):
        made(said=number)
    ended = made(seconds=-5)
    with_another_key = made(said="whose?")
    Session.objects.filter(pk=with_another_key).update(session_data="eyJzYWlkIjoxfQ:1abc:not-signed-by-us")
    home("redis")
    before = command("status")
    assert (before["table"], before["redis"], before["ended"]) == (10, 0, 1)
    assert "no append-only file" in before["risks"][0]
    assert command("move", "--dry-run") == before
    done = command("move")
    assert (done["moved"], done["unreadable"], done["left"], done["exit_code"]) == (9, 1, 0, 3)
    assert Session.objects.count() == 2, "what has ended and what cannot be read stay"
    SessionStore.clear_expired()
    assert not Session.objects.filter(pk=ended).exists()
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    settings.SESSION_CACHE_ALIAS = "default"
    assert not check_sessions(None)
    settings.SESSION_ENGINE = BRIDGE
    assert [each.id for each in check_sessions(None)] == ["strangle.E171"]
    settings.SESSION_ENGINE, settings.SESSION_CACHE_ALIAS = "django.contrib.sessions.backends.db", "sessions"
    with pytest.raises(CommandError, match=r"SESSION_ENGINE is .*move-sessions.md"):
        call_command("strangle_sessions", "move")


def test_one_moves_sessions_at_a_time_and_to_places_that_there_are(home: Home) -> None:
    home("redis")
    with connect("default", "another operator") as conn:
        assert advisory.try_hold(conn, LockClass.OPERATOR, "sessions")
        with pytest.raises(
            CommandError, match=r"another operator .* moves sessions now; nothing was changed"
        ) as refused:
            call_command("strangle_sessions", "move")
    assert refused.value.returncode == 5
    assert "it must be 'table', 'redis' or 'redis_only'" in find_mistakes({"SESSIONS": "memcached"})[0]
