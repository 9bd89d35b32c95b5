"""The one reader of settings.MIGRATION_TOOLS: a frozen view, read live, unknown keys refused."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import PurePath
from typing import Any

from django.conf import settings as django_settings

from migration_tools.errors import SettingsError
from migration_tools.kernel.issuers import issuer_mistakes
from migration_tools.kernel.limits import limit_mistakes
from migration_tools.kernel.planes import Plane

# What a foreign feed without schemas may declare of its values; see messaging.foreign.encodings.
FOREIGN_ENCODINGS = {
    "timestamps": ("milliseconds", "microseconds", "text"),
    "times": ("milliseconds", "microseconds", "text"),
    "decimals": ("text",),
    "bytes": ("base64", "hex"),
}


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Where a stream of another side is read: its base URL and the token we present."""

    url: str
    token: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """MIGRATION_TOOLS with its defaults; units are in the names. Documented in docs/reference/settings.md."""

    SIDE: str = "monolith"
    PLAYBOOKS: tuple[str, ...] = ()
    DATABASE: str = "default"
    DIRECT: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    FEED_TOKENS: Mapping[str, str] = field(default_factory=dict)
    FEEDS: Mapping[str, Feed] = field(default_factory=dict)
    FEED_WAIT_SECONDS: float = 5.0
    TRANSPORT: str = "feed"
    BROKER_URL: str = ""
    SOURCES: Mapping[str, str] = field(default_factory=dict)
    LOG_RETAINED_BYTES: int = 4_000_000_000
    FOREIGN: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    UPSTREAMS: Mapping[str, str] = field(default_factory=dict)
    STORES: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    SERVICES: Mapping[str, str] = field(default_factory=dict)
    SERVICE_COMMANDS: Mapping[str, Sequence[str]] = field(default_factory=dict)
    SERVICE_CALLS_AT_ONCE: int = 32
    DEADLINE_SECONDS: float = 2.0
    CHAIN_DEPTH_MAXIMUM: int = 5
    READ_REPLICAS: Mapping[str, float] = field(default_factory=dict)
    READ_REPLICA_LAG_SECONDS: float = 30.0
    SHARDS: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    IDENTITY: str = ""
    IDENTITY_KEYS: tuple[str, ...] = ()
    IDENTITY_ISSUER: str = "monolith"
    IDENTITY_AUDIENCE: tuple[str, ...] = ()
    IDENTITY_CLAIMS: Mapping[str, str] = field(
        default_factory=lambda: {"name": "get_full_name", "is_staff": "is_staff"}
    )
    IDENTITY_LIFE_SECONDS: int = 300
    IDENTITY_GRACE_SECONDS: int = 900
    IDENTITY_URL: str = ""
    IDENTITY_TOKEN: str = ""
    IDENTITY_JWKS: str = ""
    IDENTITY_KEYS_SECONDS: float = 300.0
    IDENTITY_ISSUERS: Mapping[str, str] = field(default_factory=dict)
    IDENTITY_API_AUDIENCE: tuple[str, ...] = ()
    SESSIONS: str = "table"
    PROXY: Mapping[str, Any] = field(default_factory=dict)
    DATA_PLANE: str = "envoy"
    LOCK_TIMEOUT_SECONDS: float = 0.1
    DDL_LOCK_TIMEOUT_SECONDS: float = 2.0
    CUTOVER_BUDGET_SECONDS: float = 30.0
    RELAY_IDLE_SECONDS: float = 0.002
    RELAY_SLEEPS: str = "auto"
    RELAY_LEASE_SECONDS: float = 1.5
    HORIZON_WARN_SECONDS: float = 60.0
    METRICS_TOKEN: str = ""
    BATCH_ROWS: int = 1000
    CHUNK_SECONDS: float = 0.3
    CHUNK_ROWS_MAXIMUM: int = 100_000
    CHUNK_BYTES: int = 32_000_000
    BACKFILL_WORKERS: int = 2
    BACKFILL_RUNNER: str = "threads"
    BACKFILL_BROKER_URL: str = ""
    TRANSFORMS: tuple[str, ...] = ()
    TRANSFORM_WORKERS: int = 2
    THROTTLE: Mapping[str, Any] = field(default_factory=dict)
    VERIFY_RANGE_SECONDS: float = 30.0
    VERIFY_RANGE_ROWS: int = 5_000_000
    REPORT_SECONDS: float = 3600.0
    STREAM_RETENTION_SECONDS: float = 7 * 86_400.0
    OUTBOX_RETENTION_SECONDS: float = 600.0
    CONSUMER_ALIVE_SECONDS: float = 15.0
    HANDLER_ATTEMPTS: int = 3
    SAGA_BROKER_URL: str = ""
    CONTRACTS: str = "playbooks/contracts"
    CONTEXTS: str = "contexts.toml"
    TRACES: str = "var/traces"
    GUARD: str = "off"
    GUARD_BASELINE: str = "strangle-baseline.json"


