"""When a write counts as applied: interleavings of it, other transactions, ticks and the other side's receipt."""

from typing import Any

import pytest
from django.db import connections

from migration_tools.routing.own_writes.applied import committed, is_applied, known
from migration_tools.routing.own_writes.token import WriteToken, decode
from tests.races.scene import note
from tests.stage import STREAM, Stage


def token(stage: Stage) -> str:
    """What an answer would carry now."""
    with connections["default"].cursor() as cursor:
        return WriteToken(side="monolith", snapshot=committed(cursor)[0]).encode()


def there(value: str) -> bool:
    """Whether the owner takes the token back."""
    held = decode(value)
    assert held is not None
    assert held.snapshot is not None
    with connections["default"].cursor() as cursor:
        return is_applied(cursor, known(cursor, STREAM), held.snapshot)


@pytest.fixture
def other(stage: Stage) -> Any:
    with stage.pair.connect("shop") as conn:
        yield conn


def test_write_tick_apply(stage: Stage) -> None:
    note(stage.shop, 1, "mine")
    mine = token(stage)
    assert not there(mine), "no tick has numbered it"
    stage.tick()
    assert not there(mine), "numbered, not applied"
    stage.consume()
    assert there(mine)


def test_tick_between_commit_and_token_and_then_silence(stage: Stage) -> None:
    """write → tick → somebody's transaction outside the context → token → apply: no later tick ever comes."""
    stage.settle()
    note(stage.shop, 1, "mine")
    stage.tick()
    stage.shop.execute("UPDATE django_session SET expire_date = now()")
    stage.shop.execute("SELECT pg_current_xact_id()")
    mine = token(stage)
    stage.consume()
    assert there(mine), "or the visitor would stay with the owner for ever"


def test_others_write_on_and_on(stage: Stage) -> None:
    """The other side is always one tick behind, and the token is taken back all the same."""
    note(stage.shop, 1, "mine")
    mine = token(stage)
    stage.tick()
    stage.consume()
    for number in range(3):
        note(stage.shop, 2, f"other {number}")
        stage.tick()
    assert there(mine)
    note(stage.shop, 2, "unnumbered")
    assert there(mine)


def test_another_transaction_runs_on_from_before_the_write(stage: Stage, other: Any) -> None:
    """begin(B) → write(A) → token → tick → apply: B's rows are none of A's, and delay nothing."""
    with other.transaction():
        note(other, 2, "running")
        note(stage.shop, 1, "mine")
        mine = token(stage)
        stage.settle()
        assert there(mine)


def test_the_tick_before_the_commit_says_nothing(stage: Stage, other: Any) -> None:
    """begin(A), write(A) → write(B), tick, apply → commit(A) → token: B's tick is applied, A's rows are in none."""
    with other.transaction():
        note(other, 1, "mine")
        note(stage.shop, 2, "other")
        stage.settle()
    mine = token(stage)
    assert not there(mine)
    stage.settle()
    assert there(mine)


def test_a_position_alone_would_be_believed_too_early(stage: Stage, other: Any) -> None:
    """The naive token is the stream's head after the commit: the same interleaving, and it is there at once."""
    with other.transaction():
        note(other, 1, "mine")
        note(stage.shop, 2, "other")
        stage.settle()
    head = stage.shop.execute("SELECT max(base + records) FROM strangle_tick").fetchone()
    receipt = stage.shop.execute("SELECT min(position) FROM strangle_consumer").fetchone()
    assert receipt >= head, "else this shows nothing"
    remark = stage.orders.execute("SELECT remark FROM sales_order WHERE id = 1").fetchone()
    assert remark != ("mine",)


def test_a_second_consumer_that_is_slower_decides(stage: Stage) -> None:
    stage.shop.execute("INSERT INTO strangle_consumer (stream, name, position) VALUES ('orders', 'slow', 0)")
    stage.shop.execute("INSERT INTO strangle_consumer (stream, name, position) VALUES ('orders', 'replica x', 0)")
    note(stage.shop, 1, "mine")
    mine = token(stage)
    stage.settle()
    assert not there(mine)
    stage.shop.execute("DELETE FROM strangle_consumer WHERE name = 'slow'")
    assert there(mine), "replicas in further stores answer no reads"


def test_retention_drops_outbox_rows_that_are_not_applied(stage: Stage) -> None:
    note(stage.shop, 1, "mine")
    mine = token(stage)
    stage.tick()
    stage.shop.execute("DELETE FROM strangle_outbox")
    assert not there(mine)
    stage.consume()
    assert there(mine)
