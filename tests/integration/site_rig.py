"""The whole site: the monolith and the orders service under gunicorn, a real Envoy before both, capture installed."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from migration_tools.routing.table import RoutingTable, ensure_context, with_reads
from proxy.options import Address, ProxyOptions
from tests.conftest import ROOT, SMALL_SHOP, Pair
from tests.integration.proxy_rig import Rig, await_until, free_port
from tests.stage import Stage

MONOLITH, SERVICE = "legacy_monolith.wsgi", "extracted_services.orders.wsgi"


class Gunicorn:
    """One side's server; `stop` and `start` keep its port."""

    def __init__(self, module: str, environment: dict[str, str], log: Path) -> None:
        self._module, self._environment, self._log = module, environment, log
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.address = Address(host="127.0.0.1", port=self.port)
        self._listener.close()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serve, and wait until it answers."""
        with self._log.open("a") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", self._module, "--threads", "4", "--worker-class", "gthread",
                 "--bind", f"127.0.0.1:{self.port}", "--no-control-socket", "--keep-alive", "75"],
                cwd=ROOT, env={**os.environ, **self._environment}, stdout=output, stderr=output,
            )  # fmt: skip
        await_until(self._alive, 90, f"{self._module} answers; {self._log} says why not")

    def stop(self) -> None:
        """Be gone."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def _alive(self) -> bool:
        try:
            return httpx2.get(f"http://127.0.0.1:{self.port}/livez").status_code == 200
        except httpx2.HTTPError:
            return False


@dataclass
class Site:
    """Both sides, the proxy before them, and the stage that carries rows from one to the other when told."""

    monolith: Gunicorn
    service: Gunicorn
    proxy: Rig
    stage: Stage

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy.options.listen.port}"

    @contextmanager
    def browser(self) -> Iterator["Browser"]:
        """A new visitor."""
        with httpx2.Client(base_url=self.url, timeout=30) as client:
            yield Browser(client)


class Browser:
    """A visitor who keeps cookies as browsers do, through the proxy."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.name: cookie.value or "" for cookie in self.client.cookies.jar}

    def forget(self, *prefixes: str) -> None:
        """Lose cookies, as when their time is over."""
        for name in [name for name in self.cookies if name.startswith(prefixes)]:
            self.client.cookies.delete(name)

    def post(self, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        if "csrftoken" not in self.cookies:
            self.client.get("/api/csrf/")
        headers.setdefault("X-CSRFToken", self.cookies["csrftoken"])
        return self.client.post(path, json=body if body is not None else {}, headers=headers)

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return self.client.get(path, headers=headers)

    def sign_up(self, first_name: str = "Ada") -> int:
        """A new customer, logged in; their key."""
        email = f"{os.urandom(4).hex()}@example.com"
        form = {"email": email, "password": "long enough", "first_name": first_name, "last_name": "L"}
        answer = self.post("/api/accounts/signup/", form)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["id"])

    def order(self) -> str:
        """Place an order; its public id."""
        lines = [{"product": 1, "quantity": 1}]
        address = {"street": "1 Way", "city": "Town", "postal_code": "1", "country": "GB"}
        wanted = {"lines": lines, "shipping_address": address, "client_reference": os.urandom(6).hex()}
        answer = self.post("/api/orders/", wanted)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def sees(self, order: str) -> bool:
        """Whether a read through the proxy shows the order."""
        return self.get(f"/api/orders/{order}/").status_code == 200


def side_of(answer: httpx2.Response) -> str:
    """Who answered: only the monolith has Django's middleware against framing."""
    return "monolith" if "x-frame-options" in answer.headers else "orders"


@contextmanager
def site(pair: Pair, log: Path, **environment: str) -> Iterator[Site]:
    """A running site whose orders are copied, read from the service and written by the monolith."""
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    with ExitStack() as stack:
        stage = Stage(pair)
        stack.callback(stage.close)
        stage.settle()
        stage.backfill()
        table = ensure_context(RoutingTable(version=1), "orders", ["/api/orders/"], "orders")
        yield stack.enter_context(serving(stage, log, with_reads(table, "orders", 100), **environment))


@contextmanager
def serving(stage: Stage, log: Path, table: RoutingTable, **environment: str) -> Iterator[Site]:
    """Both sides' servers on a stage's databases, and the proxy before them with a table in force."""
    pair = stage.pair
    with ExitStack() as stack:
        of_monolith = {"ORDERS_DB_PORT": "1", "DJANGO_SETTINGS_MODULE": "legacy_monolith.settings"}
        monolith = Gunicorn(MONOLITH, pair.environment(user="shop_app") | of_monolith | environment, log)
        of_service = {"SHOP_DB_PORT": "1", "DJANGO_SETTINGS_MODULE": "extracted_services.orders.settings"}
        of_service["MONOLITH_ADDRESS"] = str(monolith.address)
        service = Gunicorn(SERVICE, pair.environment(user="orders_app") | of_service | environment, log)
        for server in (monolith, service):
            stack.callback(server.stop)
            server.start()
        directory = Path(tempfile.mkdtemp(prefix="sx"))
        stack.callback(shutil.rmtree, directory)
        rig = Rig(
            options=ProxyOptions(
                directory=directory / "envoy",
                listen=Address(host="127.0.0.1", port=free_port()),
                upstreams={"monolith": (monolith.address,), "orders": (service.address,)},
            ),
            old=None,  # type: ignore[arg-type]
            new=None,  # type: ignore[arg-type]
            table=table,
        )
        stack.callback(rig.stop)
        rig.start()
        yield Site(monolith=monolith, service=service, proxy=rig, stage=stage)
