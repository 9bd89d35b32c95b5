"""One context on its road between a monolith's and a service's database, both real, with every process as a thread."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import override_settings
from psycopg import sql

from migration_tools.capture.projector import RelationProjector
from migration_tools.messaging.consumer import Consumer
from migration_tools.messaging.relay import Relay
from migration_tools.playbook import Playbook, seconds
from migration_tools.playbook.registry import get
from migration_tools.testing.postgres import provision_schemas
from migration_tools.transfer.sync import TableWriter
from tests.conftest import SMALL_SHOP, Cluster, recreate
from tests.services import rig
from tests.stage import DirectFeed

ROAD = [
    "strangle_dual_write",
    "strangle_backfill",
    "strangle_verify",
    "strangle_switch_reads --percent 100",
    "strangle_cutover",
    "strangle_decommission",
]
PHASES = ["monolith_only", "dual_write", "backfill", "verify", "switch_reads", "cutover", "decommission"]


@dataclass(kw_only=True)
class Road:
    """Runs the moves of one context by their commands."""

    context: str
    shop: psycopg.Connection[Any]
    service: psycopg.Connection[Any]
    schema: str = "public"

    def run(self, command: str, *args: str) -> dict[str, Any]:
        """One command on the context, in process; what it answered."""
        name, *more = command.split()
        out = StringIO()
        call_command(name, self.context, *more, *args, "--format", "json", stdout=out)
        answer: dict[str, Any] = json.loads(out.getvalue())
        return answer

    def go(self, *commands: str) -> None:
        """Several, each of which must succeed."""
        for command in commands:
            self.run(command)


@contextmanager
def road(cluster: Cluster, templates: tuple[str, str], context: str, *, schema: bool = False) -> Iterator[Road]:
    """A small shop before the first phase of the context, with relays and consumers of both directions running.

    With `schema` the service lives in a schema called like it, in a database where every other service has one too.
    """
    with roads(cluster, templates, context, schema=schema) as made:
        yield made[context]


@contextmanager
def roads(
    cluster: Cluster, templates: tuple[str, str], *contexts: str, schema: bool = False
) -> Iterator[dict[str, Road]]:
    """The same of several contexts of one shop, each with a service of its own; by context."""
    suffix = f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.urandom(3).hex()}"
    shop, services = f"shop_{suffix}", {context: f"{context}_{suffix}" for context in contexts}
    recreate(cluster, shop, owner="shop_owner", template=templates[0])
    for context, service in services.items():
        _make_service(cluster, context, service, schema=schema)
    with ExitStack() as stack:
        stack.callback(_drop, cluster, shop, *services.values())
        stack.enter_context(_aliases(cluster, {"default": shop, **services}))
        upstreams = {"monolith": "127.0.0.1:1"} | {name: f"127.0.0.1:{2 + n}" for n, name in enumerate(contexts)}
        playbooks = [f"playbooks.{context}" for context in contexts]
        mine = {**settings.MIGRATION_TOOLS, "PLAYBOOKS": playbooks, "UPSTREAMS": upstreams}
        stack.enter_context(override_settings(MIGRATION_TOOLS=mine))
        made = {}
        for context, service in services.items():
            if schema:
                connections.settings[context]["OPTIONS"] = {"options": f"-c search_path={context}"}
            stack.enter_context(impatient(get(context)))
            made[context] = Road(
                context=context,
                shop=stack.enter_context(psycopg.connect(cluster.dsn(shop), autocommit=True)),
                service=stack.enter_context(psycopg.connect(cluster.dsn(service), autocommit=True)),
                schema=context if schema else "public",
            )
            made[context].service.execute("SELECT set_config('search_path', %s, false)", [made[context].schema])
        made[contexts[0]].shop.execute(SMALL_SHOP)
        made[contexts[0]].shop.execute(MORE)
        for context in contexts:
            stack.enter_context(_threads(context))
        yield made


def _make_service(cluster: Cluster, context: str, service: str, *, schema: bool) -> None:
    for name in rig.NAMES if schema else (context,):
        env = rig.environment(name, service, "owner")
        if not schema:
            rig.make_database(cluster, context, service)  # type: ignore[arg-type]
        elif name == rig.NAMES[0]:
            provision_schemas(cluster, service, rig.NAMES)  # type: ignore[arg-type]
        if schema:
            env["SERVICES_DATABASE_MODE"] = "schema"
        migrated = rig.manage(name, "migrate", "-v0", env=env)
        assert migrated.returncode == 0, migrated.stderr


MORE = """
    INSERT INTO payments_payment (order_id, amount, status, created_at, updated_at)
    SELECT id, total, 'authorised', placed_at, updated_at FROM orders_order;
    INSERT INTO inventory_movement (product_id, order_id, delta, reason, created_at)
    SELECT product_id, order_id, -quantity, 'ordered', now() FROM orders_orderline;
    INSERT INTO inventory_movement (product_id, delta, reason, created_at)
    SELECT s.product_id, s.on_hand - coalesce((SELECT sum(delta) FROM inventory_movement m
        WHERE m.product_id = s.product_id), 0), 'received', now() FROM inventory_stock s;
"""


def _drop(cluster: Cluster, *names: str) -> None:
    with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
        for name in names:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def _aliases(cluster: Cluster, names: dict[str, str]) -> Iterator[None]:
    """Let Django's aliases mean these databases for the block; a service's alias is made where there is none.

    A connection holds the very dict of `connections.settings`, which other threads' connections are made of: it is
    changed in place.
    """
    model = dict(connections.settings["default"])
    before = {alias: dict(connections.settings[alias]) for alias in names if alias in connections.settings}
    for alias, name in names.items():
        if alias in before:
            connections[alias].close()
        known = connections.settings.setdefault(alias, {})
        known.update(
            {**model, "NAME": name, "PORT": str(cluster.port), "PASSWORD": cluster.password, "ATOMIC_REQUESTS": False}
        )
    try:
        yield
    finally:
        for alias in names:
            connections[alias].close()
            if alias in before:
                connections.settings[alias].update(before[alias])
            else:
                del connections.settings[alias]
                del connections[alias]


@contextmanager
def impatient(playbook: type[Playbook]) -> Iterator[None]:
    gates = playbook.gates
    playbook.gates = replace(gates, soak=seconds(0), quiet=seconds(0.2))
    try:
        yield
    finally:
        playbook.gates = gates


@contextmanager
def _threads(context: str) -> Iterator[None]:
    """Relay and consumer of each direction."""
    stop = threading.Event()
    work = []
    feeds = []
    for sender, receiver in (("default", context), (context, "default")):
        feeds.append(DirectFeed(sender, sender, context))
        work.append(Relay(context, RelationProjector(), alias=sender).run)
        work.append(Consumer(context, feeds[-1], TableWriter(), using=receiver).run)
    threads = [threading.Thread(target=_run, args=(each, stop), daemon=True) for each in work]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for feed in feeds:
            feed.close()


def _run(work: Any, stop: threading.Event) -> None:
    try:
        work(stop)
    finally:
        connections.close_all()


def playbook_of(context: str) -> type[Playbook]:
    """The playbook that the example declares for a context."""
    module = import_module(f"playbooks.{context}")
    found: type[Playbook] = getattr(module, context.capitalize())
    return found


@pytest.fixture(params=rig.NAMES)
def context(request: pytest.FixtureRequest) -> str:
    """Each context beside orders."""
    return str(request.param)
