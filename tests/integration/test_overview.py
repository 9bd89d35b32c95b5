"""What an operator sees after a cutover: the way back, who uses the old tables, in pages and terminal."""

import datetime as dt
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from migration_tools.overview.copied import _rate as copied_rate
from migration_tools.overview.curves import answers, differences, thin
from migration_tools.overview.observing import hourly, keep, observe, samples
from migration_tools.phases.machine import operating
from migration_tools.playbook import seconds
from migration_tools.state.models import Context, Sample
from migration_tools.stores.postgres import connect
from playbooks.orders import Orders
from tests.conftest import ROOT, SMALL_SHOP, Pair
from tests.integration.proxy_rig import await_until
from tests.integration.test_phases import ROAD, Road


@pytest.fixture
def cut_over(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[Road]:
    """A context whose writes belong to the service; relays and consumers have ended."""
    monkeypatch.setattr(Orders, "gates", replace(Orders.gates, soak=seconds(0), quiet=seconds(0.2)))
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    made = Road(pair)
    with made.processes():
        made.go(*ROAD[:5])
        yield made


def test_a_service_without_its_tables_is_said_on_the_board_and_by_the_command(pair: Pair) -> None:
    with pair.connect("orders") as conn:
        conn.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert (
        "table 'sales_order' is not in the target database; run the service's schema migrations"
        in (observe(Orders)["problem"])
    )
    said = StringIO()
    call_command("strangle_status", "orders", stdout=said)
    assert "database 'orders' has no tables of the toolkit; run the schema migrations" in said.getvalue()


def test_after_a_cutover_the_way_back_the_old_tables_users_and_the_burn_down_are_seen(cut_over: Road) -> None:
    seen = observe(Orders)
    assert seen["problem"] == ""
    assert [each["standing"] for each in seen["road"]] == ["behind"] * 5 + ["here", "next"]
    assert (seen["status"]["owner"], seen["way_back"]["possible"]) == ("target", True)
    assert seen["way_back"]["to"] == "switch_reads"
    assert seen["way_back"]["say"].endswith("to carry back")
    assert seen["copied"]["done"]
    assert {gate["gate"] for gate in seen["gates"]} >= {"soaked", "not_shadowed", "no_dead_letters"}
    with cut_over.pair.connect("shop", "shop_app", application_name="nightly report") as report, report.transaction():
        report.execute("SELECT count(*) FROM orders_order")
        seen = observe(Orders)
        keep(seen)
    caught = [each for each in seen["users"] if each["application"] == "nightly report"]
    assert [(each["role"], each["writes"], each["ours"]) for each in caught] == [("shop_app", False, False)]
    left = {each["what"]: each["done"] for each in seen["remaining"]}
    assert left["enter cutover"]
    assert not left["enter decommission"]
    assert not left["sessions that use the old tables"]
    assert not left["references of other tables to the old ones"]
    again = observe(Orders)
    keep(again)
    assert "nightly report" in {each["application"] for each in again["users"]}, "forgotten within the hour"
    assert len(samples("orders", minutes=1)) == 2
    noon = timezone.now().replace(minute=0, second=0, microsecond=0)
    for minutes in range(15, 240, 15):
        Sample.objects.create(context="orders", at=noon - dt.timedelta(minutes=minutes), figures={"open": minutes})
    keep(observe(Orders))
    assert len(samples("orders", minutes=55)) >= 3
    long = hourly("orders")
    assert [each.figures["open"] for each in long[:-1]] == [195, 135, 75, 15][: len(long) - 1], "the last of each hour"
    assert sum(each.at < timezone.now() - dt.timedelta(hours=1) for each in Sample.objects.all()) <= 4

    out = StringIO()
    call_command("strangle_top", "--once", stdout=out)
    assert "cutover" in out.getvalue()
    assert "service" in out.getvalue()
    words = " ".join(out.getvalue().split())
    assert "lag of " in words
    assert "service answered 0 reads, 0 with errors" in words
    assert " writes refused" in words
    assert "used by shop_app (nightly report)" in words
    out = StringIO()
    call_command("strangle_top", "orders", "--format", "json", stdout=out)
    (told,) = json.loads(out.getvalue())
    assert told["status"]["phase"] == "cutover"


@pytest.mark.thorough
def test_on_a_terminal_the_board_is_redrawn_until_ctrl_c_and_the_screen_given_back(cut_over: Road) -> None:
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "manage.py", "strangle_top", "orders", "--every", "0.1"],
        cwd=ROOT, env={**cut_over.pair.environment(operator=True), "TERM": "xterm", "COLUMNS": "160"},
        stdin=theirs, stdout=theirs, stderr=subprocess.STDOUT,
    )  # fmt: skip
    os.close(theirs)
    shown = ""

    def read() -> None:
        nonlocal shown
        with suppress(OSError):  # the other end is closed when the command has ended
            while True:
                shown += os.read(terminal, 65536).decode(errors="replace")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        await_until(lambda: shown.count("to carry back") >= 3, 30, "three looks")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(30)
        reader.join(10)
        os.close(terminal)
    assert "cutover" in shown
    assert "Traceback" not in shown
    assert "\x1b[?1049l" in shown[-200:], "the screen as it was before"


