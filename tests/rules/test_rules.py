"""Each rule by its planted example, at its line, and by a neighbour that it passes over: nothing is told beside."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache

import pytest

from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.database import DatabaseFacts
from migration_tools.analysis.observation import scope
from migration_tools.analysis.rules import RULES
from migration_tools.analysis.trace import Trace
from migration_tools.analysis.traced import find_traced
from migration_tools.analysis.unseen import find_unseen
from tests.architecture.tree import ROOT
from tests.integration.test_analysis import tracing
from tests.rules import code, models, traces
from tests.rules.row import Found, Row, marks
from tests.rules.traces import UNSEEN

STATIC = [*models.ROWS, *code.ROWS]
HEADS = models.HEADS | code.HEADS

SETTINGS = """
from migration_tools import MONOLITH_APPS
SECRET_KEY = "of a test"
ROOT_URLCONF = "planted.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages",
    "django.contrib.sessions", "people", "sales", *MONOLITH_APPS,
]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
"""


@cache
def project() -> Mapping[str, str]:
    """File → its text: its head, then the planted examples and neighbours of all rows."""
    files = dict(HEADS)
    for row in STATIC:
        files[row.file] = files.get(row.file, "") + row.planted + row.neighbour
    return files


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> set[Found]:
    """What strangle_analyze says of the project, in a process of its own."""
    root = tmp_path_factory.mktemp("planted")
    for name, text in {**project(), "planted_settings.py": SETTINGS}.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    env = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{ROOT}", "DJANGO_SETTINGS_MODULE": "planted_settings"}
    arguments = [sys.executable, "-m", "django", "strangle_analyze", "--no-database", "--format", "json"]
    done = subprocess.run(arguments, cwd=root, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    found = {(each["place"]["file"], each["place"]["line"], each["rule"]) for each in report["findings"]}
    return {each for each in found if not each[0].startswith("django/")}


@pytest.mark.parametrize("row", STATIC, ids=lambda row: row.rule)
def test_a_rule_of_the_source_tells_its_example_and_not_its_neighbour(row: Row, told: set[Found]) -> None:
    text = project()[row.file]
    above = text[: text.index(row.planted)].count("\n")
    below = above + row.planted.count("\n")
    expected = marks(row.file, row.planted, above) | marks(row.file, row.neighbour, below)
    last = below + row.neighbour.count("\n")
    assert {each for each in told if each[0] == row.file and above < each[1] <= last} == expected


def test_nothing_else_is_told_of_the_project(told: set[Found]) -> None:
    assert told == set().union(*(marks(file, text) for file, text in project().items()))


@pytest.mark.django_db
@pytest.mark.parametrize("row", traces.ROWS, ids=lambda row: row.rule)
def test_a_rule_of_the_trace_tells_its_example_and_not_its_neighbour(row: Row) -> None:
    file = f"legacy_monolith/orders/{row.file}"
    text = traces.HEAD + row.planted + row.neighbour
    planted: dict[str, object] = {"__name__": f"legacy_monolith.orders.{row.file.removesuffix('.py')}"}
    exec(compile(text, str(ROOT / file), "exec"), planted)  # noqa: S102
    for name, part, above in (
        ("planted", row.planted, traces.HEAD.count("\n")),
        ("neighbour", row.neighbour, (traces.HEAD + row.planted).count("\n")),
    ):
        with tracing() as trace, scope(f"GET /{name}"):
            planted[name]()  # type: ignore[operator]
        found = {(each.place.file, each.place.line, each.rule) for each in find_traced(trace)}
        assert found == marks(file, part, above)


def test_the_rule_of_what_no_trace_has_tells_its_example_and_not_its_neighbour() -> None:
    contexts = load_contexts()
    facts = DatabaseFacts(statements=((UNSEEN.planted, 7, "nightly"), (UNSEEN.neighbour, 9, "nightly")))
    (unseen,) = find_unseen(facts, Trace(contexts), contexts)
    assert (unseen.rule, unseen.source, unseen.target, unseen.weight) == (UNSEEN.rule, "payments", "orders", 7)


def rows() -> Iterator[Row]:
    yield from (*STATIC, *traces.ROWS, UNSEEN)


def test_every_rule_has_one_row_whose_example_breaks_it_and_whose_neighbour_does_not() -> None:
    assert [row.rule for row in rows()] == list(RULES)
    for row in (*STATIC, *traces.ROWS):
        assert row.rule in {rule for *_, rule in marks(row.file, row.planted)}
        assert row.rule not in {rule for *_, rule in marks(row.file, row.neighbour)}


def test_every_rule_is_documented() -> None:
    page = (ROOT / "docs" / "how-to" / "find-the-cut.md").read_text()
    told = re.findall(r"^\| (SFA\d{3}) \| .* \| (\d+) \| (\w+) \|$", page, re.MULTILINE)
    assert told == [(rule.id, str(rule.cost), rule.part) for rule in RULES.values()]
