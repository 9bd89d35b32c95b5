"""Imports that a generator adds stand where the linter wants them, whatever the module imports already."""

import subprocess
import sys
from pathlib import Path

import pytest

from migration_tools.generation.source_edits import add_imports

NEEDED = [("migration_tools.seams.loose_key", "LooseForeignKey"), ("migration_tools.messaging.envelope", "Envelope")]
USED = "\nUSED = (LooseForeignKey, Envelope)\n"
MODULES = {
    "nothing": "",
    "a docstring": '"""Models."""\n',
    "a docstring and code": '"""Models."""\n\nANSWER = 42\n',
    "django": "from django.db import models\n\n\nclass A(models.Model): ...\n",
    "the standard library": "import uuid\n\nANSWER = uuid.uuid4()\n",
    "both": "import uuid\n\nfrom django.db import models\nfrom zebra import Stripe\n\nA = (uuid, models, Stripe)\n",
    "its own": "from .money import Money\n\nA = Money\n",
    "all": "from __future__ import annotations\n\nimport uuid\n\nimport django\nfrom django.db import models\n\n"
    "from .money import Money\n\nA = (uuid, django, models, Money)\n",
    "several lines": "from django.db import (\n    connection,\n    models,\n)\n\nA = (connection, models)\n",
    "the module": "from migration_tools.seams.loose_key import OnGone\n\nA = OnGone\n",
    "the name": "from migration_tools.seams.loose_key import LooseForeignKey\n\nA = LooseForeignKey\n",
    "code between": "from django.db import models\n\nA = models\n\nimport uuid  # noqa: E402\n\nB = uuid\n",
}


@pytest.mark.parametrize("kind", MODULES)
def test_imports_are_added_in_the_order_of_a_linter(kind: str, tmp_path: Path) -> None:
    """The linter finds neither an order that is wrong nor a name that is not defined."""
    (tmp_path / "models.py").write_text(add_imports(MODULES[kind], NEEDED) + USED)
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "I,F,E4", "models.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + (tmp_path / "models.py").read_text()
    compile(add_imports(MODULES[kind], NEEDED), "models.py", "exec")


def test_what_is_imported_already_is_not_touched() -> None:
    text = add_imports("", NEEDED)
    assert add_imports(text, NEEDED) == text