def settings() -> Settings:
    """Read MIGRATION_TOOLS now (so that override_settings works).

    Raises:
        SettingsError: unknown keys (all at once, with the nearest known name) or malformed values.
    """
    raw = getattr(django_settings, "MIGRATION_TOOLS", {})
    mistakes = list(find_mistakes(raw))
    if mistakes:
        raise SettingsError("; ".join(mistakes))
    values = dict(raw)
    values["FEEDS"] = {name: Feed(**feed) for name, feed in raw.get("FEEDS", {}).items()}
    values["PLAYBOOKS"] = tuple(raw.get("PLAYBOOKS", ()))
    values["TRANSFORMS"] = tuple(raw.get("TRANSFORMS", ()))
    return Settings(**values)


def find_mistakes(raw: Any) -> list[str]:
    """List what is wrong with a MIGRATION_TOOLS value, in sentences; empty when it can be used."""
    if not isinstance(raw, Mapping):
        return [f"MIGRATION_TOOLS is {type(raw).__name__}; it must be a dict"]
    known = {item.name for item in fields(Settings)}
    mistakes = []
    for key in raw:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known keys are {sorted(known)}"
            mistakes.append(f"MIGRATION_TOOLS has an unknown key {key!r}{hint}")
    for name, feed in dict(raw.get("FEEDS", {})).items():
        if not isinstance(feed, Mapping) or set(feed) != {"url", "token"}:
            mistakes.append(f"MIGRATION_TOOLS['FEEDS'][{name!r}] must be a dict with 'url' and 'token'")
    transport = raw.get("TRANSPORT", "feed")
    if transport not in {"feed", "kombu", "kafka"} and ":" not in str(transport):
        mistakes.append(
            f"MIGRATION_TOOLS['TRANSPORT'] is {transport!r}; "
            "it must be 'feed', 'kombu', 'kafka' or 'package.module:Class'"
        )
    if transport != "feed" and not raw.get("BROKER_URL"):
        mistakes.append(f"MIGRATION_TOOLS['TRANSPORT'] is {transport!r} but 'BROKER_URL' is empty")
    if raw.get("RELAY_SLEEPS", "auto") not in {"auto", "always", "never"}:
        mistakes.append(
            f"MIGRATION_TOOLS['RELAY_SLEEPS'] is {raw['RELAY_SLEEPS']!r}; it must be 'auto', 'always' or 'never'"
        )
    lease = raw.get("RELAY_LEASE_SECONDS", 1.5)
    if isinstance(lease, bool) or not isinstance(lease, int | float) or not 1 <= lease <= 60:
        mistakes.append(f"MIGRATION_TOOLS['RELAY_LEASE_SECONDS'] is {lease!r}; it must be a number from 1 to 60")
    if raw.get("GUARD", "off") not in {"off", "log", "raise"}:
        mistakes.append(f"MIGRATION_TOOLS['GUARD'] is {raw['GUARD']!r}; it must be 'off', 'log' or 'raise'")
    planes = [plane.value for plane in Plane]
    if raw.get("DATA_PLANE", "envoy") not in planes:
        mistakes.append(f"MIGRATION_TOOLS['DATA_PLANE'] is {raw['DATA_PLANE']!r}; it must be one of {planes}")
    if raw.get("BACKFILL_RUNNER", "threads") not in {"threads", "celery"}:
        mistakes.append(
            f"MIGRATION_TOOLS['BACKFILL_RUNNER'] is {raw['BACKFILL_RUNNER']!r}; it must be 'threads' or 'celery'"
        )
    if raw.get("BACKFILL_RUNNER") == "celery" and not (raw.get("BACKFILL_BROKER_URL") or raw.get("BROKER_URL")):
        mistakes.append("MIGRATION_TOOLS['BACKFILL_RUNNER'] is 'celery' but 'BACKFILL_BROKER_URL' is empty")
    if raw.get("SESSIONS", "table") not in {"table", "redis", "redis_only"}:
        mistakes.append(
            f"MIGRATION_TOOLS['SESSIONS'] is {raw['SESSIONS']!r}; it must be 'table', 'redis' or 'redis_only'"
        )
    for stream, source in dict(raw.get("SOURCES", {})).items():
        if source not in {"triggers", "log"}:
            mistakes.append(f"MIGRATION_TOOLS['SOURCES'][{stream!r}] is {source!r}; it must be 'triggers' or 'log'")
    mistakes += _direct_mistakes(raw.get("DIRECT", {}))
    mistakes += _program_mistakes(raw.get("SERVICE_COMMANDS", {}))
    mistakes += foreign_mistakes(raw.get("FOREIGN", {}))
    workers = raw.get("BACKFILL_WORKERS", 1)
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= 64:
        mistakes.append(f"MIGRATION_TOOLS['BACKFILL_WORKERS'] is {workers!r}; it must be a number from 1 to 64")
    mistakes += _identity_mistakes(raw)
    attempts = raw.get("HANDLER_ATTEMPTS", 1)
    if isinstance(attempts, bool) or not isinstance(attempts, int) or not 1 <= attempts <= 10:
        mistakes.append(f"MIGRATION_TOOLS['HANDLER_ATTEMPTS'] is {attempts!r}; it must be a number from 1 to 10")
    processes = raw.get("TRANSFORM_WORKERS", 1)
    if isinstance(processes, bool) or not isinstance(processes, int) or not 0 <= processes <= 64:
        mistakes.append(f"MIGRATION_TOOLS['TRANSFORM_WORKERS'] is {processes!r}; it must be a number from 0 to 64")
    mistakes += limit_mistakes(raw.get("THROTTLE", {}))
    return mistakes


