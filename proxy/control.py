"""The agent's ties to Django: the table read from the database, reports written to it, signals obeyed."""

import faulthandler
import logging
import signal
import threading
import time
from types import FrameType
from typing import Protocol

from django.db import Error, connections

from migration_tools.conf import settings
from migration_tools.routing import publishing
from migration_tools.routing.counts import Observed
from migration_tools.routing.table import RoutingTable
from migration_tools.routing.traffic import report_traffic
from proxy.agent import Agent, Report
from proxy.options import read_options

# Draining and ending Envoy, of which each is bounded, takes less.
STOP_SECONDS = 20.0
WATCH_SECONDS = 0.2

logger = logging.getLogger(__name__)


class DatabaseSource:
    """Read the current table; after an error the connection is made anew."""

    def __init__(self) -> None:
        self._reader = publishing.TableReader()

    def __call__(self) -> RoutingTable:
        try:
            return self._reader()
        except Error:
            connections[settings().DATABASE].close()
            raise


def report(state: Report) -> None:
    """Write what this proxy does into the monolith's database."""
    try:
        publishing.report_proxy(
            state.proxy,
            {
                "listen": state.listen,
                "applied_version": state.applied_version,
                "rejected_version": state.rejected_version,
                "rejected_reason": state.rejected_reason,
                "note": state.note,
                "streams": dict(state.streams),
            },
        )
    except Error:
        connections[settings().DATABASE].close()
        raise


def measure(proxy: str, observed: list[Observed]) -> None:
    """Add what readers got to the sums in the monolith's database."""
    try:
        report_traffic(proxy, observed)
    except Error:
        connections[settings().DATABASE].close()
        raise


def farewell(proxy: str) -> None:
    """Take this proxy off the books; when the database is away an operator is asked to (strangle_route forget)."""
    try:
        publishing.forget_proxy(proxy)
    except Error as error:
        logger.warning("this proxy could not say goodbye: %s", error)


def run(*, listen: str | None = None, directory: str | None = None) -> None:
    """Run the agent until SIGTERM or SIGINT; both stop Envoy in order. SIGHUP puts another Envoy in its place.

    Raises:
        RoutingError: options that cannot be used, no usable envoy, or another agent in the directory.
    """
    options = read_options(listen=listen, directory=directory)
    logger.info("proxy %s listens on %s, files in %s", options.name, options.listen, options.directory)
    run_until_signalled(Agent(options, DatabaseSource(), report, measure, farewell))


class Runs(Protocol):
    """What works until it is asked to stop."""

    def run(self) -> None: ...

    def stop(self) -> None: ...


def run_until_signalled(agent: Runs) -> None:
    """Run an agent or a comparator beside this thread, so that a database that hangs cannot keep a signal waiting.

    SIGTERM and SIGINT stop it; SIGHUP puts another Envoy in the place of an agent's. One that has not ended
    `STOP_SECONDS` after it was asked to is left behind: this thread writes where it hangs, and stops Envoy itself.
    """
    failures: list[BaseException] = []
    asked: list[float] = []

    def work() -> None:
        try:
            agent.run()
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    def heed(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            asked.append(time.monotonic())
            agent.stop()
        elif isinstance(agent, Agent):
            agent.replace_envoy()

    worker = threading.Thread(target=work, name="proxy-agent", daemon=True)
    previous = {number: signal.signal(number, heed) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        worker.start()
        while worker.is_alive():
            worker.join(WATCH_SECONDS)
            if worker.is_alive() and asked and time.monotonic() - asked[0] > STOP_SECONDS:
                logger.error("the agent has not ended %g s after it was told to; it hangs here:", STOP_SECONDS)
                faulthandler.dump_traceback(all_threads=True)
                if isinstance(agent, Agent):
                    agent.envoy.stop()
                break
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if failures:
        raise failures[0]
