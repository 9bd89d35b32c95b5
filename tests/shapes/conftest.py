"""Fixtures of the shapes: their models installed, their tables made on both sides, chunks of three rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from django.apps import apps
from django.db import connections

from migration_tools.playbook import Projection
from migration_tools.transfer import copy
from tests.conftest import Pair
from tests.shapes.scene import Shape


@pytest.fixture
def shaped(pair: Pair, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Shape]]:
    """Make a stage over the shapes: shaped(projections, views, source=[SQL before capture], references=…)."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.shapes"]
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "CHUNK_ROWS_MAXIMUM": 3}
    monkeypatch.setattr(copy, "FIRST_ROWS", 3)
    with connections["default"].schema_editor() as editor:
        for model in apps.get_app_config("shapes").get_models():
            if model._meta.managed:
                editor.create_model(model)
    made: list[Shape] = []

    def make(
        projections: Sequence[Projection],
        views: Mapping[str, tuple[str, str]],
        *,
        source: Sequence[str] = (),
        target: Sequence[str] = (),
        references: Sequence[Projection] = (),
    ) -> Shape:
        for side, statements in (("shop", source), ("orders", target)):
            with pair.connect(side) as conn:
                for statement in statements:
                    conn.execute(statement)
        made.append(Shape(pair, projections, views, references))
        return made[-1]

    yield make
    for each in made:
        each.close()
