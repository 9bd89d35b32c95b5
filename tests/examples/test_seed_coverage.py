"""Every system of the seed documents has a test or a command that exists, or says what is missing."""

from dataclasses import replace

from tests.seeds.__main__ import PAGE, page
from tests.seeds.coverage import ROWS, mistakes, read

SAMPLE = read(ROWS.read_text())


def test_every_row_is_shown_or_says_what_is_missing() -> None:
    assert list(mistakes(SAMPLE)) == []
    assert [row.number for row in SAMPLE] == list(range(1, 150))


def test_the_page_is_what_the_rows_say() -> None:
    assert page(SAMPLE) == PAGE.read_text(), "write it again: python -m tests.seeds"


def test_a_row_with_nothing_and_proofs_that_are_not_there_are_named() -> None:
    planted = [
        replace(SAMPLE[0], shown_by=(), missing=""),
        replace(
            SAMPLE[1],
            shown_by=("tests/nowhere.py", "tests/conftest.py::test_of_nothing", "make nothing", "strangle_nothing"),
        ),
    ]
    assert len(list(mistakes(planted))) == 5
