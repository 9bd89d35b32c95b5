"""Declared invariants: checked in the snapshots of a verification, a class of their own, mistakes all at once."""

from typing import Any

import pytest
from django.db.models import F, Q, Value

from migration_tools.errors import ExitCode, PlaybookError
from migration_tools.playbook import CountEqual, NoOrphans, SumEqual, Unique
from migration_tools.playbook.compiled import compile_playbook
from migration_tools.playbook.validation import find_static_mistakes
from migration_tools.state.models import Verification
from migration_tools.stores.postgres import connect
from playbooks.orders import Orders
from tests.conftest import Pair
from tests.corruption import LINE, ORDER, unseen
from tests.integration.test_phases import ROAD, Road, road, writing

__all__ = ["road"]

ALL = [
    NoOrphans(LINE),
    NoOrphans(LINE, ["product_id"], references=["sales_product.id"]),
    Unique(ORDER, ["public_id"]),
    Unique(LINE, ["order_public_id", "product_id"]),
    SumEqual(ORDER, source=F("total") * Value(100), target="total_cents"),
    SumEqual(LINE, source="quantity", target="qty"),
    CountEqual(ORDER, source=Q(note=""), target=Q(remark="")),
    CountEqual(LINE),
]


@pytest.fixture
def stated(road: Road, monkeypatch: pytest.MonkeyPatch) -> Road:
    """The orders with invariants of every sort, copied."""
    monkeypatch.setattr(Orders, "invariants", ALL, raising=False)
    road.go("strangle_dual_write", "strangle_backfill")
    return road


def broken(road: Road) -> dict[str, Any]:
    """The keys (or the column) of each invariant that the last verification found broken."""
    report = Verification.objects.latest("id").report
    found: dict[str, Any] = {}
    for each in report["differences"]:
        if each["class"] == "invariant":
            found.setdefault(each["projection"].removeprefix("invariant: "), []).append("/".join(each["key"]))
    return found


def test_invariants_hold_under_live_writes_in_both_directions(stated: Road) -> None:
    with writing(stated.pair):
        stated.go("strangle_verify --runs 3")
        stated.go("strangle_verify", *ROAD[3:5])
        stated.run("strangle_verify", "--runs", "2")
    assert Verification.objects.latest("id").direction == "reverse"
    assert broken(stated) == {}
    assert {t["projection"] for t in Verification.objects.latest("id").report["tables"]} >= {
        f"invariant: {each.name}" for each in ALL
    }


def test_each_invariant_is_broken_by_what_it_forbids(stated: Road) -> None:
    with unseen(stated.stage.orders):
        conn = stated.stage.orders
        conn.execute(f"UPDATE {LINE} SET product_id = 4242 WHERE id = 3")
        conn.execute(f"UPDATE {LINE} SET order_public_id = gen_random_uuid() WHERE id = 4")
        conn.execute(f"UPDATE {LINE} SET qty = qty + 1 WHERE id = 5")
        conn.execute(f"DELETE FROM {LINE} WHERE id = 6")
        conn.execute(f"UPDATE {ORDER} SET total_cents = total_cents + 1, remark = '' WHERE id = 7")
        first = conn.execute(f"SELECT min(id), order_public_id FROM {LINE} GROUP BY 2 HAVING count(*) > 1").fetchone()
        assert first is not None
        conn.execute(
            f"UPDATE {LINE} SET product_id = (SELECT product_id FROM {LINE} WHERE id = %s) WHERE order_public_id = %s",
            first,
        )
    assert stated.refused("strangle_verify").returncode == ExitCode.DIFFERENCES
    found = broken(stated)
    assert found[ALL[0].name] == ["4"]
    assert found[ALL[1].name] == ["3"]
    assert ALL[2].name not in found
    assert str(first[0]) in found[ALL[3].name]
    assert len(found[ALL[3].name]) > 1
    assert {each.name for each in ALL[4:]} <= found.keys()
    report = Verification.objects.latest("id").report
    assert report["by_class"]["invariant"] == sum(len(keys) for keys in found.values())
    totals = [f for d in report["differences"] if d["class"] == "invariant" for f in d["fields"]]
    assert all("numeric, " in str(f["source"]) for f in totals), "totals are values too: redacted"
    stated.run("strangle_repair")
    assert stated.run("strangle_verify", "--runs", "1")["evidence"]["differences"] == 0


def test_a_broken_invariant_alone_keeps_the_gate_shut(stated: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are equal; what was stated of them is wrong on both sides."""
    monkeypatch.setattr(Orders, "invariants", [Unique(ORDER, ["currency"])])
    error = stated.refused("strangle_verify")
    assert error.returncode == ExitCode.DIFFERENCES
    assert broken(stated).keys() == {"sales_order is unique by currency"}
    assert stated.run("strangle_repair")["message"].endswith("nothing to repair")
    assert stated.refused("strangle_switch_reads").returncode == ExitCode.GATE_NOT_MET


def test_mistakes_in_invariants_are_reported_all_at_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = [
        "no orphans",
        NoOrphans("sales_orderitm"),
        NoOrphans(LINE, ["product_id"]),
        NoOrphans(LINE, ["product_id"], references=["sales_product"]),
        Unique(ORDER, []),
        SumEqual(ORDER, source="totl", target="total_cents"),
        CountEqual(ORDER, source=Q(nope=1)),
        CountEqual(LINE),
        CountEqual(LINE),
    ]
    monkeypatch.setattr(Orders, "invariants", wrong, raising=False)
    said = "\n".join(find_static_mistakes(Orders))
    for words in (
        "invariant 'no orphans' is none; use NoOrphans",
        "no projection goes into 'sales_orderitm'; did you mean 'sales_orderitem'?",
        "names columns without what they refer to",
        "'sales_product' is not 'table.column'",
        "it names no columns",
        "source: 'totl'",
        "source: 'nope'",
        "is declared twice",
    ):
        assert words in said, words
    live = [
        NoOrphans("sales_product"),
        Unique(ORDER, ["nope"]),
        SumEqual(ORDER, source="total", target="no_such_column"),
        SumEqual(ORDER, source="note", target="total_cents"),
    ]
    monkeypatch.setattr(Orders, "invariants", live)
    with connect("default", "test") as source, connect("orders", "test") as target:
        with pytest.raises(PlaybookError) as caught:
            compile_playbook(Orders, source, target)
        assert len(caught.value.mistakes) == 4, caught.value.mistakes
        assert "declares no foreign key" in caught.value.mistakes[0]
        assert "has no column ['nope']" in caught.value.mistakes[1]
        assert "no_such_column" in caught.value.mistakes[2]
        assert "sum(text) does not exist" in caught.value.mistakes[3]
