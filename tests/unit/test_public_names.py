"""What programs of users may import is there, and is what the page of public names says."""

import importlib
import re

import pytest

import migration_tools.playbook
from tests.architecture.tree import ROOT

PAGE = (ROOT / "docs" / "reference" / "api.md").read_text()


def listed() -> list[tuple[str, str]]:
    """Module and name of every row of the first table."""
    found = []
    for line in PAGE.splitlines():
        cells = re.findall(r"`([^`]+)`", line)
        if line.startswith("| `migration_tools"):
            found += [(cells[0], name) for name in cells[1:]]
    return found


@pytest.mark.parametrize(("module", "name"), listed(), ids=lambda value: str(value))
def test_a_public_name_can_be_imported(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


def test_the_names_of_the_playbook_are_exactly_the_listed_ones() -> None:
    assert {name for module, name in listed() if module == "migration_tools.playbook"} == set(
        migration_tools.playbook.__all__
    )


def test_every_fixture_of_the_plugin_is_listed() -> None:
    text = (ROOT / "migration_tools" / "testing" / "plugin.py").read_text()
    fixtures = re.findall(r"@pytest\.fixture\ndef (\w+)", text)
    assert set(fixtures) == set(re.findall(r"^\| `(\w+)` \| ", PAGE.partition("| fixture")[2], re.MULTILINE))
