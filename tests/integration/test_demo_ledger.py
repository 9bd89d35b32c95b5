"""The demo's ledger and book: what was promised, what is unknown, what must not exist."""

import json
import threading
from pathlib import Path

import pytest

from demo import ledger
from demo.book import Book, fold
from demo.gaps import WriteClock
from demo.ledger import Ledger
from demo.report import Report, TrafficFigures, Verification


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def bought(book: Ledger, reference: str = "r-1", order: str = "o-1") -> None:
    number = book.intent("purchase", reference=reference, user=7, lines=[(1, 2)])
    book.acknowledge(number, order=order, total="2.00", state="placed")


def folded(path: Path) -> Book:
    return fold(ledger.read(path))


def test_a_write_without_an_answer_is_unknown_not_promised(path: Path) -> None:
    with Ledger(path) as written:
        written.intent("purchase", reference="r-1", user=7, lines=[(1, 2)])
    assert folded(path).kept == []
    assert folded(path).purchases["r-1"].refused is False


def test_an_acknowledged_purchase_is_promised_with_all_it_said(path: Path) -> None:
    with Ledger(path) as written:
        bought(written)
    (purchase,) = folded(path).kept
    assert (purchase.order, purchase.total, purchase.states, purchase.lines) == (
        "o-1",
        "2.00",
        {"placed"},
        [(1, 2)],
    )


def test_an_unanswered_transition_leaves_two_states_possible_until_the_next_answer(path: Path) -> None:
    with Ledger(path) as written:
        bought(written)
        written.intent("pay", order="o-1")
        assert folded(path).kept[0].states == {"placed", "paid"}
        written.acknowledge(written.intent("cancel", order="o-1"), state="cancelled")
    assert folded(path).kept[0].states == {"cancelled"}


def test_an_edit_refused_by_the_fence_is_not_expected(path: Path) -> None:
    with Ledger(path) as written:
        cell = {"table": "orders_order", "column": "note"}
        written.acknowledge(written.intent("edit", **cell, values={3: "kept"}))
        written.refuse(written.intent("edit", **cell, values={3: "fenced off"}), "40S01")
    edit = folded(path).edits["orders_order", "note", 3]
    assert edit.allows("kept")
    assert not edit.allows("fenced off")


def test_a_line_torn_by_a_kill_is_left_out_and_numbers_go_on(path: Path) -> None:
    with Ledger(path) as written:
        bought(written)
    whole = path.read_text()
    path.write_text(whole + '{"at": 1, "kind": "int')
    assert len(list(ledger.read(path))) == 2
    path.write_text(whole)
    with Ledger(path) as reopened:
        assert reopened.intent("pay", order="o-1") == 2


def test_threads_write_whole_lines_with_numbers_of_their_own(path: Path) -> None:
    with Ledger(path) as written:
        threads = [
            threading.Thread(target=lambda n=n: [bought(written, f"{n}-{i}", f"o{n}-{i}") for i in range(50)])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    entries = list(ledger.read(path))
    assert len(entries) == 400
    assert len({entry["number"] for entry in entries}) == 200
    assert len(folded(path).kept) == 200


def test_a_gap_that_reaches_out_of_the_window_is_measured_whole() -> None:
    clock = WriteClock()
    for instant in (1.0, 1.1, 4.0, 4.1, 4.2):
        clock.acknowledged(instant)
    assert clock.longest_gap(2.0, 4.15) == pytest.approx(2.9)
    assert clock.longest_gap(4.01, 4.15) == pytest.approx(0.1)


def test_silence_until_the_end_of_the_window_is_a_gap() -> None:
    clock = WriteClock()
    clock.acknowledged(1.0)
    assert clock.longest_gap(0.5, 6.0) == pytest.approx(5.0)
    assert WriteClock().longest_gap(0.0, 3.0) == pytest.approx(3.0)


def test_the_report_has_the_keys_that_others_read(tmp_path: Path) -> None:
    Report().write(tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text())
    assert list(written) == ["phases", "traffic", "backfill", "verification", "cutover", "lag_ms", "result"]
    assert list(written["traffic"]) == [
        "requests",
        "failed",
        "writes_acknowledged",
        "writes_lost",
        "writes_duplicated",
    ]


@pytest.mark.parametrize(
    ("figures", "verification", "sentence"),
    [
        ({"failed": 1}, {}, "1 requests failed"),
        ({"writes_lost": 2}, {}, "2 writes lost"),
        ({"writes_duplicated": 1}, {}, "1 writes duplicated"),
        ({}, {"planted": 5, "found": 4}, "verification 1 missed 1 planted corruptions"),
        ({}, {"false_alarms": 3}, "verification 1: 3 false alarms"),
    ],
)
def test_the_verdict_names_every_shortcoming(
    figures: dict[str, int], verification: dict[str, int], sentence: str
) -> None:
    report = Report(traffic=TrafficFigures(**{"writes_acknowledged": 9} | figures))
    report.verification.append(Verification(**{"rows": 1, "differences": 0, "false_alarms": 0} | verification))
    assert report.shortcomings() == [sentence]
