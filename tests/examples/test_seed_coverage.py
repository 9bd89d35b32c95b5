"""Every system of the seed documents has a test or a command that exists, or says what is missing."""

import re
from dataclasses import replace

from tests.architecture.tree import ROOT, project_files
from tests.seeds.__main__ import PAGE, page
from tests.seeds.coverage import ROWS, mistakes, read

SAMPLE = read(ROWS.read_text())


def test_every_row_is_shown_or_says_what_is_missing() -> None:
    assert list(mistakes(SAMPLE)) == []
    assert [row.number for row in SAMPLE] == list(range(1, 150))


NAMED = ROOT / "docs" / "explanation" / "tools-named.md"
CLIENTS = "esdbclient|kurrentdbclient|temporalio|pyzeebe|elasticsearch|elastic_transport|pysolr"


def test_what_is_only_named_has_a_line_and_is_not_used_behind_its_back() -> None:
    lines = [line for line in NAMED.read_text().splitlines() if line.startswith("| ")]
    named = " ".join(line.split("|")[1] for line in lines)
    for name in ("Eventuate", "EventStoreDB", "PostgreSQL", "MongoDB", "Temporal", "Camunda", "Elasticsearch", "image"):
        assert name in named
    imported = re.compile(rf"^\s*(import|from) ({CLIENTS})\b", re.MULTILINE)
    assert imported.search("import temporalio.client")
    assert [path for path in project_files(".py") if imported.search(path.read_text())] == []
    assert list(project_files(".png")) == []


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