DIRECT_KEYS = {"HOST", "PORT", "NAME", "USER", "PASSWORD"}


def _direct_mistakes(direct: Any) -> list[str]:
    """What is wrong with DIRECT: alias → what differs from DATABASES on the way past a pooler."""
    if not isinstance(direct, Mapping):
        return [f"MIGRATION_TOOLS['DIRECT'] is {type(direct).__name__}; it must be a dict of database aliases"]
    mistakes = []
    for alias, given in direct.items():
        if alias not in django_settings.DATABASES:
            mistakes.append(f"MIGRATION_TOOLS['DIRECT'] names {alias!r}, which is not in DATABASES")
        if not isinstance(given, Mapping) or not given or set(given) - DIRECT_KEYS:
            mistakes.append(
                f"MIGRATION_TOOLS['DIRECT'][{alias!r}] must be a dict with some of {', '.join(sorted(DIRECT_KEYS))}"
            )
    return mistakes


def _program_mistakes(programs: Any) -> list[str]:
    """What is wrong with SERVICE_COMMANDS: service → the words that run its manage.py, none where it is only seen."""
    if not isinstance(programs, Mapping):
        return [f"MIGRATION_TOOLS['SERVICE_COMMANDS'] is {type(programs).__name__}; it must be a dict of services"]
    mistakes = []
    for service, words in programs.items():
        where = f"MIGRATION_TOOLS['SERVICE_COMMANDS'][{service!r}]"
        if not isinstance(service, str) or not service or "/" in service:
            mistakes.append(f"{where}: {service!r} is part of addresses in the console; use a name without a slash")
        if not isinstance(words, list | tuple) or not all(isinstance(each, str) for each in words):
            mistakes.append(f"{where} must be a list of words, as ['python', 'manage.py'], or empty")
        elif words and PurePath(words[0]).name in {"ssh", "sh", "bash"}:
            # A reason that somebody types in the console would be read by a shell.
            mistakes.append(
                f"{where} runs {words[0]!r}, which hands words to a shell; use what passes them on as they are, as "
                "docker compose exec, kubectl exec or a program of yours"
            )
    return mistakes


