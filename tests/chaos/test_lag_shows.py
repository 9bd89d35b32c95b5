"""A consumer that stops shows within two seconds, in strangle_status and in the metrics, however it stopped."""

import os
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from migration_tools.management.commands.strangle_status import _lines
from migration_tools.phases.status import read_status
from tests.chaos.test_killed_processes import await_that, feed_of_the_monolith, process
from tests.conftest import SERVICE_SETTINGS
from tests.races.scene import NEW_EVENT
from tests.stage import STREAM, Stage

pytestmark = pytest.mark.thorough

SHOWS_SECONDS = 2.0
TOKEN = "metrics-token"


def scrape(address: str, token: str = TOKEN) -> str:
    request = urllib.request.Request(
        f"http://{address}/strangle/metrics/", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return str(answer.read().decode())


def metric(text: str, name: str, *labels: str) -> float:
    """The value of the one sample that has these labels."""
    (found,) = [
        line.rsplit(" ", 1)[1]
        for line in text.splitlines()
        if re.match(rf"{name}[ {{]", line) and all(label in line for label in labels)
    ]
    return float(found)


@pytest.fixture
def running(stage: Stage) -> Iterator[tuple[str, Any]]:
    """The monolith's address and the service's consumer process, which has applied something."""
    with ExitStack() as stack:
        address = stack.enter_context(feed_of_the_monolith(stage.pair, STRANGLE_METRICS_TOKEN=TOKEN))
        stack.enter_context(process(stage.pair, "strangle_relay", STREAM))
        consume = ("strangle_consume", STREAM, "--settings", SERVICE_SETTINGS)
        consumer = stack.enter_context(process(stage.pair, *consume, MONOLITH_ADDRESS=address))
        stack.callback(consumer.send_signal, signal.SIGCONT)
        note(stage, "one")
        await_that(lambda: remark(stage) == "one", "the consumer applies")
        yield address, consumer


def note(stage: Stage, text: str) -> None:
    stage.shop.execute("UPDATE orders_order SET note = %s WHERE id = 1", [text])


def remark(stage: Stage) -> Any:
    row = stage.orders.execute("SELECT remark FROM sales_order WHERE id = 1").fetchone()
    return row[0] if row else None


def seconds_until(condition: Callable[[], bool], what: str) -> float:
    began = time.monotonic()
    await_that(condition, what)
    return time.monotonic() - began


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_consumer_that_ends_shows_within_two_seconds(
    stage: Stage, running: tuple[str, Any], how: signal.Signals
) -> None:
    stage.backfill()
    address, consumer = running
    labels = (f'stream="{STREAM}"', 'consumer="orders"')
    os.kill(consumer.pid, how)
    note(stage, "two")
    stage.shop.execute(NEW_EVENT, ["three"])

    def behind() -> bool:
        (lag,) = (each for each in read_status(stage.playbook())["sides"]["source"]["consumers"])
        return bool(lag["events"] >= 2 and lag["seconds"] > 0.5)

    assert seconds_until(behind, "status says that the consumer is behind") < SHOWS_SECONDS
    text = scrape(address)
    assert metric(text, "strangle_consumer_lag_events", *labels) >= 2
    assert metric(text, "strangle_consumer_lag_seconds", *labels) > 0.5
    lines = "\n".join(_lines(STREAM, read_status(stage.playbook())))
    assert re.search(r"consumer orders \d+ records, \d+\.\d s behind, heard of \d+ s ago", lines)
    if how is signal.SIGSTOP:
        os.kill(consumer.pid, signal.SIGCONT)
        await_that(lambda: remark(stage) == "two", "the consumer goes on")
        await_that(lambda: metric(scrape(address), "strangle_consumer_lag_events", *labels) == 0, "nothing is behind")


def test_a_relay_that_ends_shows_within_two_seconds(stage: Stage) -> None:
    """Then no consumer is behind what is numbered, and yet what was written waits."""
    with feed_of_the_monolith(stage.pair, STRANGLE_METRICS_TOKEN=TOKEN) as address:
        with process(stage.pair, "strangle_relay", STREAM) as relay:
            labels = (f'stream="{STREAM}"',)
            await_that(lambda: leading(address) == 1, "the relay leads")
            os.kill(relay.pid, signal.SIGKILL)
            note(stage, "unnumbered")
            shown = seconds_until(
                lambda: (
                    leading(address) == 0
                    and metric(scrape(address), "strangle_outbox_oldest_age_seconds", *labels) > 0.5
                ),
                "the metrics say that no relay leads",
            )
            assert shown < SHOWS_SECONDS
            assert metric(scrape(address), "strangle_outbox_pending", *labels) == 1
        with pytest.raises(urllib.error.HTTPError, match="401"):
            scrape(address, "guessed")


def leading(address: str) -> float | None:
    """What the metrics say of the stream's relay; None before the stream is known."""
    text = scrape(address)
    if "strangle_relay_leading" not in text:
        return None
    return metric(text, "strangle_relay_leading", f'stream="{STREAM}"')
