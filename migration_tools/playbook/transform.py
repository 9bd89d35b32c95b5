"""A column that Python makes: what a playbook's author writes where an expression will not do."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from django.db.models import Func, TextField

from migration_tools.capture.transforms import declare
from migration_tools.playbook.paths import fields_of
from migration_tools.playbook.projection import Projection


class Transform(Func):
    """The whole of a column: what a pure function answers to the values of some inputs.

    `"phone": Transform(normalised, "phone")` calls `normalised(phone)` for each row. It is computed in Python, so it is
    slow beside an expression, and it must answer the same to the same: rows are made by it in the copy, in the sync, in
    verification and in repair, in several processes.

    Args:
        function: a function at the top of a module, so that other processes find it by its name.
        inputs: field paths or expressions, computed by PostgreSQL and given in this order.
        version: raise it when the function answers otherwise than before; the mapping then counts as changed.
        lossy: the inputs have no way back; the owner's old values stay in the source, whatever the service writes.
    """

    def __init__(self, function: Callable[..., Any], *inputs: Any, version: int = 1, lossy: bool = False):
        super().__init__(*inputs, output_field=TextField())
        self.callable = function
        self.name = declare(function)
        self.version = version
        self.lossy = lossy

    def as_sql(self, *args: Any, **kwargs: Any) -> Any:
        """Never: the compiler asks for the inputs instead."""
        raise TypeError(f"{self!r} is made in Python; let it be the whole of a column")

    def __repr__(self) -> str:
        return f"Transform({self.name.partition(':')[2]})"


def mistakes_of(expression: Any) -> Iterator[str]:
    """What is wrong with the functions in a column's expression."""
    if not isinstance(expression, Transform):
        inside = getattr(expression, "flatten", lambda: ())()
        if any(isinstance(part, Transform) for part in inside):
            yield "a Transform must be the whole column; make its inputs expressions instead"
        return
    if any(isinstance(part, Transform) for part in list(expression.flatten())[1:]):
        yield "a Transform cannot be the input of another; let one function do both"
    if not expression.get_source_expressions():
        yield "a Transform needs an input; write Value() for a constant column"
    module, _, path = expression.name.partition(":")
    found: Any = None
    try:
        found = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        found = None
    if found is not expression.callable or module == "__main__":
        yield (
            f"{expression.name!r} cannot be found by its name in another process; use a function at the top of a "
            "module, no lambda and no inner function"
        )


def inputs_without_way_back(projection: Projection, turned: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(column, source field) of inputs that a rollback would leave as they were, and that no Transform calls lossy."""
    for column, expression in projection.columns.items():
        if isinstance(expression, Transform) and not expression.lossy:
            for path in fields_of(expression):
                if "__" not in path and path not in turned and path not in projection.key.values():
                    yield column, path
