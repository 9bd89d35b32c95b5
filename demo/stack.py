"""The stack: PostgreSQL, monolith, services, relays, consumers, Envoy and comparator, each as its own role."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from demo.processes import Child, Supervisor, answers, choose_ports, plain_environment
from demo.stores import start_documents, start_stores
from migration_tools.testing.postgres import EmbeddedPostgres, provision

CONTEXT = "orders"
MODE, POLYGLOT = "instance", "polyglot"  # all services in PostgreSQL, or those that can in another engine

GROUPS = {"inventory": ("orders", "stock"), "payments": ("orders", "money")}
"""Services that hear of sales from the orders service itself: the stream, and their group of handlers."""

FOLLOWERS = {"catalog": "products", "users": "names"}
"""Contexts of which the orders service keeps copies: its group that follows their events once the monolith is out."""

COMMAND_SECONDS = 180.0
KEEP_ALIVE_SECONDS = 75
"""Longer than the proxy keeps an idle connection, so the proxy is always the one to close it."""

WEB_WORKERS, WEB_THREADS = 2, 6
FOLLOWING_THREADS = 10
STAFF = "operator@example.com"
"""Who may log in to the console; the password is drawn for the run."""


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where everything listens, on 127.0.0.1."""

    postgres: int
    monolith: int
    proxy: int
    comparator: int
    services: dict[str, int]

    @classmethod
    def choose(cls, contexts: Sequence[str]) -> Addresses:
        postgres, monolith, proxy, comparator, *services = choose_ports(4 + len(contexts))
        return cls(
            postgres=postgres,
            monolith=monolith,
            proxy=proxy,
            comparator=comparator,
            services=dict(zip(contexts, services, strict=True)),
        )

    @property
    def url(self) -> str:
        """The shop, as customers see it: through Envoy."""
        return f"http://127.0.0.1:{self.proxy}"

    @property
    def console(self) -> str:
        """The toolkit's console, in the monolith itself."""
        return f"http://127.0.0.1:{self.monolith}/strangle/console/"


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """Keys and feed tokens made for this run, by side."""

    staff: str
    keys: dict[str, str] = field(default_factory=dict)
    feeds: dict[str, str] = field(default_factory=dict)

    @classmethod
    def draw(cls, contexts: Sequence[str]) -> Secrets:
        return cls(
            staff=secrets.token_urlsafe(9),
            keys={side: secrets.token_urlsafe(40) for side in ("shop", *contexts)},
            feeds={side: secrets.token_urlsafe(24) for side in ("monolith", *contexts)},
        )


