"""Versions of the routing table in a real database: compare-and-swap, rollback, confirmation."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from migration_tools.errors import RoutingError
from migration_tools.routing import publishing
from migration_tools.routing.models import RoutingVersion
from migration_tools.routing.publishing import RoutingMoved, RoutingNotConfirmed
from migration_tools.routing.sides import side_for
from migration_tools.routing.table import InvalidTable, RoutingTable, ensure_context, with_reads

pytestmark = pytest.mark.usefixtures("pair")


def publish_orders(table: RoutingTable) -> RoutingTable:
    return ensure_context(table, "orders", ["/api/orders/"], "orders")


@pytest.fixture
def first() -> RoutingTable:
    return publishing.publish(publish_orders, author="ann", reason="orders leave")


def test_the_side_of_a_user_is_known_from_their_key(first: RoutingTable) -> None:
    """It is the cookie's that the monolith sets at login, and only ever changes from old to new."""
    sides = [[], []]  # type: list[list[str]]
    for found, percent in zip(sides, (20, 60), strict=True):
        publishing.set_reads("orders", percent)
        found += [side_for(SimpleNamespace(pk=key), "orders") for key in range(100)]
        assert found == [side_for(key, "orders") for key in range(100)]
    assert {("old", "old"), ("old", "new"), ("new", "new")} == set(zip(*sides, strict=True))


def test_before_anything_is_published_all_goes_to_the_monolith() -> None:
    assert publishing.current() == RoutingTable()
    assert publishing.current_version() == 0


def test_a_published_table_is_current_and_in_the_log(first: RoutingTable) -> None:
    assert publishing.current() == first
    second = publishing.set_reads("orders", 25, author="bob", reason="try it")
    assert publishing.current() == second
    assert second.version > first.version == publishing.log()[1].pk
    row = publishing.log()[0]
    assert (row.author, row.reason, row.parent_id, row.sha256) == (
        "bob",
        "try it",
        first.version,
        second.digest,
    )


def test_publishing_what_is_in_force_writes_nothing(first: RoutingTable) -> None:
    assert publishing.publish(publish_orders, author="ann", reason="again") == first
    assert len(publishing.log()) == 1


def test_of_two_publishers_the_later_is_told_to_try_again(first: RoutingTable) -> None:
    def overtaken(table: RoutingTable) -> RoutingTable:
        publishing.set_writes("orders", "hold")
        return with_reads(table, "orders", 50)

    with pytest.raises(RoutingMoved, match=f"version {first.version} is no longer current.*run the command"):
        publishing.publish(overtaken, author="bob", reason="late")
    route = publishing.current().contexts["orders"]
    assert (route.writes, route.reads_percent) == ("hold", 0.0)
    assert [row.reason for row in publishing.log()] == ["orders: writes held", "orders leave"]


def test_two_first_publishers_cannot_both_win() -> None:
    def overtaken(table: RoutingTable) -> RoutingTable:
        publishing.publish(publish_orders, author="ann", reason="first")
        return ensure_context(table, "billing", ["/billing/"], "orders")

    with pytest.raises(RoutingMoved):
        publishing.publish(overtaken, author="bob", reason="late")
    assert list(publishing.current().contexts) == ["orders"]


def test_a_repeatable_change_is_made_again_on_what_overtook_it(first: RoutingTable) -> None:
    overtakers = [lambda: publishing.set_writes("orders", "new")]

    def change(table: RoutingTable) -> RoutingTable:
        if overtakers:
            overtakers.pop()()
        return with_reads(table, "orders", 50)

    publishing.publish(change, author="bob", reason="late", attempts=2)
    route = publishing.current().contexts["orders"]
    assert (route.writes, route.reads_percent) == ("new", 50)


def test_a_wrong_table_is_not_published(first: RoutingTable) -> None:
    with pytest.raises(InvalidTable):
        publishing.set_reads("orders", 250)
    assert publishing.current() == first


