"""The stack: PostgreSQL, oscar as the monolith, oscar on the service's tables, relays, consumers and Envoy."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import psycopg

from demo import ROOT
from demo.processes import Child, Supervisor, choose_ports, plain_environment
from demo.stack import KEEP_ALIVE_SECONDS
from migration_tools.testing.postgres import EmbeddedPostgres, provision

SETTINGS = "tests.oscar.cut.settings"
COPIES = {"order": "auth.User,address.Country"}
"""Models of which a context's service keeps a copy, because oscar's pages join them."""

COMMAND_SECONDS = 180.0
WEB_THREADS = 4


class OscarStack:
    """Starts everything in the order of need; leaving the block stops everything, PostgreSQL last."""

    def __init__(self, supervisor: Supervisor, *, say: Callable[[str], None], contexts: Sequence[str]) -> None:
        self.contexts = tuple(contexts)
        self._supervisor = supervisor
        self._say = say
        self.generated = supervisor.directory / "generated"
        postgres, self._monolith, self._proxy, *rest = choose_ports(3 + 2 * len(self.contexts))
        self._own_code = dict(zip(self.contexts, rest[::2], strict=True))
        self._services = dict(zip(self.contexts, rest[1::2], strict=True))
        self._tokens = {side: secrets.token_urlsafe(24) for side in ("monolith", *self.contexts)}
        self._key = secrets.token_urlsafe(40)
        self.postgres = EmbeddedPostgres(supervisor.directory / "postgres")
        self.postgres.port = postgres

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._supervisor.close()
        self.postgres.stop("immediate")

    @property
    def url(self) -> str:
        """The shop, as customers see it: through Envoy."""
        return f"http://127.0.0.1:{self._proxy}"

    def superuser_dsn(self, database: str) -> str:
        return self.postgres.dsn(database, "postgres")

    def start(self, *, orders: int) -> None:
        """Start the shop with some orders, and what each context needs on its way."""
        self._say("starting PostgreSQL; a database and roles for each side")
        self.postgres.start()
        provision(self.postgres, ("oscar", *self.contexts))
        with psycopg.connect(self.superuser_dsn("postgres"), autocommit=True) as conn:
            conn.execute("ALTER ROLE strangler CREATEDB")  # for the scratch database of the removal
        for context in self.contexts:
            self._generate(context)
        self._say(f"oscar's own schema migrations, and {orders} orders by its own views")
        self._run("seed", "-m", "tests.oscar.cut.seed", str(orders), env=self.environment("oscar_owner"))
        self._say("starting oscar, the services, relays, consumers and Envoy")
        monolith = self._web("monolith", self._monolith, self.environment("oscar_app"))
        self._supervisor.await_http(monolith, f"http://127.0.0.1:{self._monolith}/strangle/livez")
        self._forever("relay of the monolith", "strangle_relay", env=self.environment("oscar_owner"))
        for context in self.contexts:
            self._start_service(context)
        where = ("--listen", f"127.0.0.1:{self._proxy}", "--directory", str(self._supervisor.directory / "proxy"))
        proxy = self._forever("proxy", "strangle_proxy", "run", *where, env=self.environment("oscar_owner"))
        self._supervisor.await_http(proxy, f"{self.url}/.strangler/version")
        self._supervisor.await_http(proxy, f"{self.url}/strangle/livez")

    def environment(self, role: str, *, side: str = "monolith") -> dict[str, str]:
        """The environment of oscar's code as `role`; `strangler` sees all databases, a `side` its own too."""
        env = self._shared() | self._database("oscar", role)
        env |= {"DJANGO_SETTINGS_MODULE": SETTINGS, "OSCAR_SIDE": side}
        for context in self.contexts:
            if role == "strangler" or side == context:
                env |= self._database(context, role if role == "strangler" else f"{context}_app")
        return env

    def service_environment(self, context: str, role: str) -> dict[str, str]:
        """The environment of the generated service, which sees its own database alone."""
        settings = {"DJANGO_SETTINGS_MODULE": f"{context}_service.settings"}
        return self._shared() | self._database(context, role) | settings

    def _shared(self) -> dict[str, str]:
        env = {**plain_environment(), "PYTHONUNBUFFERED": "1", "OSCAR_CONTEXTS": ",".join(self.contexts)}
        env["PYTHONPATH"] = os.pathsep.join([str(self.generated), str(ROOT)])
        env |= {f"FEED_TOKEN_{side.upper()}": token for side, token in self._tokens.items()}
        env["MONOLITH_ADDRESS"] = f"127.0.0.1:{self._monolith}"
        for context in self.contexts:
            env[f"{context.upper()}_ADDRESS"] = f"127.0.0.1:{self._own_code[context]}"
            env[f"{context.upper()}_FEED_ADDRESS"] = f"127.0.0.1:{self._services[context]}"
            env[f"{context.upper()}_SECRET_KEY"] = self._key
        return env

    def _database(self, side: str, role: str) -> dict[str, str]:
        return {
            f"{side.upper()}_DB_HOST": "127.0.0.1",
            f"{side.upper()}_DB_PORT": str(self.postgres.port),
            f"{side.upper()}_DB_NAME": side,
            f"{side.upper()}_DB_USER": role,
            f"{side.upper()}_DB_PASSWORD": self.postgres.password,
        }

    def _generate(self, context: str) -> None:
        """Playbook and service, by the toolkit's own generators, and the service's schema."""
        self._say(f"strangle_init and strangle_service write playbook and service of {context!r} from oscar's models")
        env = self._shared() | {"DJANGO_SETTINGS_MODULE": "tests.oscar.settings"}
        package = self.generated / "oscar_generated"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        shape = ("--keep-names", "--copies", COPIES.get(context, ""))
        output = ("--output", str(package / f"{context}.py"))
        self._run("strangle_init", "-m", "django", "strangle_init", context, *shape, *output, env=env)
        where = ("--package", f"{context}_service", "--root", str(self.generated))
        self._run("strangle_service", "-m", "django", "strangle_service", "new", context, *shape, *where, env=env)
        self._run(
            "migrate", "-m", "django", "migrate", "-v0", env=self.service_environment(context, f"{context}_owner")
        )

    def _start_service(self, context: str) -> None:
        own_code = self.environment("oscar_app", side=context)
        self._web(f"oscar on {context}", self._own_code[context], own_code)
        web = self._web(
            f"{context} service", self._services[context], self.service_environment(context, f"{context}_app")
        )
        owner = self.service_environment(context, f"{context}_owner")
        self._forever(f"relay of {context}", "strangle_relay", context, env=owner)
        self._forever(f"consumer of {context}", "strangle_consume", context, env=owner)
        monolith = self.environment("oscar_owner")
        self._forever(f"consumer of the monolith for {context}", "strangle_consume", context, env=monolith)
        self._supervisor.await_http(web, f"http://127.0.0.1:{self._services[context]}/strangle/livez")

    def _run(self, name: str, *arguments: str, env: dict[str, str]) -> None:
        self._supervisor.run(name, [sys.executable, "-W", "ignore", *arguments], env, COMMAND_SECONDS)

    def _forever(self, name: str, *arguments: str, env: dict[str, str]) -> Child:
        return self._supervisor.start(name, [sys.executable, "-W", "ignore", "-m", "django", *arguments], env)

    def _web(self, name: str, port: int, env: dict[str, str]) -> Child:
        argv = [
            *(sys.executable, "-W", "ignore", "-m", "gunicorn", "django.core.wsgi:get_wsgi_application()"),
            *("--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--threads", str(WEB_THREADS)),
            *("--keep-alive", str(KEEP_ALIVE_SECONDS), "--timeout", "60", "--graceful-timeout", "5"),
            *("--log-level", "warning"),
        ]
        return self._supervisor.start(name, argv, env)
