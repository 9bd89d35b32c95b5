"""A service's settings out of its environment: whatever differs by machine, under names that all services share."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from migration_tools.errors import SettingsError

MONOLITH = "monolith"
MODES = ("instance", "schema", "polyglot")
POSTGRESQL = "postgresql"
CARRIERS = {
    "kombu": "amqp://user:password@host:5672// or redis://:password@host:6379/0",
    "kafka": "kafka://host:9092",
}


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The variables of one service, as `<NAME>_…`, and those that all sides share.

    Args:
        name: the service's side, which is also its context: "catalog".
        shared: the prefix of what every side of the shop is told alike: debugging and host names.
        engine: the further engine that can keep what the service owns, if there is one: "mongodb". It is also what its
            URL begins with.
    """

    name: str
    shared: str = "SHOP"
    engine: str = ""

    def get(self, key: str, default: str = "") -> str:
        """The service's own variable: `get("DB_HOST")` of catalog is `CATALOG_DB_HOST`."""
        return os.environ.get(f"{self.name.upper()}_{key}", default)

    def debug(self) -> bool:
        """Whether errors are shown to visitors."""
        return os.environ.get(f"{self.shared}_DEBUG", "") == "1"

    def allowed_hosts(self) -> list[str]:
        """The names under which the shop is reached."""
        return os.environ.get(f"{self.shared}_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

    def secret_key(self) -> str:
        """The service's own key."""
        return self.get("SECRET_KEY", f"development-only-key-of-the-{self.name}-service-not-for-production")

    def database(self) -> dict[str, Any]:
        """The service's database, as `SERVICES_DATABASE_MODE` says.

        `instance` (the default): a database of its own, on whatever server `<NAME>_DB_HOST` and `_PORT` name.
        `schema`: a schema of its own, called like the service, in a database that several share; its role sees no
        other.
        `polyglot`: as `instance`, and what the service owns is kept by its further engine, if it has one; see `store`.

        Raises:
            SettingsError: variables say what cannot be; the message names every one of them.
        """
        mistakes = self.find_mistakes()
        if mistakes:
            raise SettingsError("; and ".join(mistakes))
        alone = _mode() != "schema"
        options: dict[str, Any] = {"connect_timeout": 5}
        if not alone:
            options["options"] = f"-c search_path={self.name}"
        return {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": self.get("DB_HOST", "127.0.0.1"),
            "PORT": self.get("DB_PORT", "5432"),
            "NAME": self.get("DB_NAME", self.name if alone else "services"),
            "USER": self.get("DB_USER", f"{self.name}_app"),
            "PASSWORD": self.get("DB_PASSWORD"),
            "CONN_MAX_AGE": 60,
            "CONN_HEALTH_CHECKS": True,
            "ATOMIC_REQUESTS": False,
            # With a way past it there is a pooler, which gives the next look into a cursor to somebody else.
            "DISABLE_SERVER_SIDE_CURSORS": bool(self.get("DB_DIRECT")),
            "OPTIONS": options,
        }

    def store(self) -> tuple[str, str]:
        """The engine that keeps what the service owns, and its URL.

        The engine is `<NAME>_STORE_ENGINE`; without that it is the service's further one in the mode `polyglot`, and
        PostgreSQL, which has no URL here, in the others.
        """
        usual = self.engine if _mode() == "polyglot" else ""
        return self.get("STORE_ENGINE") or usual or POSTGRESQL, self.get("STORE_URL")

    def find_mistakes(self) -> list[str]:
        """What is wrong with the variables that say where rows are, one sentence each, with what to write instead."""
        found, upper = [], self.name.upper()
        if _mode() not in MODES:
            found.append(f"SERVICES_DATABASE_MODE is {_mode()!r}; it must be one of {list(MODES)}")
        if not self.get("DB_PORT", "5432").isdigit():
            found.append(f"{upper}_DB_PORT is {self.get('DB_PORT')!r}; it must be a number, like 5432")
        if self.get("DB_DIRECT") and not self.get("DB_DIRECT").rpartition(":")[2].isdigit():
            found.append(f"{upper}_DB_DIRECT is {self.get('DB_DIRECT')!r}; it must be host:port of PostgreSQL itself")
        return found + (self._store_mistakes() if self.engine else [])

    def _store_mistakes(self) -> list[str]:
        (engine, url), upper, known = self.store(), self.name.upper(), [POSTGRESQL, self.engine]
        if engine not in known:
            return [f"{upper}_STORE_ENGINE is {engine!r}; it must be one of {known}"]
        if engine == POSTGRESQL:
            further = f"{upper}_STORE_ENGINE={self.engine} or SERVICES_DATABASE_MODE=polyglot"
            return [f"{upper}_STORE_URL is set and nobody would use it; set {further} too, or unset it"] if url else []
        # Never the URL itself: it may hold a password.
        like = f"{engine}://user:password@host/{self.name}"
        if not url.startswith((f"{engine}://", f"{engine}+")):
            said = "begins otherwise" if url else "is empty"
            return [f"the engine of {self.name!r} is {engine!r} and {upper}_STORE_URL {said}; it must be like {like}"]
        return []

    def migration_tools(self, *, feeds: Mapping[str, str], readers: Iterable[str] = (MONOLITH,)) -> dict[str, Any]:
        """MIGRATION_TOOLS of the service.

        Args:
            feeds: stream → the side whose feed of it is read, as the service's own consumer or a group of handlers. Of
                another service than the monolith it is read only where `<SIDE>_ADDRESS` says where that is.
            readers: the sides that may read this one's feed; one whose token is empty may not.
        """
        identity = f"http://{_address(MONOLITH)}/strangle/identity/"
        direct = self.get("DB_DIRECT")
        return {
            "SIDE": self.name,
            "DIRECT": {"default": dict(zip(("HOST", "PORT"), direct.rsplit(":", 1), strict=True))} if direct else {},
            "FEEDS": {
                stream: {"url": f"http://{_address(side)}/strangle/feed/", "token": _token(self.name)}
                for stream, side in feeds.items()
                if side == MONOLITH or _address(side)
            },
            # An empty token means that nobody may read, never that an empty token is enough.
            "FEED_TOKENS": {side: _token(side) for side in readers if _token(side)},
            **broker(),
            "METRICS_TOKEN": os.environ.get("STRANGLE_METRICS_TOKEN", ""),
            "IDENTITY": "signed",
            "IDENTITY_URL": os.environ.get("STRANGLE_IDENTITY_URL", identity),
            "IDENTITY_TOKEN": _token(self.name),
            # The monolith's public keys as a document, where it cannot be asked for them.
            "IDENTITY_JWKS": os.environ.get("STRANGLE_IDENTITY_JWKS", ""),
            "IDENTITY_ISSUERS": _issuers(self.name),
        }


def of_their_owners(*streams: str) -> dict[str, str]:
    """Feeds of streams: each at the service called like it, or at the monolith as long as that has no address."""
    return {stream: stream if _address(stream) else MONOLITH for stream in streams}


def broker() -> dict[str, str]:
    """TRANSPORT and BROKER_URL of MIGRATION_TOOLS, as `STRANGLE_TRANSPORT` and `STRANGLE_BROKER_URL` say to all sides.

    Raises:
        SettingsError: there is no such transport, or it needs a broker and no URL says where that is.
    """
    transport = os.environ.get("STRANGLE_TRANSPORT") or "feed"
    url = os.environ.get("STRANGLE_BROKER_URL", "")
    if transport not in ("feed", *CARRIERS) and ":" not in transport:
        raise SettingsError(
            f"STRANGLE_TRANSPORT is {transport!r}; it must be one of {['feed', *CARRIERS]} or 'package.module:Class'"
        )
    if transport != "feed" and not url:
        example = CARRIERS.get(transport, "what the class takes")
        raise SettingsError(
            f"STRANGLE_TRANSPORT is {transport!r} but STRANGLE_BROKER_URL is empty; set it to {example}, "
            "or STRANGLE_TRANSPORT to 'feed'"
        )
    return {"TRANSPORT": transport, "BROKER_URL": url}


def rest_framework() -> dict[str, Any]:
    """REST_FRAMEWORK of a service: the monolith's identity, JSON of a bounded size, problem documents."""
    return {
        "DEFAULT_AUTHENTICATION_CLASSES": ["migration_tools.routing.identity.authentication.IdentityAuthentication"],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["migration_tools.service.parsing.BoundedJSONParser"],
        "DEFAULT_SCHEMA_CLASS": "migration_tools.service.consistency.ServiceSchema",
        "DEFAULT_METADATA_CLASS": None,
        "EXCEPTION_HANDLER": "migration_tools.service.problems.answer",
        "UNAUTHENTICATED_USER": None,
        "UNAUTHENTICATED_TOKEN": None,
    }


def spectacular(title: str, description: str, **further: Any) -> dict[str, Any]:
    """SPECTACULAR_SETTINGS of a service."""
    return {
        "TITLE": title,
        "DESCRIPTION": description,
        "VERSION": "1.0.0",
        "OAS_VERSION": "3.1.0",
        "SERVE_INCLUDE_SCHEMA": False,
        **further,
    }


def log_lines() -> dict[str, Any]:
    """LOGGING of a service: one line an event, on stderr; one JSON object with STRANGLE_LOG=json."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"},
            "json": {"()": "migration_tools.observability.logs.JsonFormatter"},
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "json" if os.environ.get("STRANGLE_LOG") == "json" else "line",
            }
        },
        "root": {"handlers": ["stderr"], "level": "INFO"},
    }


# No session middleware: a service knows its callers by the monolith's signed token, so a request it answers (or
# shadows) can never touch the monolith's sessions.
MIDDLEWARE = [
    "migration_tools.routing.shadow.guard.ShadowMiddleware",
    "migration_tools.routing.own_writes.middleware.OwnWritesMiddleware",
    "migration_tools.messaging.middleware.CausalityMiddleware",
    "migration_tools.routing.middleware.FenceMiddleware",
    "migration_tools.routing.identity.middleware.IdentityMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]


def _mode() -> str:
    return os.environ.get("SERVICES_DATABASE_MODE", MODES[0])


def _issuers(side: str) -> dict[str, str]:
    """`users=http://…/.well-known/jwks.json`, several by commas; a side is not told of itself."""
    pairs = (item.partition("=") for item in os.environ.get("STRANGLE_IDENTITY_ISSUERS", "").split(",") if item)
    return {name.strip(): url.strip() for name, _, url in pairs if name.strip() != side}


def _address(side: str) -> str:
    return os.environ.get(f"{side.upper()}_ADDRESS", "127.0.0.1:8001" if side == MONOLITH else "")


def _token(side: str) -> str:
    return os.environ.get(
        f"FEED_TOKEN_{side.upper()}", f"development-feed-token-of-{'the-monolith' if side == MONOLITH else side}"
    )
