"""The stack: PostgreSQL, monolith, orders service, relays, consumers, Envoy and comparator, each as its own role."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from demo.processes import Child, Supervisor, choose_ports, plain_environment
from migration_tools.testing.postgres import EmbeddedPostgres, provision

SERVICE_SETTINGS = "extracted_services.orders.settings"
CONTEXT = "orders"
COMMAND_SECONDS = 180.0
KEEP_ALIVE_SECONDS = 75
"""Longer than the proxy keeps an idle connection, so the proxy is always the one to close it."""

WEB_WORKERS, WEB_THREADS = 2, 6


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where everything listens, on 127.0.0.1."""

    postgres: int
    monolith: int
    orders: int
    proxy: int
    comparator: int

    @classmethod
    def choose(cls) -> Addresses:
        postgres, monolith, orders, proxy, comparator = choose_ports(5)
        return cls(postgres=postgres, monolith=monolith, orders=orders, proxy=proxy, comparator=comparator)

    @property
    def url(self) -> str:
        """The shop, as customers see it: through Envoy."""
        return f"http://127.0.0.1:{self.proxy}"


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """Keys and tokens made for this run."""

    shop: str = field(default_factory=lambda: secrets.token_urlsafe(40))
    orders: str = field(default_factory=lambda: secrets.token_urlsafe(40))
    feed_orders: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    feed_monolith: str = field(default_factory=lambda: secrets.token_urlsafe(24))


class Stack:
    """Starts everything in the order of need; leaving the block stops everything, PostgreSQL last."""

    def __init__(self, supervisor: Supervisor, *, say: Callable[[str], None]) -> None:
        self.addresses = Addresses.choose()
        self._supervisor = supervisor
        self._secrets = Secrets()
        self._say = say
        self.postgres = EmbeddedPostgres(supervisor.directory / "postgres")
        self.postgres.port = self.addresses.postgres

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._supervisor.close()
        self.postgres.stop("immediate")

    @property
    def shop_dsn(self) -> str:
        """The monolith's database as its web processes see it: what legacy writers use."""
        return self.postgres.dsn("shop", "shop_app")

    def superuser_dsn(self, database: str) -> str:
        return self.postgres.dsn(database, "postgres")

    def start(self, *, orders: int, seed: int) -> None:
        """Start everything, with ``orders`` seeded orders in the monolith."""
        self._say("starting PostgreSQL; a database and roles for each side")
        self.postgres.start()
        provision(self.postgres)
        self._say("schema migrations of both sides")
        self.manage("migrate", "-v0", role="shop_owner")
        self.manage("migrate", "-v0", "--settings", SERVICE_SETTINGS, role="orders_owner")
        self._say(f"seeding {orders:,} orders")
        self.manage("shop_seed", "--orders", str(orders), "--seed", str(seed), role="shop_owner")
        self._say("starting monolith, orders service, relays, consumers, Envoy and the comparator of shadow reads")
        self._start_web()
        self._start_messengers()
        self._start_proxy()
        comparator = self._manage_forever("comparator", "shop_owner", "strangle_shadow", "run")
        self._supervisor.await_http(comparator, f"http://127.0.0.1:{self.addresses.comparator}/livez")

    def manage(self, *arguments: str, role: str) -> str:
        """Run a management command to its end; give its output."""
        argv = [sys.executable, "manage.py", *arguments]
        return self._supervisor.run(arguments[0], argv, self.environment(role), COMMAND_SECONDS)

    def environment(self, role: str) -> dict[str, str]:
        """The environment of a process that runs as ``role``: one side's, or ``strangler`` for both."""
        addresses, keys = self.addresses, self._secrets
        shared = {
            **plain_environment(),
            "PYTHONUNBUFFERED": "1",
            "STRANGLE_DEMO": "1",
            "SHOP_FAST_HASHER": "1",
            "MONOLITH_ADDRESS": f"127.0.0.1:{addresses.monolith}",
            "ORDERS_ADDRESS": f"127.0.0.1:{addresses.orders}",
            "STRANGLE_SHADOW_ADDRESS": f"127.0.0.1:{addresses.comparator}",
            "SHOP_SECRET_KEY": keys.shop,
            "ORDERS_SECRET_KEY": keys.orders,
            "FEED_TOKEN_ORDERS": keys.feed_orders,
            "FEED_TOKEN_MONOLITH": keys.feed_monolith,
        }
        for side in ("shop", "orders"):
            if role.startswith(f"{side}_") or role == "strangler":
                shared |= {
                    f"{side.upper()}_DB_HOST": "127.0.0.1",
                    f"{side.upper()}_DB_PORT": str(addresses.postgres),
                    f"{side.upper()}_DB_NAME": side,
                    f"{side.upper()}_DB_USER": role,
                    f"{side.upper()}_DB_PASSWORD": self.postgres.password,
                }
        return shared

    def write_operator_file(self, path: Path) -> None:
        """Write a shell file that, sourced, makes a terminal the operator's."""
        plain = plain_environment()
        environment = self.environment("strangler")
        path.touch(mode=0o600)
        path.write_text(
            "".join(f"export {name}='{value}'\n" for name, value in environment.items() if plain.get(name) != value)
        )

    def _start_web(self) -> None:
        addresses = self.addresses
        monolith = self._gunicorn("monolith", "legacy_monolith.wsgi", addresses.monolith, "shop_app")
        orders = self._gunicorn("orders service", "extracted_services.orders.wsgi", addresses.orders, "orders_app")
        self._supervisor.await_http(monolith, f"http://127.0.0.1:{addresses.monolith}/livez")
        self._supervisor.await_http(orders, f"http://127.0.0.1:{addresses.orders}/livez")

    def _start_messengers(self) -> None:
        service = ("--settings", SERVICE_SETTINGS)
        self._manage_forever("relay of the monolith", "shop_owner", "strangle_relay")
        self._manage_forever("relay of the service", "orders_owner", "strangle_relay", *service)
        self._manage_forever("consumer of the service", "orders_owner", "strangle_consume", CONTEXT, *service)
        self._manage_forever("consumer of the monolith", "shop_owner", "strangle_consume", CONTEXT)

    def _start_proxy(self) -> None:
        where = ("--listen", f"127.0.0.1:{self.addresses.proxy}")
        files = ("--directory", str(self._supervisor.directory / "proxy"))
        proxy = self._manage_forever("proxy", "shop_owner", "strangle_proxy", "run", *where, *files)
        self._supervisor.await_http(proxy, f"{self.addresses.url}/.strangler/version")
        self._supervisor.await_http(proxy, f"{self.addresses.url}/livez")

    def _manage_forever(self, name: str, role: str, *arguments: str) -> Child:
        return self._supervisor.start(name, [sys.executable, "manage.py", *arguments], self.environment(role))

    def _gunicorn(self, name: str, module: str, port: int, role: str) -> Child:
        argv = [
            *(sys.executable, "-m", "gunicorn", f"{module}:application"),
            *("--bind", f"127.0.0.1:{port}", "--worker-class", "gthread"),
            *("--workers", str(WEB_WORKERS), "--threads", str(WEB_THREADS)),
            *("--keep-alive", str(KEEP_ALIVE_SECONDS), "--timeout", "60", "--graceful-timeout", "5"),
            *("--backlog", "512", "--log-level", "warning"),
        ]
        return self._supervisor.start(name, argv, self.environment(role))
