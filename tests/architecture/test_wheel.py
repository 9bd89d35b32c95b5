"""The wheel holds the toolkit and nothing else; inside a monolith it needs Django and its driver alone."""

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import textwrap
import venv
import zipfile
from pathlib import Path

import pytest

from tests.architecture.tree import MADE, ROOT, project_files

STRANGERS = ("proxy", "tests", "demo", "playbooks", "legacy_monolith", "extracted_services", "manage")
PLANTED = "migration_tools/messaging/sql/planted.sql"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a clean copy of the source."""
    source = tmp_path_factory.mktemp("source") / "checkout"
    ignored = shutil.ignore_patterns(*MADE)
    shutil.copytree(ROOT, source, ignore=ignored)
    (source / PLANTED).parent.mkdir(exist_ok=True)
    (source / PLANTED).write_text("-- a block that a room may add\n")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    built = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False, timeout=120)
    assert built.returncode == 0, built.stdout + built.stderr
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh virtual environment that holds the wheel and nothing else."""
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    command = [
        sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index",
        str(wheel),
    ]  # fmt: skip
    installed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    return python


def ask(python: Path, code: str, *extra_paths: Path) -> str:
    """Run code isolated from this checkout, with `extra_paths` behind what is installed."""
    prelude = f"import sys; sys.path += {[str(path) for path in extra_paths]!r}\n"
    result = subprocess.run(
        [str(python), "-I", "-W", "error", "-c", prelude + textwrap.dedent(code)],
        cwd=python.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_wheel_holds_every_file_of_the_toolkit_and_no_other(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {path.relative_to(ROOT).as_posix() for path in project_files(below=ROOT / "migration_tools")}
    assert held == expected | {PLANTED}


def test_sql_files_types_and_schema_migrations_are_inside(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    assert "migration_tools/py.typed" in held
    assert PLANTED in held
    assert "migration_tools/messaging/migrations/0001_initial.py" in held


def test_only_the_toolkit_can_be_imported_from_the_wheel(environment: Path) -> None:
    answer = ask(
        environment,
        f"""
        import importlib.metadata, importlib.util, json
        files = importlib.metadata.distribution("django-strangler").files
        names = {{file.parts[0] for file in files if ".dist-info" not in file.parts[0]}}
        found = [name for name in {STRANGERS!r} if importlib.util.find_spec(name)]
        import migration_tools
        print(json.dumps([sorted(names), found, migration_tools.__version__]))
        """,
    )
    assert json.loads(answer) == [["migration_tools"], [], "0.1.0"]


@pytest.mark.parametrize("apps", ["MONOLITH_APPS", "SERVICE_APPS"])
def test_a_project_that_has_psycopg2_needs_no_other_driver(apps: str, environment: Path, tmp_path: Path) -> None:
    for distribution in ("Django", "asgiref", "sqlparse", "psycopg2-binary"):
        for file in importlib.metadata.files(distribution) or ():
            top = Path(distribution_root(distribution)) / file.parts[0]
            if file.parts[0] != ".." and not (tmp_path / file.parts[0]).exists():
                (tmp_path / file.parts[0]).symlink_to(top)
    ask(
        environment,
        f"""
        import django, migration_tools
        from django.conf import settings
        settings.configure(
            INSTALLED_APPS=[
                "django.contrib.contenttypes",
                "django.contrib.auth",
                *migration_tools.{apps},
                "migration_tools.sagas",
            ],
            DATABASES={{"default": dict(ENGINE="django.db.backends.postgresql", NAME="x", HOST="127.0.0.1", PORT="1")}},
            ROOT_URLCONF="migration_tools.urls",
            MIGRATION_TOOLS={{}},
            USE_TZ=True,
        )
        django.setup()
        from django.core.management import call_command
        call_command("check")
        import warnings
        # There is no server here whose history could be compared.
        warnings.filterwarnings("ignore", "Got an error checking a consistent migration history")
        call_command("makemigrations", check=True, dry_run=True)
        """,
        tmp_path,
    )


def distribution_root(name: str) -> Path:
    """Find the site-packages directory that holds a distribution."""
    return Path(str(importlib.metadata.distribution(name).locate_file("")))


@pytest.mark.thorough
def test_the_same_sources_make_the_same_bytes_whenever_and_wherever_they_are_built(tmp_path: Path) -> None:
    digests = []
    for place in ("here", "there/deeper"):
        source, out = tmp_path / place / "checkout", tmp_path / place / "dist"
        shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*MADE))
        for number, path in enumerate(sorted(source.rglob("*.py"))):
            os.utime(path, (1_000_000_000 + number, 1_000_000_000 + len(place) * number))
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
        subprocess.run(command, check=True, capture_output=True, timeout=240)
        digests.append({made.name: hashlib.sha256(made.read_bytes()).hexdigest() for made in out.iterdir()})
    assert digests[0] == digests[1]
    assert {name.rpartition(".")[2] for name in digests[0]} == {"whl", "gz"}
