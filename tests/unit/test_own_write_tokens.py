"""The token of a write as a value: it survives its cookie, never claims less than it must, and refuses nonsense."""

from hypothesis import given, settings
from hypothesis import strategies as st

from migration_tools.kernel.snapshots import Snapshot, covers
from migration_tools.routing.own_writes.token import RUNNING_AT_MOST, WriteToken, decode, new_name, own, presented
from migration_tools.routing.table import RoutingTable, ensure_context, reader_side, with_reads

XIDS = range(0, 40)


@st.composite
def snapshots(draw: st.DrawFn, many: int = 6) -> Snapshot:
    xmin = draw(st.integers(3, 30))
    running = draw(st.sets(st.integers(xmin, xmin + 2 * many), max_size=many))
    return Snapshot(xmin, max([xmin, *(x + 1 for x in running)]) + draw(st.integers(0, 3)), tuple(sorted(running)))


def seen(snapshot: Snapshot) -> set[int]:
    return {xid for xid in range(120) if snapshot.sees(xid)}


@given(snapshots())
def test_a_snapshot_survives_its_cookie(snapshot: Snapshot) -> None:
    value = WriteToken(side="monolith", snapshot=snapshot).encode()
    token = decode(value)
    assert token is not None
    assert token.snapshot is not None
    assert seen(token.snapshot) == seen(snapshot)
    assert not set(value) & set(' ",;\\'), "a cookie's value needs no quotes"


@given(snapshots(), snapshots())
def test_covering_is_said_only_of_what_sees_everything(later: Snapshot, earlier: Snapshot) -> None:
    if covers(later, earlier):
        assert seen(later) >= seen(earlier)


@given(snapshots(), st.sets(st.sampled_from(XIDS)), st.integers(0, 5))
def test_every_later_snapshot_covers(earlier: Snapshot, ended: set[int], begun: int) -> None:
    running = tuple(xid for xid in earlier.xip if xid not in ended)
    later = Snapshot(min(running, default=earlier.xmax), earlier.xmax + begun, running)
    assert covers(later, earlier)


def test_a_long_list_of_running_transactions_is_cut_so_that_more_is_waited_for_never_less() -> None:
    snapshot = Snapshot(1000, 3000, tuple(range(1000, 3000, 2)))
    value = WriteToken(side="monolith", snapshot=snapshot).encode()
    token = decode(value)
    assert token is not None
    assert token.snapshot is not None
    assert len(value) < 400
    assert len(token.snapshot.xip) == RUNNING_AT_MOST
    assert covers(token.snapshot, snapshot)


@given(snapshots(), st.sampled_from(XIDS))
def test_an_open_transaction_of_the_writer_is_waited_for(snapshot: Snapshot, xid: int) -> None:
    widened = own(snapshot, xid)
    assert widened.sees(xid)
    assert seen(widened) >= seen(snapshot)


@settings(max_examples=60)
@given(st.text(max_size=60) | st.from_regex(r"[a-z]{1,5}\.[0-9]{1,22}\.[0-9]{0,22}\.[0-9-]{0,30}", fullmatch=True))
def test_nonsense_is_nothing_and_never_fails(value: str) -> None:
    token = decode(value)
    assert token is None or token.snapshot is None or token.snapshot.xmax < 1 << 63


def test_only_whole_names_of_the_context_count() -> None:
    name = new_name("orders")
    cookies = {name: "a", "sx_after_orders_": "b", "sx_after_orders_x_0123abcd": "c", "sx_after_orders_0123abcdef": "d"}
    assert presented("orders", cookies) == {name: "a"}
    assert len({new_name("orders") for _ in range(100)}) == 100


def test_a_reader_with_a_token_is_sent_to_the_owner() -> None:
    table = with_reads(ensure_context(RoutingTable(), "orders", ["/o"], "svc"), "orders", 100)

    def ask(**cookies: str) -> str | None:
        return reader_side(table, "orders", method="GET", path="/o", headers={}, cookies=cookies)

    assert ask() == "new"
    assert ask(**{new_name("orders"): "x"}) == "old"
    assert ask(**{new_name("carts"): "x"}) == "new"
