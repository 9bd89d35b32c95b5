"""The contracts of row records: one for each projection, generated from the models it reads."""

from collections.abc import Iterator
from typing import Any

from django.db.models import F, Field, Model, Value

from migration_tools.contracts.declaration import Contract
from migration_tools.playbook.declaration import Playbook
from migration_tools.playbook.paths import own_field, path_of, source_model
from migration_tools.playbook.projection import Projection

PREFIX = "row."
INTEGERS = {
    f"{size}{kind}Field"
    for size in ("", "Big", "Small", "Positive", "PositiveBig", "PositiveSmall")
    for kind in ("Integer", "Auto")
}


def row_contracts(playbook: type[Playbook]) -> Iterator[Contract]:
    """What the records of each target table look like: PostgreSQL's text of every column, or null."""
    everything = [*playbook.projections, *playbook.references]
    for projection in everything:
        siblings = [each for each in everything if each.into == projection.into]
        number = f".{siblings.index(projection) + 1}" if len(siblings) > 1 else ""
        yield Contract(
            event_type=f"{PREFIX}{projection.into}{number}",
            stream=playbook.context,
            version=1,
            schema=_schema(projection),
            description=f"Rows of {projection.model} as those of {projection.into}.",
            rows=True,
        )


def _schema(projection: Projection) -> dict[str, Any]:
    model = source_model(projection.model)
    columns: dict[str, Any] = {**projection.key, **projection.columns}
    return {
        "type": "object",
        "properties": {name: _column(model, columns[name], key=name in projection.key) for name in sorted(columns)},
        "required": sorted(columns),
        "additionalProperties": False,
    }


def _column(model: type[Model], source: Any, *, key: bool) -> dict[str, Any]:
    expression = F(source) if isinstance(source, str) else source
    if isinstance(expression, Value):
        return {"const": None if expression.value is None else str(expression.value)}
    field = _field(model, expression)
    value: dict[str, Any] = {"type": "string", "x-type": field.get_internal_type() if field is not None else "unknown"}
    if field is not None and value["x-type"] in INTEGERS:
        value["pattern"] = "^-?[0-9]+$"
    elif field is not None and value["x-type"] == "BooleanField":
        value["pattern"] = "^(true|false)$"
    plain = isinstance(expression, F) and own_field(model, path_of(expression).removesuffix("_id"))
    if key or (plain and field is not None and not field.null):
        return value
    return {"anyOf": [value, {"type": "null"}]}


def _field(model: type[Model], expression: Any) -> "Field[Any, Any] | None":
    """The field that the expression's value is of; None where Django cannot tell."""
    annotated = model._base_manager.annotate(_strangle=expression).query.annotations["_strangle"]
    found: Field[Any, Any] | None = getattr(annotated, "_output_field_or_none", None)
    target = getattr(found, "target_field", None)
    return target if target is not None else found