def test_the_way_back_tells_a_move_that_is_under_way_from_one_that_was_cut_off(pair: Pair) -> None:
    Context.objects.create(name="orders", phase="dual_write", move="to backfill", move_started_at=timezone.now())
    assert observe(Orders)["way_back"]["say"] == "undoes the move 'to backfill' that was cut off"
    with connect("default", "backfill") as mover, operating(mover, "orders"):
        seen = observe(Orders)["way_back"]
        assert (seen["possible"], seen["say"]) == (False, "when the move 'to backfill' has ended, which is under way")
        assert "backfill" in seen["mover"]
    assert observe(Orders)["way_back"]["possible"]


def test_rows_that_wait_to_be_carried_back_are_counted_before_and_after_they_are_numbered(pair: Pair) -> None:
    from migration_tools.overview.wayback import waiting_to_go_back
    from migration_tools.phases.surroundings import surroundings
    from tests.stage import Stage

    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    stage = Stage(pair)
    stage.settle()
    stage.backfill()
    for side in (stage.shop, stage.orders):
        side.execute("UPDATE strangle_ownership SET owner = 'target'")
    with surroundings(Orders, purpose="test") as env:
        stage.tick(reverse=True)
        stage.consume(reverse=True)
        assert waiting_to_go_back(env) == 0
        for number in (1, 2, 3):
            stage.orders.execute("UPDATE sales_order SET remark = 'late' WHERE id = %s", [number])
        assert waiting_to_go_back(env) == 3
        stage.tick(reverse=True)
        assert waiting_to_go_back(env) == 3
        stage.consume(reverse=True)
        stage.consume(reverse=True)
        assert waiting_to_go_back(env) == 0
    stage.close()


@pytest.mark.parametrize(
    ("counts", "copied", "rate"),
    [
        ([0, 0, 0, 0], 8_000, 800.0),  # it began after the last look
        ([0, 0, 4_000, 8_000], 12_000, 400.0),  # what was before it began does not count
        ([4_000, 8_000, 8_000, 8_000], 12_000, 200.0),  # a wait within it does
        ([5_000, 5_000], 5_000, 0.0),
        ([], 5_000, 0.0),
    ],
)
def test_the_rate_of_a_copy_is_that_of_its_own_time(counts: list[int], copied: int, rate: float) -> None:
    now = timezone.now()
    looks = [
        Sample(context="orders", figures={"copied": count}, at=now - dt.timedelta(seconds=10 * (len(counts) - place)))
        for place, count in enumerate(counts)
    ]
    assert copied_rate(looks, copied) == pytest.approx(rate, rel=0.05)


def test_curves_keep_every_peak_and_know_a_counter_that_was_reset() -> None:
    assert differences([5, 7, 7, 2, 3]) == [2.0, 0.0, 0.0, 1.0]
    values = [0.0] * 1000
    values[731] = 9.0
    assert len(thin(values)) == 120
    assert max(thin(values)) == 9.0
    assert answers([]) == {}


def test_looking_at_a_context_reads_none_of_its_old_tables(cut_over: Road) -> None:
    """Or the operator's process, which looks every few seconds, would keep the decommission from ever finding quiet."""
    conn = cut_over.stage.shop
    # With statistics the planner looks into indexes for the ends of a merge join, and the server counts that.
    conn.execute("ANALYZE")
    count = """SELECT sum(COALESCE(seq_scan, 0) + COALESCE(idx_scan, 0))::bigint FROM pg_stat_user_tables
               WHERE relname IN ('orders_order', 'orders_orderline')"""

    def uses() -> int:
        conn.execute("SELECT pg_stat_clear_snapshot()")
        return int(conn.execute(count).fetchone()[0])  # type: ignore[index]

    until_still = time.monotonic() + 30
    while (before := uses()) is not None:
        time.sleep(2.0)
        if uses() == before:
            break
        assert time.monotonic() < until_still
    for _ in range(3):
        keep(observe(Orders))
    assert uses() == before
    with cut_over.pair.connect("shop") as reader:
        reader.execute("SELECT count(*) FROM orders_order")
    await_until(lambda: uses() > before, what="the server has counted the reader's look")
