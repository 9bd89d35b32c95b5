"""Tests beside what is written: they pass as written, and go on holding what is changed afterwards."""

from migration_tools.generation.shape import Shape


def render_service_tests(context: str, package: str, shapes: list[Shape]) -> dict[str, str]:
    """File → text, below the service's folder: rows, answers, contracts and schema migrations."""
    label = f"{package.rpartition('.')[2]}_service"
    names = sorted(shape.name for shape in shapes)
    text = f'''\
"""The {context} service is what it says of itself; yours to change and to add to."""

from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import Model
from migration_tools.testing.services import assert_answers_as_documented, assert_fits_contract, assert_round_trip

from {package} import models, serializers

CONTRACTS = Path(__file__).resolve().parent.parent / "contracts"
MODELS: list[type[Model]] = [
{"".join(f"    models.{name},{chr(10)}" for name in names)}]
SERIALIZERS: list[type[Any]] = [
{"".join(f"    serializers.{name}Serializer,{chr(10)}" for name in names)}]


@pytest.mark.parametrize("model", MODELS)
def test_a_row_is_read_as_it_was_written(db: Any, model: type[Model]) -> None:
    assert_round_trip(model)


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_a_row_fits_its_contract(db: Any, serializer: type[Any]) -> None:
    assert_fits_contract(serializer, CONTRACTS)


def test_the_api_answers_as_its_document_says(db: Any) -> None:
    assert_answers_as_documented(*MODELS)


def test_the_schema_migrations_are_what_the_models_say(db: Any) -> None:
    call_command("makemigrations", "{label}", check=True, dry_run=True, verbosity=0)
'''
    return {"tests/__init__.py": f'"""Tests of the {context} service."""\n', "tests/test_service.py": text}


def render_playbook_test(context: str, module: str, name: str) -> str:
    """The test of a playbook, which is the class `name` of `module`."""
    return f'''\
"""The playbook of {context} fits the models and loses no write."""

from migration_tools.testing.playbooks import assert_no_mistakes
from migration_tools.testing.plugin import Interleavings

from {module} import {name}


def test_the_playbook_has_no_mistake() -> None:
    assert_no_mistakes({name})


def test_no_interleaving_of_writes_and_moves_loses_one(interleavings: Interleavings) -> None:
    interleavings.of({name})
'''
