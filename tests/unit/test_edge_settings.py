"""Settings that do not fit the proxy or the way of identity are named, and the shop's own have no mistake."""

import subprocess
import sys
from typing import Any

import pytest
from django.core.checks import run_checks

from migration_tools.routing.edge_settings import (
    AUTHENTICATION,
    COOKIE_MIDDLEWARE,
    SERVICE_MIDDLEWARE,
    SESSIONS,
    find_mistakes,
)
from tests.architecture.tree import ROOT

SIGNED = {"IDENTITY": "signed", "IDENTITY_URL": "http://m/strangle/identity/", "IDENTITY_TOKEN": "t"}
SERVICE = {"MIDDLEWARE": [SERVICE_MIDDLEWARE], "MIGRATION_TOOLS": SIGNED}
SHARED = {"MIDDLEWARE": [SERVICE_MIDDLEWARE], "MIGRATION_TOOLS": {"IDENTITY": "session"}}
HTTPS = ("HTTP_X_FORWARDED_PROTO", "https")


def found(settings: Any, changed: dict[str, Any]) -> list[str]:
    for name, value in changed.items():
        setattr(settings, name, value)
    return [mistake.id.rpartition(".")[2] for mistake in find_mistakes()]


@pytest.mark.parametrize(
    ("expected", "changed"),
    [
        ([], {}),
        ([], SERVICE),
        ([], SHARED),
        ([], {"SESSION_COOKIE_SECURE": True, "SECURE_PROXY_SSL_HEADER": HTTPS}),
        (["E030"], {"MIGRATION_TOOLS": {}}),
        (["E032"], {"MIDDLEWARE": [COOKIE_MIDDLEWARE, SESSIONS, AUTHENTICATION]}),
        (["E032"], {"MIDDLEWARE": [COOKIE_MIDDLEWARE]}),
        (["E033"], {**SERVICE, "MIDDLEWARE": [SESSIONS, SERVICE_MIDDLEWARE]}),
        (["E034"], {**SERVICE, "MIGRATION_TOOLS": {"IDENTITY": "signed"}}),
        (["E035"], {**SERVICE, "MIGRATION_TOOLS": {**SIGNED, "IDENTITY_TOKEN": ""}}),
        (["E036"], {**SHARED, "INSTALLED_APPS": ["django.contrib.contenttypes", "django.contrib.sessions"]}),
        (["E037"], {**SHARED, "SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies"}),
        (["W038"], {"SESSION_COOKIE_SECURE": True}),
        (["W038"], {"CSRF_COOKIE_SECURE": True, "SECURE_PROXY_SSL_HEADER": ("HTTP_X_SCHEME", "https")}),
        (
            ["W039"],
            {
                "SECURE_PROXY_SSL_HEADER": HTTPS,
                "MIGRATION_TOOLS": {"IDENTITY": "signed", "PROXY": {"LISTEN": "0.0.0.0:80"}},
            },
        ),
        (["W040"], {"USE_X_FORWARDED_HOST": True}),
        (["W041"], {"CSRF_USE_SESSIONS": True}),
        (["W042"], {"SESSION_COOKIE_PATH": "/shop"}),
    ],
)
def test_each_mistake_is_named_and_no_other(settings: Any, expected: list[str], changed: dict[str, Any]) -> None:
    assert found(settings, changed) == expected


def test_a_missing_library_is_named(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migration_tools.routing.edge_settings.find_spec", lambda name: None)
    assert found(settings, {}) == ["E031"]


def test_a_side_without_tokens_needs_no_library_for_them() -> None:
    """Neither the URLs nor the middlewares ask for PyJWT before a token is signed or read."""
    script = """
import sys
sys.modules["jwt"] = sys.modules["cryptography"] = None
import django
django.setup()
import migration_tools.urls
import migration_tools.routing.identity.middleware, migration_tools.routing.own_writes.middleware
import migration_tools.routing.identity.authentication, migration_tools.routing.identity.sessions
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        {"IDENTITY": "cookie"},
        {"IDENTITY_KEYS": "pem"},
        {"IDENTITY_LIFE_SECONDS": 0},
        {"IDENTITY_CLAIMS": {"sub": "email"}},
        {"IDENTITY_CLAIMS": ["email"]},
        {"IDENTITY_KEY": "secret"},
    ],
)
def test_a_value_that_cannot_be_used_is_one_error_of_the_settings(settings: Any, wrong: dict[str, Any]) -> None:
    settings.MIGRATION_TOOLS = wrong
    assert [message.id for message in run_checks(tags=["strangle"])] == ["strangle.E001"]
