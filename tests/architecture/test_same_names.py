"""Every service is laid out alike: a file's name says what it holds, and the page of the services lists them all."""

import re

import pytest

from tests.architecture.tree import ROOT

SERVICES = ROOT / "extracted_services"
# What each has, whatever it does; a service without rows of its own in PostgreSQL has no models.
EVERYWHERE = {"README.md", "__init__.py", "api.py", "apps.py", "serializers.py", "settings.py", "urls.py", "wsgi.py"}
NAMES = sorted(path.parent.name for path in SERVICES.glob("*/settings.py"))


def listed() -> set[str]:
    """The names in the first column of the table of files."""
    table = (SERVICES / "README.md").read_text().partition("| file | holds |")[2].partition("\n\n")[0]
    first = [row.split("|")[1] for row in table.splitlines() if row]
    return {name for cell in first for name in re.findall(r"`([\w.]+)/?`", cell)}


def names_in(service: str) -> set[str]:
    """What lies in the folder of a service."""
    return {path.name for path in (SERVICES / service).iterdir() if path.name != "__pycache__"}


def test_all_services_of_the_shop_are_seen() -> None:
    assert len(NAMES) == 9


@pytest.mark.parametrize("service", NAMES)
def test_a_service_has_the_files_of_every_service_and_none_that_the_page_does_not_list(service: str) -> None:
    found = names_in(service)
    assert EVERYWHERE - found == set()
    assert found - EVERYWHERE - listed() == set()


def test_no_file_is_listed_that_no_service_has() -> None:
    assert listed() - set().union(*map(names_in, NAMES)) == set()
