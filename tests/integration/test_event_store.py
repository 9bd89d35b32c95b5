"""The event store: the account of the seeds, one winner, nothing changed ever, snapshots, versions, copies, audit."""

import datetime as dt
import json
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from eventsourcing.domain import Aggregate

from migration_tools.errors import StrangleError
from migration_tools.eventstore import samples
from migration_tools.eventstore.recorders import Conflict, EventRecorder
from migration_tools.eventstore.snapshots import Policy, drop, due, take_due
from migration_tools.eventstore.store import Aggregates, NewerEvent, NoSuchAggregate
from migration_tools.eventstore.transformation import copy_transformed, id_in
from migration_tools.eventstore.values import UNKNOWN
from migration_tools.kernel import points
from migration_tools.messaging import handlers
from migration_tools.messaging.context import Causality, caused_by
from migration_tools.projections import registry
from tests.accounts import ACCOUNTS, PURSES, Balances, BankAccount, InsufficientFunds, as_purse, opened
from tests.conftest import Cluster, Pair, cloned_pair
from tests.read_model_rig import consume, install_models, number, undone

SAMPLES = Path(__file__).parent.parent / "event_samples"


@pytest.fixture(scope="module")
def store(cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[Pair]:
    """A database with the event store."""
    with cloned_pair(cluster, templates, django_db_blocker) as made:
        done = made.manage(
            "migrate",
            "strangle_eventstore",
            "-v0",
            "--settings",
            "tests.event_store_settings",
            SHOP_DB_USER="shop_owner",
        )
        assert done.returncode == 0, done.stderr
        yield made


def test_the_account_of_the_seeds_holds_1300(store: Pair) -> None:
    account = ACCOUNTS.get(opened(1000, -200, 500))
    assert (account.balance, account.version, account.customer_id) == (Decimal(1300), 4, "cust-456")
    with pytest.raises(InsufficientFunds):
        account.withdraw(1301)
    with pytest.raises(NoSuchAggregate, match="there is no account"):
        ACCOUNTS.get(uuid.uuid4())


def test_a_class_without_a_name_of_its_own_is_refused() -> None:
    with pytest.raises(StrangleError, match="Aggregate has no TOPIC; give it and each of its events one"):
        Aggregates(Aggregate, aggregate_type="account", stream="ledger")


def test_of_two_writers_of_a_version_one_wins_and_the_other_repeats(store: Pair) -> None:
    at = opened(100)
    one, two = ACCOUNTS.get(at), ACCOUNTS.get(at)
    one.withdraw(80)
    two.withdraw(80)
    ACCOUNTS.save(one)
    with pytest.raises(Conflict, match="has a version 3 already; load it again and repeat the command"):
        ACCOUNTS.save(two)
    with pytest.raises(InsufficientFunds):
        ACCOUNTS.change(at, lambda account: account.withdraw(80))
    assert ACCOUNTS.get(at).balance == 20


def test_concurrent_deposits_are_each_there_once(store: Pair) -> None:
    at = opened(0)

    def work() -> None:
        with closing(connections["default"]):
            for _ in range(5):
                ACCOUNTS.change(at, lambda account: account.deposit(1), attempts=200)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (ACCOUNTS.get(at).balance, ACCOUNTS.get(at).version) == (20, 22)


def test_the_loser_of_a_version_publishes_nothing(store: Pair) -> None:
    at = opened(5)
    one, two = ACCOUNTS.get(at), ACCOUNTS.get(at)
    for each in (one, two):
        each.deposit(1)
    ACCOUNTS.save(one)
    with transaction.atomic(), pytest.raises(Conflict):
        ACCOUNTS.save(two)
    with store.connect("shop") as conn:
        query = "SELECT count(*) FROM strangle_outbox WHERE aggregate_id = %s"
        assert conn.execute(query, [str(at)]).fetchone() == (3,)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE strangle_event SET version = version + 1", "DELETE FROM strangle_event", "TRUNCATE strangle_event"],
)
def test_the_database_refuses_to_change_what_happened(store: Pair, statement: str) -> None:
    for setting in ("origin", "replica"):
        with store.connect("shop") as conn:
            conn.execute("SELECT set_config('session_replication_role', %s, false)", [setting])
            with pytest.raises(psycopg.errors.RestrictViolation, match="events are never changed"):
                conn.execute(statement)
    with store.connect("shop", "shop_app") as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute(statement)


