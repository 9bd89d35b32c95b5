"""Copies of another service's customers: events in any order, deletions, planted corruption, and building anew."""

import itertools
import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from django.db import transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_tools.errors import ReplicationError
from migration_tools.messaging.handlers import _registry
from migration_tools.messaging.handling import HandlerFailed
from migration_tools.replication import reconciling
from migration_tools.replication.asking import HttpSource
from migration_tools.replication.declaration import Copy, copies
from migration_tools.replication.merging import Known, end, take
from migration_tools.replication.reconciling import rebuild, reconcile
from migration_tools.replication.targets import OnDelete, Target
from tests.examples.served import Served
from tests.integration.replication_rig import deliver, event, keeper, kept, rows
from tests.leaf import Leaf, serving

__all__ = ["keeper", "kept"]

SAYS = ["customer.created", "customer.updated"]


@pytest.fixture
def customers(kept: Served, settings: Any) -> Iterator[Copy]:
    """A copy of customers: a row of each, and names in their orders and invoices, with a policy each."""
    rows("DROP TABLE IF EXISTS customer, sales_order, invoice")
    rows("CREATE TABLE customer (id bigint PRIMARY KEY, name text, email text, since date)")
    rows("CREATE TABLE sales_order (id int PRIMARY KEY, customer_id bigint, customer_name text DEFAULT '?')")
    rows("CREATE TABLE invoice (id int PRIMARY KEY, customer_id bigint, written_to text DEFAULT '?')")
    rows("INSERT INTO sales_order SELECT n, n % 3 FROM generate_series(1, 9) n")
    rows("INSERT INTO invoice SELECT n, n % 3 FROM generate_series(1, 9) n")
    before = {key: list(value) for key, value in _registry.items()}
    columns = {"name": "name", "email": "email", "since": "since"}
    yield Copy(
        "customers", stream="users", says=SAYS, ends=["customer.deleted"], key="customer_id", version="version",
        targets=[
            Target(table="customer", key="id", columns=columns, on_delete=OnDelete.CASCADE, own_row=True),
            Target(table="sales_order", key="customer_id", columns={"customer_name": "name"},
                   on_delete=OnDelete.ANONYMISE, anonymous={"customer_name": "deleted"}),
            Target(table="invoice", key="customer_id", columns={"written_to": "name"}, on_delete=OnDelete.KEEP),
        ],
        source=HttpSource(service="users", path="/api/users/", names={"customer_id": "id"}),
    )  # fmt: skip
    _registry.clear()
    _registry.update(before)


def said(what: str, version: int, **values: Any) -> Any:
    return event(f"customer.{what}", {"customer_id": 1, "version": version, **values})


CREATED = {"name": "Ada", "email": "ada@example.com", "since": "2024-02-29"}


def state() -> tuple[list[Any], set[str], set[str]]:
    """The customer's own row, and what orders and invoices say."""
    own = rows("SELECT name, email, since::text FROM customer WHERE id = 1")
    names = {name for (name,) in rows("SELECT customer_name FROM sales_order WHERE customer_id = 1")}
    written = {name for (name,) in rows("SELECT written_to FROM invoice WHERE customer_id = 1")}
    return own, names, written


def test_a_rename_reaches_every_row_that_holds_the_name_and_no_other(customers: Copy) -> None:
    deliver(said("created", 1, **CREATED))
    deliver(said("updated", 2, name="Ada Łovelace"))
    assert state() == ([("Ada Łovelace", "ada@example.com", "2024-02-29")], {"Ada Łovelace"}, {"Ada Łovelace"})
    assert rows("SELECT DISTINCT customer_name FROM sales_order WHERE customer_id <> 1") == [("?",)]


def test_each_target_has_its_own_way_with_a_deletion(customers: Copy) -> None:
    deliver(said("created", 1, **CREATED), said("deleted", 2))
    assert state() == ([], {"deleted"}, {"Ada"})


def test_an_update_before_the_creation_wins_and_takes_from_it_what_it_did_not_say(customers: Copy) -> None:
    deliver(said("updated", 2, name="Grace"))
    deliver(said("created", 1, **CREATED))
    assert state()[0] == [("Grace", "ada@example.com", "2024-02-29")]


def test_any_order_with_repetitions_ends_as_the_right_order_does(customers: Copy) -> None:
    story = [
        said("created", 1, **CREATED), said("updated", 2, name="B"), said("deleted", 3),
        said("created", 4, name="C", email=None, since=None), said("updated", 5, email="c@example.com"),
    ]  # fmt: skip
    deliver(*story)
    expected = state()
    assert expected[0] == [("C", "c@example.com", None)]
    choose = random.Random(11)
    for order in choose.sample(list(itertools.permutations(story)), 12):
        rows("TRUNCATE customer, strangle_copied")
        rows("UPDATE sales_order SET customer_name = '?'")
        rows("UPDATE invoice SET written_to = '?'")
        for each in order:
            deliver(each, choose.choice(story[:1] if each is story[0] else [each]))
        own, names, _ = state()
        assert (own, names) == expected[:2], [each.payload for each in order]


def test_a_plain_update_of_the_seeds_loses_what_comes_late(customers: Copy) -> None:
    """The seed's handler, as it stands there: `UPDATE orders SET customer_name = … WHERE customer_id = …`."""
    for name in ("Grace", "Ada"):  # updated, then the late created
        rows("UPDATE sales_order SET customer_name = %s WHERE customer_id = 1", name)
    assert state()[1] == {"Ada"}


def test_replaying_everything_writes_nothing(customers: Copy) -> None:
    story = [said("created", 1, **CREATED), said("updated", 2, name="B")]
    deliver(*story)
    places = "SELECT ctid::text FROM customer UNION ALL SELECT ctid::text FROM sales_order ORDER BY 1"
    before = rows(places)
    deliver(*story)
    assert rows(places) == before


