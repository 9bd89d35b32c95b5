"""Django settings that do not fit the proxy or the way of identity: each mistake with what mends it."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from django.conf import settings as django_settings

from migration_tools.conf import settings

COOKIE_MIDDLEWARE = "migration_tools.routing.identity.middleware.IdentityCookieMiddleware"
SERVICE_MIDDLEWARE = "migration_tools.routing.identity.middleware.IdentityMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
FORWARDED_PROTO = ("HTTP_X_FORWARDED_PROTO", "https")


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A setting that does harm, or will; `id` is the check's."""

    id: str
    text: str
    hint: str


def find_mistakes() -> list[Mistake]:
    """Everything wrong with this side's settings; needs no database."""
    return [*_identity(), *_forwarding(), *_cookies()]


def _identity() -> Iterator[Mistake]:
    """Who signs and who believes.

    E030: the toolkit's identity is in `MIDDLEWARE`, and `IDENTITY` is empty. E031: `IDENTITY` is `signed` and PyJWT is
    not installed. E032: `IdentityCookieMiddleware` comes before `AuthenticationMiddleware`.
    """
    conf, installed = settings(), list(django_settings.MIDDLEWARE)
    signs, believes = COOKIE_MIDDLEWARE in installed, SERVICE_MIDDLEWARE in installed
    if (signs or believes) and not conf.IDENTITY:
        yield Mistake(
            id="strangle.E030",
            text="MIDDLEWARE has the toolkit's identity, but MIGRATION_TOOLS['IDENTITY'] is empty",
            hint="set it to 'signed' (tokens) or 'session' (the monolith's sessions), alike on every side",
        )
    if conf.IDENTITY == "signed" and find_spec("jwt") is None:
        yield Mistake(
            id="strangle.E031",
            text="MIGRATION_TOOLS['IDENTITY'] is 'signed', but the library PyJWT is not installed",
            hint="run pip install 'django-strangler[identity]'",
        )
    if signs and AUTHENTICATION not in installed[: installed.index(COOKIE_MIDDLEWARE)]:
        yield Mistake(
            id="strangle.E032",
            text=f"{COOKIE_MIDDLEWARE!r} is not after {AUTHENTICATION!r} in MIDDLEWARE, so it knows no user",
            hint="put it behind SessionMiddleware and AuthenticationMiddleware",
        )
    if believes:
        yield from _service(installed)


def _service(installed: list[str]) -> Iterator[Mistake]:
    """Of a side that believes.

    E033: a service has Django's sessions or authentication beside `IdentityMiddleware`. E034: a service cannot get the
    keys of tokens. E035: a service cannot have tokens renewed. E036: a service is to read sessions and has no users.
    E037: a service is to read sessions, which are signed cookies.
    """
    conf = settings()
    if SESSIONS in installed or AUTHENTICATION in installed:
        yield Mistake(
            id="strangle.E033",
            text="MIDDLEWARE has Django's sessions or authentication beside the monolith's identity: they rotate or "
            "replace sessions that are the monolith's, which logs users out there",
            hint=f"remove {SESSIONS!r} and {AUTHENTICATION!r}; IdentityMiddleware sets request.user",
        )
    if conf.IDENTITY == "signed" and not (conf.IDENTITY_URL or conf.IDENTITY_JWKS):
        yield Mistake(
            id="strangle.E034",
            text="MIGRATION_TOOLS names neither IDENTITY_URL nor IDENTITY_JWKS, so no token can be checked",
            hint="set IDENTITY_URL to the monolith's 'http://…/strangle/identity/'",
        )
    if conf.IDENTITY == "signed" and conf.IDENTITY_URL and not conf.IDENTITY_TOKEN:
        yield Mistake(
            id="strangle.E035",
            text="IDENTITY_TOKEN is empty, so no token is renewed and visitors of this service alone get 503 when "
            "theirs ends",
            hint="set it to this service's token among the monolith's FEED_TOKENS",
        )
    if conf.IDENTITY == "session":
        missing = [name for name in _FOR_SESSIONS if name not in django_settings.INSTALLED_APPS]
        if missing:
            yield Mistake(
                id="strangle.E036",
                text=f"IDENTITY is 'session', but INSTALLED_APPS lacks {missing}: without the users, a changed "
                "password would not end a session here",
                hint="add them, AUTH_USER_MODEL and a read-only way to the monolith's tables; or use 'signed'",
            )
        if django_settings.SESSION_ENGINE.endswith("signed_cookies"):
            yield Mistake(
                id="strangle.E037",
                text="IDENTITY is 'session' and sessions are signed cookies: nothing is stored that could be shared",
                hint="use IDENTITY 'signed'",
            )


_FOR_SESSIONS = ("django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions")


def _forwarding() -> Iterator[Mistake]:
    """What the proxy says of the client.

    W038: cookies are for HTTPS, but `SECURE_PROXY_SSL_HEADER` is not set as behind the proxy. W039:
    `SECURE_PROXY_SSL_HEADER` is set, but the proxy trusts nobody before it. W040: `USE_X_FORWARDED_HOST` is on.
    """
    secure = (
        django_settings.SESSION_COOKIE_SECURE
        or django_settings.CSRF_COOKIE_SECURE
        or settings().PROXY.get("SECURE_COOKIES", False)
    )
    header = django_settings.SECURE_PROXY_SSL_HEADER
    if secure and (header is None or tuple(header) != FORWARDED_PROTO):
        yield Mistake(
            id="strangle.W038",
            text=f"cookies are for HTTPS, but SECURE_PROXY_SSL_HEADER is {header!r}: behind the proxy requests look "
            "like HTTP, so unsafe ones fail the CSRF check by their origin",
            hint=f"set SECURE_PROXY_SSL_HEADER = {FORWARDED_PROTO}; the proxy overwrites what clients send of it",
        )
    if header is not None and "LISTEN" in settings().PROXY and not settings().PROXY.get("TRUSTED_HOPS", 0):
        yield Mistake(
            id="strangle.W039",
            text="SECURE_PROXY_SSL_HEADER is set, but PROXY['TRUSTED_HOPS'] is 0: the proxy itself takes HTTP alone "
            "and says so to the applications, whatever ends TLS before it",
            hint="set PROXY['TRUSTED_HOPS'] to the number of proxies before it",
        )
    if django_settings.USE_X_FORWARDED_HOST:
        yield Mistake(
            id="strangle.W040",
            text="USE_X_FORWARDED_HOST is on: who reaches this side past the proxy names any host they like",
            hint="turn it off; the proxy keeps the Host that clients send",
        )


def _cookies() -> Iterator[Mistake]:
    """What both sides must see.

    W041: `CSRF_USE_SESSIONS` is on. W042: the session or CSRF cookie is for a part of the paths.
    """
    if not settings().IDENTITY:
        return
    if django_settings.CSRF_USE_SESSIONS:
        yield Mistake(
            id="strangle.W041",
            text="CSRF_USE_SESSIONS keeps the CSRF token in the session, where a service cannot read it: unsafe "
            "requests to it get 403",
            hint="turn it off, on every side",
        )
    for name in ("SESSION_COOKIE_PATH", "CSRF_COOKIE_PATH"):
        if getattr(django_settings, name) != "/":
            yield Mistake(
                id="strangle.W042",
                text=f"{name} is {getattr(django_settings, name)!r}: services below other paths do not see the cookie",
                hint=f"set {name} = '/'",
            )