def test_the_application_role_may_append(store: Pair) -> None:
    with store.connect("shop", "shop_app") as conn:
        rights = (
            "SELECT has_table_privilege('strangle_event', 'INSERT'), has_table_privilege('strangle_event', 'UPDATE')"
        )
        assert conn.execute(rights).fetchone() == (True, False)


def test_snapshots_save_reading_and_may_be_dropped_at_any_time(store: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    at = opened(*[1] * 1499)
    ACCOUNTS.change(at, lambda account: account.deposit(500))
    assert due(ACCOUNTS, Policy()) == [at], "the others have fewer than 100 events and are young"
    assert list(take_due(ACCOUNTS, Policy(), threading.Event())) == [(at, 1501)]
    assert due(ACCOUNTS, Policy()) == []
    for _ in range(99):
        ACCOUNTS.change(at, lambda account: account.deposit(1))
    assert due(ACCOUNTS, Policy()) == []
    with undone():
        ACCOUNTS.change(at, lambda account: account.deposit(1))
        assert due(ACCOUNTS, Policy()) == [at], "the hundredth event makes it due"
    read: list[int] = []
    select = EventRecorder.select_events

    def counted(self: Any, *args: Any, **more: Any) -> Any:
        found = select(self, *args, **more)
        read.append(len(found))
        return found

    monkeypatch.setattr(EventRecorder, "select_events", counted)
    with_snapshot = ACCOUNTS.get(at)
    assert sum(read) == 99
    assert ACCOUNTS.get(at, version=1000).balance == 999, "and versions before it are read without it"
    assert drop(ACCOUNTS) == 1
    read.clear()
    assert ACCOUNTS.get(at).__dict__ == with_snapshot.__dict__
    assert sum(read) == 1600


def test_an_old_snapshot_of_a_changed_account_is_due_again(store: Pair) -> None:
    at = opened(1)
    ACCOUNTS.snapshot(at)
    ACCOUNTS.change(at, lambda account: account.deposit(1))
    with store.connect("shop") as conn:
        conn.execute("UPDATE strangle_snapshot SET created_at = now() - interval '25 hours'")
    assert at in due(ACCOUNTS, Policy())
    assert at not in due(ACCOUNTS, Policy(hours=26))
    drop(ACCOUNTS)


def test_a_snapshot_of_an_earlier_shape_is_as_if_it_were_not_there(store: Pair) -> None:
    at = opened(7)
    ACCOUNTS.snapshot(at)
    with store.connect("shop") as conn:
        conn.execute("UPDATE strangle_snapshot SET snapshot_version = 0, state = '{}' WHERE aggregate_id = %s", [at])
    assert ACCOUNTS.get(at).balance == 7
    drop(ACCOUNTS)


def test_the_newest_snapshot_is_found_by_the_key_alone(store: Pair) -> None:
    with store.connect("shop") as conn:
        conn.execute("SET enable_seqscan = off")
        query = "EXPLAIN SELECT * FROM strangle_snapshot WHERE aggregate_id = %s ORDER BY version DESC LIMIT 1"
        plan = " ".join(row[0] for row in conn.execute(query, [uuid.uuid4()]))
    assert "Index Scan Backward using strangle_snapshot_pkey" in plan


def test_an_account_is_read_as_it_was_at_any_moment(store: Pair) -> None:
    at = opened(1000)
    with store.connect("shop") as conn:
        [first] = conn.execute("SELECT clock_timestamp()").fetchone() or (None,)
        ACCOUNTS.change(at, lambda account: account.withdraw(200))
        [second] = conn.execute("SELECT clock_timestamp()").fetchone() or (None,)
    ACCOUNTS.change(at, lambda account: account.deposit(500))
    ACCOUNTS.snapshot(at)
    assert [ACCOUNTS.as_of(at, moment).balance for moment in (first, second)] == [1000, 800]
    with pytest.raises(NoSuchAggregate, match="there was no account"):
        ACCOUNTS.as_of(at, first - dt.timedelta(hours=1))
    drop(ACCOUNTS)


def test_what_happened_can_be_audited_with_who_and_why(store: Pair) -> None:
    chain = Causality(correlation_id="corr-456", causation_id="cmd-123", metadata={"user": "789"})
    with caused_by(chain):
        at = opened(1000)
    [opening, deposit] = ACCOUNTS.history(at)
    assert (opening.event_type, deposit.event_type, deposit.event_version) == ("account.opened", "account.deposited", 3)
    assert (deposit.correlation_id, deposit.causation_id, deposit.metadata) == ("corr-456", "cmd-123", {"user": "789"})
    assert deposit.state["amount"] == Decimal(1000)


def test_the_command_takes_snapshots_drops_them_and_exports_what_happened(store: Pair) -> None:
    run("snapshots", "account")
    assert "dropped" in run("drop-snapshots", "account")
    run("snapshots", "account", "--events", "50")
    at = opened(*[1] * 98)
    assert "0 snapshots of 'account' taken" in run("snapshots", "account")
    ACCOUNTS.change(at, lambda account: account.deposit(1))
    assert "1 snapshots of 'account' taken" in run("snapshots", "account")
    lines = [json.loads(line) for line in run("audit", "account", "--aggregate", str(at)).splitlines()]
    assert (len(lines), lines[0]["event_type"], lines[1]["state"]["amount"]) == (100, "account.opened", "1")
    assert "snapshots of 'account' dropped" in run("drop-snapshots", "account")
    with pytest.raises(CommandError, match="no aggregates of type 'acount' are declared; known are"):
        run("audit", "acount")


def run(*args: str) -> str:
    out = StringIO()
    call_command("strangle_event_store", *args, stdout=out)
    return out.getvalue()


def test_each_version_ever_stored_is_read_as_its_golden_sample_says() -> None:
    assert samples.find_differences(SAMPLES) == []


def test_a_changed_upcaster_differs_from_its_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def invents(state: dict[str, Any]) -> None:
        state["source"] = "unknown@example.com"

    monkeypatch.setattr(BankAccount.Deposited, "upcast_v2_v3", staticmethod(invents))
    assert len(samples.find_differences(SAMPLES)) == 2
    assert samples.find_differences(tmp_path) != [], "no sample is no proof"
    shutil.copytree(SAMPLES / "account.deposited", tmp_path / "account.deposited")
    (tmp_path / "account.deposited" / "3.json").rename(tmp_path / "account.deposited" / "4.json")
    assert "4.json holds version 3; name it after that" in " ".join(samples.find_differences(tmp_path))


def stored_as(store: Pair, at: uuid.UUID, version: int, sample: str) -> None:
    state = json.loads((SAMPLES / "account.deposited" / f"{sample}.json").read_text())["state"]
    with store.connect("shop") as conn:
        conn.execute(
            """INSERT INTO strangle_event (aggregate_id, version, aggregate_type, event_type, event_version, state,
               metadata) VALUES (%s, %s, 'account', 'account.deposited', %s, %s, '{}')""",
            [at, version, int(sample), json.dumps(state)],
        )


def test_a_stream_of_three_versions_is_replayed_twice_alike_and_stays_as_it_was(store: Pair) -> None:
    at = opened()
    for version, sample in ((2, "1"), (3, "2"), (4, "3")):
        stored_as(store, at, version, sample)
    once, twice = ACCOUNTS.get(at), ACCOUNTS.get(at)
    assert once.balance == twice.balance == Decimal("1014.50")
    assert list(ACCOUNTS.history(at))[1].state["cents"] == 100050, "what was stored is never rewritten"


def test_an_event_of_newer_code_is_refused_not_misread(store: Pair) -> None:
    with undone():
        at = opened(1)
        with connections["default"].cursor() as cursor:
            cursor.execute(
                """INSERT INTO strangle_event SELECT aggregate_id, 3, aggregate_type, event_type, 9,
                   state || '{"class_version": 9}', correlation_id, causation_id, metadata
                   FROM strangle_event WHERE aggregate_id = %s AND version = 2""",
                [at],
            )
        with pytest.raises(NewerEvent, match="has version 9, and this code knows 3"):
            ACCOUNTS.get(at)


def test_unknown_is_no_value_that_could_be_mistaken_for_one(store: Pair) -> None:
    assert (bool(UNKNOWN), repr(UNKNOWN), UNKNOWN == "", UNKNOWN is type(UNKNOWN)()) == (False, "UNKNOWN", False, True)
    account = BankAccount(customer_id="c")
    account.deposit(3, source=UNKNOWN)  # type: ignore[arg-type]
    ACCOUNTS.save(account)
    with store.connect("shop") as conn:
        row = conn.execute("SELECT payload FROM strangle_outbox ORDER BY seq DESC LIMIT 1").fetchone()
    assert row
    assert (row[0]["amount"], row[0]["source"]) == ("3", None)


def test_accounts_copied_into_another_type_have_equal_counts_and_totals(store: Pair) -> None:
    with undone():
        ids = [opened(1000, -200, 500), opened(3), opened()]
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM strangle_event WHERE aggregate_type = 'account'")
            [events] = cursor.fetchone()
            first = copy_transformed(ACCOUNTS, PURSES, as_purse)
            assert first.read == first.written == events
            assert [PURSES.get(id_in(PURSES, at)).holds for at in ids] == [1300, 3, 0]
            ACCOUNTS.change(ids[1], lambda account: account.deposit(4))
            again = copy_transformed(ACCOUNTS, PURSES, as_purse)
            assert (again.read, again.written) == (1, 1), "only what is new"
            assert PURSES.get(id_in(PURSES, ids[1])).holds == 7
            cursor.execute(
                """SELECT bool_and(new.recorded_at = old.recorded_at) FROM strangle_event new JOIN strangle_event old
                   ON old.aggregate_id = (new.metadata ->> 'copied_from')::uuid
                  AND old.version = (new.metadata ->> 'copied_version')::bigint"""
            )
            assert cursor.fetchone() == (True,)
        assert ACCOUNTS.get(ids[0]).balance == 1300, "the old events are what they were"


def test_a_copy_cut_off_goes_on_with_the_next_aggregate(store: Pair) -> None:
    class Cut(Exception):
        pass

    def cut() -> None:
        raise Cut

    at = opened(9)
    with points.on("transformation.before_commit", cut), pytest.raises(Cut):
        copy_transformed(ACCOUNTS, PURSES, as_purse)
    copy_transformed(ACCOUNTS, PURSES, as_purse)
    assert PURSES.get(id_in(PURSES, at)).holds == 9


def test_a_read_model_is_filled_from_stored_events_through_the_outbox(
    store: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "_registry", {})
    monkeypatch.setattr(registry, "_registry", {})
    install_models(Balances)
    at = opened(10, 20)
    with undone():
        ACCOUNTS.change(at, lambda account: account.deposit(400))
    number("ledger")
    consume("ledger", "balances")
    with store.connect("shop") as conn:
        rows = conn.execute("SELECT number, amount FROM deposit WHERE account = %s ORDER BY 1", [at]).fetchall()
    assert rows == [(2, Decimal(10)), (3, Decimal(20))], "what was rolled back was neither stored nor published"