def test_an_event_without_key_or_version_is_refused_and_nothing_is_written(customers: Copy) -> None:
    for payload in ({"customer_id": 1, "name": "x"}, {"version": 1}, {"customer_id": 1, "version": "2"}):
        with pytest.raises(HandlerFailed):
            deliver(event("customer.created", payload))
    assert state()[0] == []


@settings(max_examples=150, deadline=None)
@given(
    st.permutations(range(7)),
    st.lists(
        st.tuples(st.booleans(), st.dictionaries(st.sampled_from("abc"), st.integers(0, 9))), min_size=7, max_size=7
    ),
)
def test_the_rule_gives_the_same_in_every_order(order: list[int], story: list[tuple[bool, dict[str, int]]]) -> None:
    def play(places: list[int]) -> tuple[Known, dict[str, int]]:
        known, values = Known(), dict[str, int]()
        for place in places:
            if story[place][0]:
                known, _ = end(known, place)
                values = {name: value for name, value in values.items() if name in known.fields}
            else:
                known, news = take(known, place, story[place][1])
                values |= news
        return known, values

    assert play(order) == play(sorted(order)) == play([*order, *order])


@pytest.fixture
def users(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, dict[str, Any]]]:
    """The users service with sixty customers, asked twenty-five at a time."""
    truth = {n: {"id": n, "version": 10, "name": f"N{n}", "email": None, "since": "2020-01-01"} for n in range(1, 61)}

    def answer(path: str, query: Mapping[str, str], _: Any) -> tuple[int, Any]:
        if "ids" in query:
            return 200, [truth[int(each)] for each in query["ids"].split(",") if int(each) in truth]
        after, limit = int(query.get("after", 0)), int(query["limit"])
        return 200, {"results": [truth[n] for n in sorted(truth) if n > after][:limit]}

    monkeypatch.setattr(reconciling, "PAGE_ROWS", 25)
    with serving(users=answer) as leaves:
        leaf: Leaf = leaves["users"]
        settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SERVICES": {"users": leaf.url}}
        yield truth


def test_history_from_before_the_events_is_built_and_then_equal(customers: Copy, users: dict[int, Any]) -> None:
    assert reconcile(customers, repair=False).to_json()["missing"] == 60
    assert rebuild(customers).rows == 60
    assert reconcile(customers, repair=False).equal
    assert rows("SELECT count(*) FROM customer WHERE since = '2020-01-01'") == [(60,)]
    assert state()[1] == {"N1"}


def test_planted_corruption_of_each_kind_is_found_named_and_repaired(customers: Copy, users: dict[int, Any]) -> None:
    rebuild(customers)
    rows("UPDATE customer SET email = 'planted' WHERE id = 7")
    rows("DELETE FROM customer WHERE id = 50")
    rows("INSERT INTO customer VALUES (9999, 'nobody', NULL, NULL)")
    rows("UPDATE sales_order SET customer_name = 'planted' WHERE id = 4")
    found = reconcile(customers, repair=False)
    assert (found.changed, found.missing, found.extra, found.repaired) == (["1", "7"], ["50"], ["9999"], 0)
    assert reconcile(customers, repair=True).repaired == 4
    assert reconcile(customers, repair=False).equal
    assert state()[1] == {"N1"}


def test_an_event_newer_than_what_the_source_said_is_not_repaired_away(customers: Copy, users: dict[int, Any]) -> None:
    rebuild(customers)
    deliver(said("updated", 11, name="newer"))
    assert reconcile(customers, repair=True).repaired == 0
    assert state()[0][0][0] == "newer"
    users[1] |= {"version": 11, "name": "newer"}
    assert reconcile(customers, repair=False).equal


@pytest.mark.thorough
def test_the_command_finds_and_mends_and_says_so_by_its_exit_code(keeper: Served, users: Any, settings: Any) -> None:
    url = settings.MIGRATION_TOOLS["SERVICES"]["users"]
    keeper.rows("INSERT INTO gateway_user VALUES (3, 'planted')")
    found = keeper.manage("strangle_replicate", "reconcile", "users", "--format", "json", USERS_URL=url)
    assert found.returncode == 3, found.stderr
    assert '"missing": 59, "changed": 1' in found.stdout
    for task in ("rebuild", "reconcile"):
        done = keeper.manage("strangle_replicate", task, "users", USERS_URL=url)
        assert done.returncode == 0, done.stderr
    status = keeper.manage("strangle_replicate", "status")
    assert '"entities": 60' in status.stdout
    unknown = keeper.manage("strangle_replicate", "rebuild", "nobodies")
    assert unknown.returncode == 1
    assert "there are ['products', 'users']" in unknown.stderr


def test_all_mistakes_of_a_copy_are_told_at_once() -> None:
    target = Target(table="t", key="id", columns={"id": "id"}, on_delete=OnDelete.ANONYMISE)
    with pytest.raises(ReplicationError) as refused:
        Copy("wrong", stream="s", says=[], key="id", targets=[target], source=HttpSource(service="s", path="/"))
    for each in ("names no events", "no version by which", "names its key 'id' among", "give a constant for each"):
        assert each in str(refused.value)
    assert "wrong" not in copies


def test_two_events_of_one_customer_at_once_are_taken_one_after_the_other(customers: Copy) -> None:
    """Both transactions know of no version; without the lock the older one, committing last, would stay."""
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connection

    def other() -> None:
        try:
            deliver(said("updated", 1, name="old"))
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            deliver(said("updated", 2, name="new"))
            waiting = pool.submit(other)
            rows("SELECT pg_sleep(0.1)")
            assert not waiting.done()
        waiting.result(10)
    assert state()[0][0][0] == "new"
