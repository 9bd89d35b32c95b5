"""The four fixtures in a Django project that has the distribution alone: found by their entry point, used once."""

import datetime as dt
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Cluster

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(200)]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SETTINGS = """
from migration_tools import MONOLITH_APPS


def database(name):
    return {{
        "ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": {port}, "NAME": name,
        "USER": "postgres", "PASSWORD": {password!r}, "TEST": {{"NAME": name + "_{unique}"}},
    }}


SECRET_KEY = "of-a-user-s-project"
INSTALLED_APPS = ["people", "notes", *MONOLITH_APPS]
DATABASES = {{"default": database("user_notes"), "service": database("user_service")}}
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MIGRATION_TOOLS = {{"SIDE": "monolith"}}
"""
PEOPLE = """
from django.db import models


class Person(models.Model):
    name = models.CharField(max_length=50)
"""
NOTES = """
from django.db import models, transaction

from migration_tools.messaging.outbox import publish


class Note(models.Model):
    title = models.CharField(max_length=50)
    author = models.ForeignKey("people.Person", on_delete=models.CASCADE, null=True)


def written_by(name):
    return list(Note.objects.filter(author__name=name))


def count_by(name):
    return Note.objects.filter(author__name=name).count()


def last_by(name):
    return Note.objects.filter(author__name=name).last()


def write(title):
    with transaction.atomic():
        note = Note.objects.create(title=title)
        publish("note.written", aggregate_type="note", aggregate_id=note.pk, payload={"title": title}, stream="notes")
"""
HANDLERS = """
from migration_tools.messaging.handlers import handles

heard = []


@handles("note.written", stream="notes")
def hear(envelope):
    heard.append(envelope.payload["title"])
"""
TESTS = """
import pytest
from django.test import TestCase

from migration_tools.errors import CouplingRefused
from notes.handlers import heard
from notes.models import Note, write, written_by

both = pytest.mark.django_db(transaction=True, databases=["default", "service"])


def test_outbox(outbox):
    write("one")
    assert outbox.assert_published("note.written", title="one").stream == "notes"


class TestWithinTheTransactionOfTestCase(TestCase):
    @pytest.fixture(autouse=True)
    def given(self, outbox):
        self.outbox = outbox

    def test_one(self):
        self.outbox.assert_nothing_published()
        write("two")
        self.outbox.assert_published("note.written", title="two")

    def test_another_sees_nothing_of_it(self):
        self.outbox.assert_nothing_published()

    def test_that_fails(self):
        write("three")
        self.outbox.assert_published("note.written", title="four")


@both
def test_drain(drain):
    write("five")
    drain("notes", sender="default", receiver="service")
    assert heard == ["five"]


@both
def test_faults(drain, faults):
    heard.clear()
    write("six")
    with faults.dies_at("inbox.before_commit"):
        drain("notes", sender="default", receiver="service")
    drain("notes", sender="default", receiver="service")
    assert heard == ["six", "six"]


@pytest.mark.django_db
def test_context_guard(context_guard):
    assert list(Note.objects.all()) == []
    with pytest.raises(CouplingRefused, match="across contexts"):
        written_by("Ada")
    assert len(context_guard.met) == 1
"""

CONTEXTS = """
[contexts.people]
apps = ["people"]
owner = "head of people"
team = "people"

[contexts.notes]
apps = ["notes"]
owner = "head of notes"
team = "notes"

[[exemptions]]
rule = "SFA201"
function = "notes.models.written_by"
issue = "https://issues.example/7"
expires = {yesterday}

[[exemptions]]
rule = "SFA201"
function = "notes.models.count_by"
issue = "https://issues.example/8"
expires = {today}
"""
GUARDED = """
import contextlib
import pytest

from notes.models import count_by, last_by, written_by

pytestmark = pytest.mark.django_db


def test_exempt():
    assert count_by("Ada") == 0


def test_expired():
    written_by("Ada")


def test_new():
    last_by("Ada")


def test_expired_and_swallowed():
    with contextlib.suppress(Exception):
        written_by("Ada")
"""


