"""What pyproject.toml, the lock file and the documentation say agrees with the code."""

import ast
import dataclasses
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from migration_tools.conf import Settings
from tests.architecture.tree import PACKAGES, ROOT, project_files, relative

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
EXTRAS: dict[str, list[Requirement]] = {
    name: [Requirement(text) for text in texts] for name, texts in PROJECT["optional-dependencies"].items()
}
REQUIRED = [Requirement(text) for text in PROJECT["dependencies"]]


def pins() -> dict[str, str]:
    """Map each distribution of the lock file to its version."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+) \\$", LOCK, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def closure(*extras: str) -> set[str]:
    """Name the distributions that extras ask for, following extras that name each other."""
    names = {canonicalize_name(requirement.name) for requirement in REQUIRED}
    for extra in extras:
        for requirement in EXTRAS[extra]:
            if requirement.name == PROJECT["name"]:
                names |= closure(*requirement.extras)
            else:
                names.add(canonicalize_name(requirement.name))
    return names


def imports(path: Path) -> set[str]:
    """Name the top-level packages that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_the_toolkit_requires_django_alone() -> None:
    assert [requirement.name for requirement in REQUIRED] == ["Django"]


@pytest.mark.parametrize(
    ("places", "extras"),
    [
        (
            ("migration_tools",),
            (
                "engine",
                "kombu",
                "kafka",
                "celery",
                "chdb",
                "clickhouse",
                "contracts",
                "elasticsearch",
                "eventstore",
                "mongodb",
                "parquet",
                "prometheus",
                "redis",
                "tantivy",
                "demo",
                "testing",
                "analysis",
            ),
        ),
        (("proxy",), ("proxy",)),
        (("legacy_monolith", "extracted_services", "playbooks", "demo"), ("demo",)),
        (("tests",), ("dev",)),
    ],
    ids=lambda value: "+".join(value),
)
def test_every_import_is_of_something_declared(places: tuple[str, ...], extras: tuple[str, ...]) -> None:
    providers = importlib.metadata.packages_distributions()
    made_by_a_run = {"oscar_generated", "strangle_capture"}
    own = {*PACKAGES, "tests", *made_by_a_run, *sys.stdlib_module_names}
    declared = closure(*extras)
    undeclared = {
        f"{relative(path)}: {name}"
        for place in places
        for path in project_files(".py", below=ROOT / place)
        for name in imports(path) - own
        if not declared & {canonicalize_name(provider) for provider in providers.get(name, [])}
    }
    assert undeclared == set()


def test_the_lock_file_pins_everything_that_is_declared() -> None:
    pinned = pins()
    for extra in EXTRAS:
        for requirement in (*REQUIRED, *EXTRAS[extra]):
            name = canonicalize_name(requirement.name)
            if name != PROJECT["name"]:
                assert pinned.get(name) in requirement.specifier, f"{requirement}: run `make lock`"


def test_the_lock_file_has_a_hash_for_every_pin() -> None:
    blocks = re.split(r"^(?=[A-Za-z0-9._-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pins())
    assert all("--hash=sha256:" in block for block in blocks)


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "reference" / "settings.md").read_text()
    documented = set(re.findall(r"`([A-Z][A-Z_]+)`", text))
    assert {field.name for field in dataclasses.fields(Settings)} <= documented
