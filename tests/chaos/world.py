"""One context in the middle of its migration: a pair of databases, relays, consumers and feeds as real processes."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from migration_tools.testing.postgres import EmbeddedPostgres, free_port
from tests.chaos.nursery import Child, Nursery
from tests.conftest import Cluster, Pair
from tests.operators import IMPATIENT, owners

SECONDS = 60.0
CALM_SECONDS = 12.0
GATE_NOT_MET = 4
WHEN_QUIETER = "Try when it is quieter"
GATE_TRIES = 60
TOKENS = {
    "FEED_TOKEN_ORDERS": "chaos-feed-token-orders",
    "FEED_TOKEN_MONOLITH": "chaos-feed-token-monolith",
    "SHOP_FAST_HASHER": "1",
}

PHASES = ["monolith_only", "dual_write", "backfill", "verify", "switch_reads", "cutover", "decommission"]
FORWARD = {
    "dual_write": "strangle_dual_write",
    "backfill": "strangle_backfill",
    "verify": "strangle_verify",
    "switch_reads": "strangle_switch_reads --percent 100",
    "cutover": "strangle_cutover",
    "decommission": "strangle_decommission",
}
BACK = "strangle_rollback"

# The processes beside the operator: (is it the service's?, what manage.py runs).
SERVERS = {
    "relay": (False, ["strangle_relay", "orders"]),
    "consumer": (True, ["strangle_consume", "orders"]),
    "relay back": (True, ["strangle_relay", "orders"]),
    "consumer back": (False, ["strangle_consume", "orders"]),
    "feed": (False, ["serve"]),
    "feed back": (True, ["serve"]),
}


@dataclass(frozen=True, kw_only=True)
class Nurseries:
    """Where processes of the monolith and of the service come from."""

    monolith: Nursery
    service: Nursery

    @classmethod
    def opened(cls) -> "Nurseries":
        """Start both; their settings are read again by every child."""
        env = {**IMPATIENT, **TOKENS, "ORDERS_DB_NAME": "orders"}
        return cls(
            monolith=Nursery("legacy_monolith.settings", env),
            service=Nursery("extracted_services.orders.settings", env),
        )

    def close(self) -> None:
        """End both and all their children."""
        self.monolith.close()
        self.service.close()


class World:
    """The pair and its processes; whoever dies is started again by `revive`."""

    def __init__(self, server: EmbeddedPostgres, pair: Pair, nurseries: Nurseries, directory: Path, **env: str):
        self.server = server
        self.pair = pair
        self.nurseries = nurseries
        self.directory = directory
        self.ports = {"feed": free_port(), "feed back": free_port()}
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        self.env = env
        self.living: dict[str, Child] = {}
        self.deaths: list[tuple[str, int]] = []
        self.calm = threading.Event()
        self._hired: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._number = 0

    def connect(self, side: str, user: str = "postgres") -> psycopg.Connection[Any]:
        """Open a connection of the test's own."""
        return self.pair.connect(side, user, connect_timeout=10)

    def start(self, command: str, *, points: str = "", seen: Path | None = None) -> Child:
        """Start an operator's command on the context."""
        name, *args = command.split()
        if name in {"strangle_decommission", "strangle_verify"} and "--keep-copies" not in args:
            args += ["--directory", str(self.directory / name)]
        return self._fork(False, [name, "orders", *args], operator=True, points=points, seen=seen)

    def run(self, command: str, **options: Any) -> Child:
        """Run an operator's command to its end, whatever that is."""
        child = self.start(command, **options)
        with self.calmer_after(CALM_SECONDS):
            if child.wait(SECONDS) is None:
                said = child.said()
                child.kill()
                raise AssertionError(f"{command} did not end within {SECONDS:.0f} s: {said}")
        return child

    @contextmanager
    def calmer_after(self, seconds: float) -> Iterator[None]:
        """Let customers write less once the block takes so long: a copy waits while the consumer cannot keep up."""
        before = self.calm.is_set()
        timer = threading.Timer(seconds, self.calm.set)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            if not before:
                self.calm.clear()

    def run_past_gates(self, command: str, **options: Any) -> Child:
        """Run a command again while a gate refuses it; customers write less meanwhile: a slow machine must catch up."""
        done = self.run(command, **options)
        try:
            for number in range(GATE_TRIES):
                if done.status != GATE_NOT_MET and WHEN_QUIETER not in done.said():
                    break
                if number > 2 or done.status != GATE_NOT_MET:
                    self.calm.set()
                self.revive()
                done = self.run(command, **options)
        finally:
            self.calm.clear()
        return done

    def insist(self, command: str, tries: int = 8, **options: Any) -> list[Child]:
        """Run the same command until it is done, as its messages say; all that a person may have to do."""
        attempts = []
        for _ in range(tries):
            self.revive()
            attempts.append(self.run_past_gates(command, **options))
            if attempts[-1].status == 0:
                return attempts
        raise AssertionError(f"{command} was not done after {tries} tries: {attempts[-1].said()}")

    def serve(self, name: str, *, points: str = "", seen: Path | None = None) -> Child:
        """Start one of SERVERS."""
        argv, env = self._hired.get(name, ([], {}))
        of_service, argv = SERVERS.get(name, (False, argv))
        argv = [*argv, str(self.ports[name])] if argv == ["serve"] else argv
        self.living[name] = self._fork(of_service, argv, operator=False, points=points, seen=seen, **env)
        return self.living[name]

    def hire(self, name: str, argv: list[str], env: dict[str, str]) -> None:
        """Run one more process of the monolith, with an environment of its own, which is revived as the others are."""
        self._hired[name] = (argv, env)
        self.serve(name)

    def dismiss(self, name: str) -> None:
        """End a hired process."""
        child = self.living.pop(name, None)
        if child is not None:
            child.send(signal.SIGCONT)
            child.kill()

    def serve_all(self, **seen: Path) -> None:
        """Start all of SERVERS, the feeds first."""
        for name in sorted(SERVERS, key=lambda name: "feed" not in name):
            self.serve(name, seen=seen.get(name.replace(" ", "_")))

    def revive(self) -> list[str]:
        """Start again what has died; returns whom."""
        dead = [name for name, child in self.living.items() if child.status is not None]
        for name in dead:
            self.deaths.append((name, self.living[name].status or 0))
            self.serve(name)
        return dead

    def close(self) -> None:
        """Kill every process."""
        for child in self.living.values():
            child.send(signal.SIGCONT)
            child.kill()
        self.living.clear()

    def phase(self) -> tuple[str, str | None]:
        """The phase and the move under way, by SQL."""
        with self.connect("shop") as conn:
            row = conn.execute("SELECT phase, move FROM strangle_context WHERE name = 'orders'").fetchone()
        return (row[0], row[1]) if row else (PHASES[0], None)

    def owners(self) -> list[str]:
        """The sides whose own fence lets applications write."""
        return owners(self.pair)

    def _fork(
        self, of_service: bool, argv: list[str], *, operator: bool, points: str, seen: Path | None, **own: str
    ) -> Child:
        env = {
            **self.pair.environment(operator=operator),
            **IMPATIENT,
            **TOKENS,
            "MONOLITH_ADDRESS": self.addresses["feed"],
            "ORDERS_ADDRESS": self.addresses["feed back"],
            "DJANGO_SETTINGS_MODULE": "extracted_services.orders.settings"
            if of_service
            else "legacy_monolith.settings",
            **self.env,
            **own,
            "STRANGLE_POINTS": points,
            "STRANGLE_POINTS_SEEN": str(seen or ""),
        }
        if of_service:
            env.pop("SHOP_DB_NAME")
        self._number += 1
        output = self.directory / f"{self._number:03}-{argv[0]}.log"
        return (self.nurseries.service if of_service else self.nurseries.monolith).start(argv, env, output)


def cluster_of(server: EmbeddedPostgres) -> Cluster:
    """The server as the fixtures know it."""
    return Cluster(port=server.port, password=server.password)


def eventually(condition: Callable[[], bool], seconds: float = SECONDS) -> bool:
    """Await a condition; False when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