@pytest.fixture
def home(tmp_path: Path, cluster: Cluster) -> Path:
    """A project, and beside it what pip would have installed: the package, and metadata with its entry points."""
    site, home = tmp_path / "site", tmp_path / "project"
    info = site / "django_strangler-0.1.0.dist-info"
    info.mkdir(parents=True)
    (site / "migration_tools").symlink_to(ROOT / "migration_tools")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: django-strangler\nVersion: 0.1.0\n")
    lines = [f"{name} = {value}" for name, value in PROJECT["entry-points"]["pytest11"].items()]
    (info / "entry_points.txt").write_text("[pytest11]\n" + "\n".join(lines) + "\n")
    settings = SETTINGS.format(port=cluster.port, password=cluster.password, unique=abs(hash(tmp_path)) % 10**6)
    written: dict[str, str] = {
        "project_settings.py": settings,
        "pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = project_settings\npythonpath = .\n",
        "people/__init__.py": "", "people/models.py": PEOPLE,
        "notes/__init__.py": "", "notes/models.py": NOTES, "notes/handlers.py": HANDLERS,
        "test_notes.py": TESTS,
    }  # fmt: skip
    for name, text in written.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    return home


def run(home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """pytest as its user types it; of this run's environment it has the two paths alone."""
    env: dict[str, Any] = {"PYTHONPATH": str(home.parent / "site"), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *options],
        cwd=home, env=env, capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip


def test_each_fixture_does_in_a_user_s_project_what_it_is_for(home: Path) -> None:
    done = run(home, "-v")
    told = done.stdout + done.stderr
    assert "1 failed, 6 passed" in told, told
    assert "0 events 'note.written' with {'title': 'four'}, not one; published was:" in told
    assert "test_that_fails FAILED" in told


def test_the_guard_lets_an_exemption_pass_until_its_day_and_then_says_that_it_ended(home: Path) -> None:
    today = dt.datetime.now(tz=dt.UTC).date()
    contexts = CONTEXTS.format(today=today, yesterday=today - dt.timedelta(1))
    (home / "contexts.toml").write_text(contexts)
    (home / "test_notes.py").write_text(GUARDED)
    done = run(home, "--strangle-guard", "raise", "-v", "-rf")
    assert "test_exempt PASSED" in done.stdout, done.stdout + done.stderr
    assert "3 failed, 1 passed" in done.stdout
    failures, _, summary = done.stdout.partition("couplings of contexts that the baseline does not have")
    _, *parts = re.split(r"^_{3,} (\w+) _{3,}$", failures, flags=re.MULTILINE)
    by_test = dict(zip(parts[::2], parts[1::2], strict=True))
    ended = f"its exemption (https://issues.example/7) ended on {today - dt.timedelta(1)}"
    for name, function, over in [
        ("test_expired", "written_by", True),
        ("test_new", "last_by", False),
        ("test_expired_and_swallowed", "written_by", True),
    ]:
        told = by_test[name]
        assert "keep a read model filled by events" in told
        assert f"function = 'notes.models.{function}', an issue and a day of expiry" in told
        assert (ended in told) is over, told
    assert summary.count(ended) == 1
    assert "count_by" not in done.stdout
    (home / "contexts.toml").write_text(contexts.replace('issue = "https://issues.example/8"\n', ""))
    refused = run(home, "--strangle-guard", "raise")
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR, refused.stdout + refused.stderr
    assert "exemption 2 must have expires, function, issue, rule, and nothing else" in refused.stderr
    assert "INTERNALERROR" not in refused.stdout + refused.stderr


def test_without_pytest_django_the_database_is_what_is_missing_and_the_extra_brings_it(home: Path) -> None:
    (home / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    (home / "test_notes.py").write_text("def test_outbox(outbox):\n    pass\n")
    done = run(home, "-p", "no:django")
    assert "fixture 'db' not found" in done.stdout
    assert any(each.startswith("pytest-django") for each in PROJECT["optional-dependencies"]["testing"])