# What a token says by itself; a claim of that name could make it another user's or endless.
RESERVED_CLAIMS = frozenset({"uid", "sub", "sid", "iss", "aud", "iat", "nbf", "exp", "jti"})


def _identity_mistakes(raw: Mapping[str, Any]) -> list[str]:
    mistakes = []
    if raw.get("IDENTITY", "") not in ("", "signed", "session"):
        mistakes.append(f"MIGRATION_TOOLS['IDENTITY'] is {raw['IDENTITY']!r}; it must be 'signed', 'session' or ''")
    for key in ("IDENTITY_KEYS", "IDENTITY_AUDIENCE", "IDENTITY_API_AUDIENCE"):
        if not isinstance(raw.get(key, ()), list | tuple):
            mistakes.append(f"MIGRATION_TOOLS[{key!r}] is {type(raw[key]).__name__}; it must be a list of texts")
    mistakes += issuer_mistakes(
        raw.get("IDENTITY_ISSUERS", {}),
        signed=raw.get("IDENTITY", "") == "signed",
        monolith=raw.get("IDENTITY_ISSUER", Settings.IDENTITY_ISSUER),
        own=raw.get("SIDE", Settings.SIDE) if raw.get("IDENTITY_API_AUDIENCE") else None,
    )
    life = raw.get("IDENTITY_LIFE_SECONDS", 300)
    if isinstance(life, bool) or not isinstance(life, int) or not 10 <= life <= 86_400:
        mistakes.append(f"MIGRATION_TOOLS['IDENTITY_LIFE_SECONDS'] is {life!r}; it must be a number from 10 to 86400")
    claims = raw.get("IDENTITY_CLAIMS", {})
    if not isinstance(claims, Mapping):
        return [*mistakes, "MIGRATION_TOOLS['IDENTITY_CLAIMS'] must be a dict of claims and the user's attributes"]
    taken = sorted(RESERVED_CLAIMS & set(claims))
    if taken:
        mistakes.append(f"MIGRATION_TOOLS['IDENTITY_CLAIMS'] uses {taken}, which tokens use themselves")
    return mistakes


def foreign_mistakes(feeds: Any) -> list[str]:
    """What is wrong with FOREIGN; whether its tables are there is known when it is used."""
    mistakes = []
    for name, feed in dict(feeds).items():
        where = f"MIGRATION_TOOLS['FOREIGN'][{name!r}]"
        if not isinstance(feed, Mapping) or not {"FORMAT", "TABLES"} <= set(feed):
            mistakes.append(f"{where} must be a dict with 'FORMAT' and 'TABLES'")
            continue
        unknown = set(feed) - {"FORMAT", "TABLES", "ENCODINGS", "TOKEN"}
        if unknown:
            mistakes.append(f"{where} has unknown keys {sorted(unknown)}; it may have FORMAT, TABLES, ENCODINGS, TOKEN")
        if feed["FORMAT"] not in {"debezium", "maxwell"}:
            mistakes.append(f"{where}['FORMAT'] is {feed['FORMAT']!r}; it must be 'debezium' or 'maxwell'")
        for table, declared in dict(feed["TABLES"]).items():
            if (
                not isinstance(declared, Mapping)
                or "into" not in declared
                or set(declared) - {"into", "key", "columns"}
            ):
                mistakes.append(f"{where}['TABLES'][{table!r}] must be a dict with 'into', and may have key, columns")
        for what, how in dict(feed.get("ENCODINGS", {})).items():
            if how not in FOREIGN_ENCODINGS.get(what, ()):
                mistakes.append(f"{where}['ENCODINGS'] has {what!r}: {how!r}; it may have {FOREIGN_ENCODINGS}")
    return mistakes
