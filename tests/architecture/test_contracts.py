"""The import contracts of .importlinter hold, and each of them refuses a planted violation."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.architecture.tree import PACKAGES, ROOT


@dataclass(frozen=True)
class Plant:
    """A bad import, where it is planted and the contract that must name it."""

    file: str
    code: str
    contract: str

    def __str__(self) -> str:
        return f"{self.file}: {self.code}"


ROOMS = "a room imports only the rooms below it"
ALONE = "the toolkit imports no example, no proxy and no demo"
APART = "monolith, services and proxy stand apart"
DRIVERS = "a driver is imported only by its adapter"
DEMO = "the demo's customers and audit trust no code under test"
SERVICES = "no service imports another"
CIRCLES = "nothing is imported in a circle"
PROXY = "the proxy reads the routing table and the state, nothing else of the toolkit"

PLANTS = [
    Plant("migration_tools/state/planted.py", "import migration_tools.phases", ROOMS),
    Plant("migration_tools/kernel/planted.py", "import migration_tools.conf", ROOMS),
    Plant("migration_tools/messaging/planted.py", "from migration_tools import capture", ROOMS),
    Plant("migration_tools/phases/planted.py", "import migration_tools.testing", ROOMS),
    Plant("migration_tools/undeclared_room.py", "", ROOMS),
    Plant("migration_tools/kernel/planted.py", "from django.db import models", "the kernel is pure Python"),
    Plant("migration_tools/stores/ports.py", "import psycopg", "ports know no framework and no driver"),
    Plant("migration_tools/transfer/planted.py", "import psycopg", DRIVERS),
    Plant("migration_tools/messaging/planted.py", "from kombu import Connection", DRIVERS),
    Plant("migration_tools/messaging/planted.py", "import confluent_kafka", DRIVERS),
    Plant("migration_tools/phases/planted.py", "import redis", DRIVERS),
    Plant("migration_tools/verification/planted.py", "import legacy_monolith", ALONE),
    Plant("migration_tools/testing/planted.py", "import playbooks", ALONE),
    Plant("migration_tools/testing/planted.py", "import benchmarks", ALONE),
    Plant("extracted_services/billing/__init__.py", "import extracted_services.orders", SERVICES),
    Plant("legacy_monolith/planted.py", "import extracted_services.orders", APART),
    Plant("extracted_services/orders/planted.py", "import legacy_monolith", APART),
    Plant("proxy/planted.py", "import legacy_monolith", APART),
    Plant("proxy/planted.py", "import migration_tools.transfer", PROXY),
    Plant("demo/planted.py", "from migration_tools.verification import compare", DEMO),
    Plant("migration_tools/capture/relations.py", "import migration_tools.capture.projector", CIRCLES),
    Plant("demo/run.py", "if TYPE_CHECKING:\n    from demo.story import Story", CIRCLES),
]  # fmt: skip


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter in a directory that holds .importlinter and the packages."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source, for planting."""
    directory = tmp_path_factory.mktemp("source")
    shutil.copy(ROOT / ".importlinter", directory)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    return directory


def verdicts(output: str) -> dict[str, str]:
    """Read 'contract KEPT' and 'contract BROKEN' lines, which may have been wrapped."""
    text = " ".join(output.split())
    named = {plant.contract for plant in PLANTS}
    return {name: verdict for name in named for verdict in ("KEPT", "BROKEN") if f"{name} {verdict}" in text}


def test_the_contracts_hold() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert verdicts(result.stdout) == dict.fromkeys({plant.contract for plant in PLANTS}, "KEPT")


@pytest.mark.parametrize("plant", PLANTS, ids=str)
def test_a_planted_violation_is_refused_by_its_contract(plant: Plant, copy: Path) -> None:
    file = copy / plant.file
    before = file.read_text() if file.exists() else None
    made_directory = not file.parent.exists()
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{before or ''}\n{plant.code}\n")
    try:
        result = lint(copy)
    finally:
        if made_directory:
            shutil.rmtree(file.parent)
        elif before is None:
            file.unlink()
        else:
            file.write_text(before)
    assert result.returncode == 1, result.stdout + result.stderr
    assert verdicts(result.stdout)[plant.contract] == "BROKEN"
    package, _, name = plant.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".").rpartition(".")
    circle = f"No cycles are allowed in {package}." in result.stdout and f"- .{name} ->" in result.stdout
    assert circle or f"{package}.{name}" in result.stdout