class Stack:
    """Starts everything in the order of need; leaving the block stops everything, PostgreSQL last."""

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        say: Callable[[str], None],
        contexts: Sequence[str] = (CONTEXT,),
        companions: Sequence[str] = (),
        relayed: Sequence[str] = (),
        mode: str = MODE,
    ) -> None:
        self.contexts = tuple(contexts)
        self.companions = tuple(companions)
        self.addresses = Addresses.choose((*self.contexts, *self.companions))
        self._supervisor = supervisor
        self._secrets = Secrets.draw((*self.contexts, *self.companions))
        self._relayed = tuple(relayed)
        self.mode = mode
        self._say = say
        self._messengers: dict[str, Child] = {}
        self.stores: dict[str, str] = {}
        self._documents: dict[str, str] = {}
        # Nobody prepares transactions here, so relays may sleep: see migration_tools.messaging.wake.
        self.postgres = EmbeddedPostgres(supervisor.directory / "postgres", options={"max_prepared_transactions": "0"})
        self.postgres.port = self.addresses.postgres

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._supervisor.close()
        self.postgres.stop("immediate")

    @property
    def in_documents(self) -> bool:
        """Whether the stock of the inventory service is in MongoDB's documents."""
        return self.mode == POLYGLOT and "inventory" in self.contexts

    @property
    def shop_dsn(self) -> str:
        """The monolith's database as its web processes see it: what legacy writers use."""
        return self.postgres.dsn("shop", "shop_app")

    def superuser_dsn(self, database: str) -> str:
        return self.postgres.dsn(database, "postgres")

    def start(self, *, orders: int, seed: int) -> None:
        """Start everything, with ``orders`` seeded orders in the monolith."""
        self.prepare(orders=orders, seed=seed)
        self.open()

    def prepare(self, *, orders: int, seed: int) -> None:
        """Start PostgreSQL alone, with ``orders`` seeded orders in the monolith's database."""
        self._say("starting PostgreSQL; a database and roles for each side")
        self.postgres.start()
        provision(self.postgres, ("shop", *self.contexts, *self.companions))
        if self.companions:
            self.stores = start_stores(self._supervisor)
        if self.in_documents:
            self._documents = start_documents(self._supervisor)
        self._say("schema migrations of both sides")
        self.manage("migrate", "-v0", role="shop_owner")
        self.migrate_service(CONTEXT)
        self._say(f"seeding {orders:,} orders")
        self.manage("shop_seed", "--orders", str(orders), "--seed", str(seed), role="shop_owner")

    @contextmanager
    def traced_monolith(self, traces: Path) -> Iterator[str]:
        """Run the monolith alone, watched by the tracer; its URL. When the block has ended all is in ``traces``."""
        address = self.addresses.monolith
        url = f"http://127.0.0.1:{address}"
        module = "legacy_monolith.wsgi"
        monolith = self._gunicorn("traced monolith", module, address, "shop_app", SHOP_TRACES=str(traces))
        self._supervisor.await_http(monolith, f"{url}/livez")
        yield url
        self._supervisor.stop(monolith)

    def open(self) -> None:
        """Start every process of a stack that is prepared."""
        self._say("starting monolith, orders service, relays, consumers, Envoy and the comparator of shadow reads")
        # Each stream that a companion or a service follows holds a thread for as long as it waits for news.
        threads = WEB_THREADS + (FOLLOWING_THREADS if self.companions else 0)
        address = self.addresses.monolith
        monolith = self._gunicorn("monolith", "legacy_monolith.wsgi", address, "shop_app", threads=threads)
        service = self.start_web(CONTEXT)
        self._supervisor.await_http(service, f"http://127.0.0.1:{self.addresses.services[CONTEXT]}/livez")
        self._supervisor.await_http(monolith, f"http://127.0.0.1:{self.addresses.monolith}/livez")
        self._messengers[""] = self.manage_forever(
            "relay of the monolith", "shop_owner", "strangle_relay", *self._relayed
        )
        self._start_messengers(CONTEXT)
        self._hear(CONTEXT)
        self._start_proxy()
        self._let_staff_in()
        comparator = self.manage_forever("comparator", "shop_owner", "strangle_shadow", "run")
        self._supervisor.await_http(comparator, f"http://127.0.0.1:{self.addresses.comparator}/livez")

    @property
    def console_login(self) -> str:
        """Where a newcomer watches the run, and as whom."""
        return f"{self.addresses.console} (log in as {STAFF}, password {self._secrets.staff})"

    def _let_staff_in(self) -> None:
        """Make a login for the console, and start the operator's process that the console shows the work of."""
        self.manage(
            *("createsuperuser", "--no-input", "--email", STAFF, "-v0"),
            role="shop_owner",
            DJANGO_SUPERUSER_PASSWORD=self._secrets.staff,
        )
        self.manage_forever("operator's process", "strangler", "strangle_operate")

    def promote(self, user: int) -> None:
        """Make a customer one of the staff."""
        with psycopg.connect(self.superuser_dsn("shop")) as shop:
            shop.execute("UPDATE accounts_user SET is_staff = true WHERE id = %s", [user])

    def start_services(self, *contexts: str, workers: int = WEB_WORKERS) -> None:
        """Make and start further services, with every process that their contexts need on the way.

        One starts while the next one's schema is made; the monolith hears of all of them in one process.
        """
        started = {}
        for context in contexts:
            self.migrate_service(context)
            started[context] = self.start_web(context, workers=workers)
            self._start_messengers(context)
        self._hear(*contexts)
        for context, web in started.items():
            self._supervisor.await_http(web, f"http://127.0.0.1:{self.addresses.services[context]}/livez")

    def migrate_service(self, context: str) -> None:
        """Bring a service's schema up to date."""
        self.manage("migrate", "-v0", *_settings(context), role=f"{context}_owner")

    def start_follower(self, context: str, after: int) -> None:
        """Let the orders service follow a context's own events, from those after a position on."""
        group = ("--group", FOLLOWERS[context], *_settings(CONTEXT))
        self.manage("strangle_replay", context, "--after", str(after), *group, role=f"{CONTEXT}_owner")
        self.manage_forever(f"follower of {context}", f"{CONTEXT}_owner", "strangle_consume", context, *group)

    def stop_messengers_of_the_monolith(self, *, but: Sequence[str]) -> None:
        """End the monolith's relay and its consumers, `but` those of some contexts; its web processes stay."""
        for context in [each for each in self._messengers if each not in but]:
            self._supervisor.stop(self._messengers.pop(context))

    def manage(self, *arguments: str, role: str, **environment: str) -> str:
        """Run a management command to its end; give its output."""
        argv = [sys.executable, "manage.py", *arguments]
        return self._supervisor.run(arguments[0], argv, self.environment(role) | environment, COMMAND_SECONDS)

    def environment(self, role: str) -> dict[str, str]:
        """The environment of a process that runs as ``role``: one side's, or ``strangler`` for both."""
        addresses, keys = self.addresses, self._secrets
        shared = {
            **plain_environment(),
            "PYTHONUNBUFFERED": "1",
            "STRANGLE_DEMO": "1",
            "SERVICES_DATABASE_MODE": self.mode,
            "SHOP_FAST_HASHER": "1",
            "STRANGLE_CONTEXTS": ",".join(self.contexts),
            "STRANGLE_BYSTANDERS": ",".join(self.companions),
            "MONOLITH_ADDRESS": f"127.0.0.1:{addresses.monolith}",
            "STRANGLE_SHADOW_ADDRESS": f"127.0.0.1:{addresses.comparator}",
        }
        # Companions hear of what happens from the monolith, and ask whoever owns it through the proxy.
        beside = role.removesuffix("_app").removesuffix("_owner") in self.companions
        told = () if beside else self.contexts
        shared |= {f"{name.upper()}_ADDRESS": f"127.0.0.1:{addresses.services[name]}" for name in told}
        shared |= {"SHOP_ADDRESS": f"127.0.0.1:{addresses.proxy}"}
        if (place := addresses.services.get("recommendations")) is not None:
            shared |= {"RECOMMENDATIONS_URL": f"http://127.0.0.1:{place}"}
        if self.companions:
            shared |= {"SHOP_CHECKOUTS": "1"}  # start_checkouts
        if beside or role == "strangler":
            shared |= self.stores
        shared |= self._documents if role.startswith("inventory_") else {}
        shared |= {f"{side.upper()}_SECRET_KEY": key for side, key in keys.keys.items()}
        shared |= {f"FEED_TOKEN_{side.upper()}": token for side, token in keys.feeds.items()}
        for side in ("shop", *self.contexts, *self.companions):
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

    def start_web(self, name: str, *, workers: int = WEB_WORKERS) -> Child:
        """Start a service's web processes; they may not answer yet."""
        port, role = self.addresses.services[name], f"{name}_app"
        module = f"extracted_services.{name}.wsgi"
        return self._gunicorn(f"{name} service", module, port, role, workers=workers)

    def await_web(self, name: str) -> None:
        """Wait until a service answers."""
        url = f"http://127.0.0.1:{self.addresses.services[name]}/livez"
        self._supervisor.await_condition(f"200 from the {name} service at {url}", lambda: answers(url))

    def _start_messengers(self, context: str) -> None:
        owner, service = f"{context}_owner", _settings(context)
        self.manage_forever(f"relay of {context}", owner, "strangle_relay", context, *service)
        self.manage_forever(f"consumer of {context}", owner, "strangle_consume", context, *service)
        if context in GROUPS:
            stream, group = GROUPS[context]
            asked = ("strangle_consume", stream, "--group", group, *service)
            self.manage_forever(f"group {group} of {context}", owner, *asked)

    def _hear(self, *contexts: str) -> None:
        """Let the monolith hear of what services write that own these contexts, once they do."""
        name = f"consumer of the monolith for {' '.join(contexts)}"
        self._messengers[" ".join(contexts)] = self.manage_forever(name, "shop_owner", "strangle_consume", *contexts)

    def _start_proxy(self) -> None:
        where = ("--listen", f"127.0.0.1:{self.addresses.proxy}")
        files = ("--directory", str(self._supervisor.directory / "proxy"))
        proxy = self.manage_forever("proxy", "shop_owner", "strangle_proxy", "run", *where, *files)
        self._supervisor.await_http(proxy, f"{self.addresses.url}/.strangler/version")
        self._supervisor.await_http(proxy, f"{self.addresses.url}/livez")

    def manage_forever(self, name: str, role: str, *arguments: str) -> Child:
        """Start a management command that works until it is ended."""
        argv = [sys.executable, "manage.py", *arguments]
        return self._supervisor.start(name, argv, self.environment(role))

    def _gunicorn(
        self,
        name: str,
        module: str,
        port: int,
        role: str,
        *,
        workers: int = WEB_WORKERS,
        threads: int = WEB_THREADS,
        **further: str,
    ) -> Child:
        argv = [
            *(sys.executable, "-m", "gunicorn", f"{module}:application"),
            *("--bind", f"127.0.0.1:{port}", "--worker-class", "gthread"),
            *("--workers", str(workers), "--threads", str(threads)),
            *("--keep-alive", str(KEEP_ALIVE_SECONDS), "--timeout", "60", "--graceful-timeout", "5"),
            *("--backlog", "512", "--log-level", "warning"),
        ]
        return self._supervisor.start(name, argv, self.environment(role) | further)


def _settings(context: str) -> tuple[str, str]:
    return ("--settings", f"extracted_services.{context}.settings")
