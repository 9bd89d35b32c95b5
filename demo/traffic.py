"""The traffic: shoppers, probes and legacy writers; also a program of its own against a running stack."""

from __future__ import annotations

import argparse
import json
import random
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from demo.gaps import WriteClock
from demo.ledger import Ledger
from demo.legacy_writers import BulkUpdater, LegacyWriter, RawWriter
from demo.probe import Probe, probing
from demo.readers import Reader
from demo.shoppers import Shop, Shopper
from demo.staff import Clerk, Promote
from demo.tally import Tally

SHOPPERS = 8
PROBES = 2
READERS = 3
DEFAULT_RATE = 50.0
STOP_SECONDS = 60.0


class Traffic:
    """Runs from ``__enter__`` (or ``start``) until ``stop``."""

    def __init__(
        self,
        *,
        url: str,
        ledger: Path,
        seed: int = 1,
        rate: float = DEFAULT_RATE,
        shop_dsn: str | None = None,
        shoppers: int = SHOPPERS,
        contexts: tuple[str, ...] = ("orders",),
        promote: Promote | None = None,
    ) -> None:
        self.tally = Tally()
        self.clock = WriteClock()
        self.ledger = Ledger(ledger)
        self._probing = threading.Event()
        self._reading = threading.Event()
        self._shop = Shop(
            url=url,
            run=secrets.token_hex(3),
            seed=seed,
            ledger=self.ledger,
            tally=self.tally,
            clock=self.clock,
            stopping=threading.Event(),
            contexts=contexts,
        )
        self._threads: list[threading.Thread] = [Shopper(self._shop, n, rate / shoppers) for n in range(shoppers)]
        self._threads += [Probe(self._shop, n, self._probing) for n in range(PROBES)]
        self._threads += [Reader(self._shop, n, self._reading) for n in range(READERS)]
        if promote is not None and {"catalog", "inventory"} & set(contexts):
            self._threads.append(Clerk(self._shop, promote))
        self._writers = self._legacy_writers(shop_dsn, seed) if shop_dsn else []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        for thread in (*self._threads, *self._writers):
            thread.start()

    def stop(self) -> None:
        """Let every request in flight end, then close the ledger."""
        self._shop.stopping.set()
        self.retire_legacy_writers()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.1))
            if thread.is_alive():
                self.tally.failure(
                    who=thread.name,
                    request="stop",
                    expected="end in time",
                    status=None,
                    detail="still in a request",
                )
        self.ledger.close()

    def retire_legacy_writers(self) -> None:
        """End the writers that go around HTTP; called before the old tables are taken out of service."""
        for writer in self._writers:
            writer.retired.set()
        for writer in self._writers:
            writer.join(STOP_SECONDS)

    @contextmanager
    def probing(self) -> Iterator[None]:
        """Add back-to-back writes for the length of the block, to measure gaps finely."""
        with probing(self._probing):
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Add customers who only read for the length of the block: a share of readers is judged by its answers."""
        with probing(self._reading):
            yield

    def _legacy_writers(self, dsn: str, seed: int) -> list[LegacyWriter]:
        shared: dict[str, Any] = {"dsn": dsn, "ledger": self.ledger, "tally": self.tally}
        return [
            BulkUpdater(name="bulk updater", interval=0.5, choices=random.Random(f"{seed}-bulk"), **shared),  # noqa: S311
            RawWriter(name="raw-SQL writer", interval=0.3, choices=random.Random(f"{seed}-raw"), **shared),  # noqa: S311
        ]


def main() -> int:
    options = _parser().parse_args()
    if options.shop_dsn:
        psycopg.connect(options.shop_dsn).close()
    traffic = Traffic(
        url=options.url,
        ledger=options.ledger,
        seed=options.seed,
        rate=options.rate,
        shop_dsn=options.shop_dsn,
    )
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    with traffic:
        if options.probe:
            with traffic.probing():
                asked.wait(options.seconds)
        else:
            asked.wait(options.seconds)
    print(json.dumps(traffic.tally.summary(), indent=2, ensure_ascii=False))
    return 1 if traffic.tally.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo.traffic", description=__doc__)
    parser.add_argument("--url", required=True, help="the shop's address, e.g. the proxy's")
    parser.add_argument("--ledger", required=True, type=Path, help="file for the acknowledged writes (appended to)")
    parser.add_argument("--rate", type=float, default=DEFAULT_RATE, help="requests a second (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the shoppers' choices (%(default)s)")
    parser.add_argument("--seconds", type=float, help="stop after so long; otherwise at Ctrl-C")
    parser.add_argument("--probe", action="store_true", help="write back to back as well, to measure gaps")
    parser.add_argument("--shop-dsn", help="the monolith's database: adds the bulk and raw-SQL writers")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
