"""The three services as processes over HTTP, each killed and started at will."""

import json
import os
import random
import subprocess
import sys
import time
from typing import Any

from migration_tools.testing.postgres import free_port
from tests.conftest import ROOT
from tests.sagas.tables import SERVICES
from tests.sagas.world import World


class Processes:
    """One process a service."""

    def __init__(self, world: World):
        self.world = world
        self.ports = {name: free_port() for name in SERVICES}
        self.running: dict[str, subprocess.Popen[str]] = {}

    def environment(self, service: str, **more: str) -> dict[str, str]:
        """What a process of the service is started with."""
        return {
            **os.environ,
            **self.world.cluster.environment(),
            "SAGA_SERVICE": service,
            "SAGA_DB_NAME": self.world.names[service],
            "SAGA_PORTS": json.dumps(self.ports),
            "DJANGO_SETTINGS_MODULE": "tests.sagas.host_settings",
            "PYTHONPATH": str(ROOT),
            **more,
        }

    def start(self, service: str, **more: str) -> "subprocess.Popen[str]":
        """Start a service, in the place of its last process; with STRANGLE_POINTS it dies where that says."""
        self.kill(service)
        log = subprocess.DEVNULL if os.environ.get("CI") else None
        self.running[service] = subprocess.Popen(
            [sys.executable, "-m", "tests.sagas.host"],
            cwd=ROOT,
            env=self.environment(service, **more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            text=True,
        )
        return self.running[service]

    def kill(self, service: str) -> None:
        """SIGKILL."""
        process = self.running.pop(service, None)
        if process is not None:
            process.kill()
            process.wait()

    def close(self) -> None:
        """Kill what runs."""
        for service in list(self.running):
            self.kill(service)

    def run(self, *args: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run a program as the orders service to its end."""
        return subprocess.run(
            [sys.executable, *args],
            cwd=ROOT,
            env=self.environment("orders", **more),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def storm(self, seed: int, kills: int, between: tuple[float, float] = (0.2, 1.5)) -> None:
        """Kill a service at random and start it again, so often."""
        choose = random.Random(seed)
        for _ in range(kills):
            service = choose.choice(SERVICES)
            pause = choose.uniform(*between)
            deadline = time.monotonic() + pause
            while time.monotonic() < deadline:
                time.sleep(0.01)
            self.start(service)


def open_orders(world: World, orders: list[str]) -> int:
    """How many of the orders are still pending."""
    return int(world.one("orders", "SELECT count(*) FROM shop_order WHERE id = ANY (%s) AND state = 'pending'", orders))


def books(world: World) -> Any:
    """(on hand, reserved, money): what is conserved."""
    stock = world.conns["inventory"].execute("SELECT sum(on_hand), sum(reserved) FROM shop_stock").fetchone()
    money = world.one("payments", "SELECT sum(balance) FROM shop_account")
    return (*(stock or ()), money)