def test_rollback_publishes_an_older_document_as_a_new_version(first: RoutingTable) -> None:
    second = publishing.set_reads("orders", 25)
    back = publishing.rollback()
    assert back.version > second.version
    assert back.digest == first.digest
    assert publishing.rollback(second.version).digest == second.digest
    with pytest.raises(RoutingError, match="no routing version 999999; list them with strangle_route log"):
        publishing.rollback(999_999)


def test_history_cannot_be_changed(first: RoutingTable) -> None:
    row = RoutingVersion.objects.get()
    row.reason = "something nicer"
    for change in (row.save, row.delete):
        with pytest.raises(RoutingError, match="is history"):
            change()


def test_a_hold_goes_back_to_its_owner_by_release(first: RoutingTable) -> None:
    publishing.set_writes("orders", "new")
    held = publishing.set_writes("orders", "hold").contexts["orders"]
    assert (held.writes, held.held_from) == ("hold", "new")
    assert held.held_at
    assert publishing.release("orders").contexts["orders"].writes == "new"


def report(proxy: str, applied: int | None, **values: Any) -> None:
    publishing.report_proxy(proxy, {"applied_version": applied, **values})


def test_a_version_is_confirmed_by_every_live_proxy(first: RoutingTable) -> None:
    assert publishing.wait_applied(first.version) == []
    report("edge-1", first.version)
    report("edge-2", first.version - 1)
    with pytest.raises(RoutingNotConfirmed, match="'edge-2' still answers by version 0 after"):
        publishing.wait_applied(first.version, 0.05)
    report("edge-2", first.version + 1)
    assert [row.proxy for row in publishing.wait_applied(first.version)] == ["edge-1", "edge-2"]


def test_a_proxy_that_refuses_a_version_is_named_with_its_reason_at_once(first: RoutingTable) -> None:
    report("edge-1", 0, rejected_version=first.version, rejected_reason="unknown cluster 'x'")
    with pytest.raises(RoutingNotConfirmed, match="'edge-1' refused it: unknown cluster 'x'") as caught:
        publishing.wait_applied(first.version, 60)
    assert caught.value.problems.keys() == {"edge-1"}


def test_a_proxy_that_is_long_gone_is_not_waited_for(first: RoutingTable) -> None:
    report("edge-1", 0)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE strangle_routing_proxy SET seen_at = now() - interval '1 minute'")
    assert publishing.wait_applied(first.version) == []


def test_the_reader_sees_every_change(first: RoutingTable) -> None:
    read = publishing.TableReader()
    assert read() == first
    assert read() is read()
    second = publishing.set_reads("orders", 5)
    assert read() == second


def test_the_command_changes_and_shows_routes(first: RoutingTable, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*args: str) -> Any:
        call_command("strangle_route", *args, "--format", "json")
        return json.loads(capsys.readouterr().out)

    changed = run("set", "orders", "reads=25%", "writes=new", "--reason", "why not", "--author", "eve")
    assert changed["changes"] == ["orders.reads_percent: 0.0 -> 25.0", 'orders.writes: "old" -> "new"']
    assert run("log")[0] | {"created": "", "sha256": ""} == {
        "version": changed["version"],
        "parent": first.version,
        "author": "eve",
        "reason": "why not",
        "created": "",
        "sha256": "",
    }
    run("hold", "orders")
    assert run("show")["contexts"]["orders"]["held_from"] == "new"
    assert run("release", "orders")["changes"]
    assert run("diff", str(first.version), str(changed["version"])) == changed["changes"]
    assert run("rollback", str(first.version))["changes"]
    call_command("strangle_route", "show")
    call_command("strangle_route", "log")
    assert "orders: /api/orders: 0 % of reads to orders, writes: old" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("set", "orders", "writes=hold"), 2, "not an assignment"),
        (("set", "orders", "reads=lots"), 2, "not an assignment"),
        (("set", "ordrs", "reads=5"), 1, "did you mean 'orders'"),
        (("rollback", "999999"), 1, "no routing version 999999"),
    ],
)
def test_the_command_refuses(first: RoutingTable, args: tuple[str, ...], code: int, says: str) -> None:
    with pytest.raises(CommandError, match=says) as caught:
        call_command("strangle_route", *args)
    assert caught.value.returncode == code
