"""From a foreign key to a loose one: the model's declaration, the schema migration, and the handler of deletions."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import migrations
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.writer import MigrationWriter
from django.db.models import ForeignKey, Model
from django.utils.module_loading import import_string

from migration_tools.errors import AnalysisError
from migration_tools.generation.source_edits import (
    add_imports,
    declared_options,
    drop_import,
    imports_for_types,
    replace_field,
)
from migration_tools.seams.loose_key import LooseForeignKey, OnGone
from migration_tools.seams.loosening import LoosenForeignKey

# What a foreign key has and a number has not; `db_column` is told anew.
DROPPED = frozenset({
    "to", "on_delete", "related_name", "related_query_name", "limit_choices_to", "parent_link", "to_field",
    "db_constraint", "swappable", "db_column", "unique",
})  # fmt: skip
BITS = {
    "SmallAutoField": 16, "SmallIntegerField": 16, "PositiveSmallIntegerField": 16,
    "AutoField": 32, "IntegerField": 32, "PositiveIntegerField": 32,
    "BigAutoField": 64, "BigIntegerField": 64, "PositiveBigIntegerField": 64,
}  # fmt: skip
FOLLOWS = {"CASCADE": OnGone.CASCADE, "SET_NULL": OnGone.SET_NULL, "PROTECT": OnGone.RESTRICT,
           "RESTRICT": OnGone.RESTRICT}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Loosened:
    """What is written: text by file, of which some are there already; `name` is the new field's."""

    files: dict[Path, str]
    name: str
    on_gone: OnGone


def loosen(label: str, *, on_gone: str = "", stream: str = "", event: str = "") -> Loosened:
    """The files of `app.Model.field`; nothing is written.

    Args:
        label: the foreign key.
        on_gone: what follows a deletion; by default what the key's on_delete does.
        stream: who tells of the owner's table; by default what stands before the first _ of its name.
        event: the event that tells of a deletion; by default "<table>.deleted".

    Raises:
        AnalysisError: there is no such key, it cannot be a loose one, or its declaration is not found.
    """
    field = _key_of(label)
    model, owner = field.model, field.remote_field.model
    follows = _on_gone(field, on_gone)
    loose = _loose(field, follows)
    table = owner._meta.db_table
    told = event or f"{table}.deleted"
    source = Path(inspect.getsourcefile(model) or "")
    files = {
        source: _declare(source.read_text(), field, loose),
        _next_migration(field): _migration(field, loose),
    }
    handlers = Path(apps.get_app_config(model._meta.app_label).path) / "handlers.py"
    had = handlers.read_text() if handlers.exists() else f'"""What {model._meta.app_label} does at events."""\n'
    now = _handle(had, owner, told, stream or table.partition("_")[0], field.target_field.column)
    if now != had:
        files[handlers] = now
    return Loosened(files=files, name=loose.name, on_gone=follows)


def _key_of(label: str) -> Any:
    place, _, name = label.rpartition(".")
    try:
        model: type[Model] = apps.get_model(place)
        field: Any = model._meta.get_field(name)
    except (LookupError, ValueError, TypeError, FieldDoesNotExist) as error:
        raise AnalysisError(f"no field is called {label!r}; write app_label.Model.field: {error}") from error
    if isinstance(field, LooseForeignKey):
        raise AnalysisError(f"{label} is a loose key already")
    if not isinstance(field, ForeignKey):
        raise AnalysisError(f"{label} is a {type(field).__name__}; only a ForeignKey or OneToOneField can be loosened")
    target: Any = field.target_field
    while isinstance(target, ForeignKey):
        target = target.target_field
    if target.get_internal_type() not in BITS:
        raise AnalysisError(f"{label} holds a {target.get_internal_type()}; a loose key is an integer column")
    if field.primary_key or field.model._meta.auto_created or field.model._meta.order_with_respect_to:
        raise AnalysisError(
            f"{label} is its table's own key, or orders its rows, or belongs to a many-to-many field; give the table a "
            "key and a model of its own first"
        )
    for many in _through(field):
        raise AnalysisError(
            f"{label} carries the many-to-many field {many}, which needs a foreign key there; take that field "
            "away first: its rows stay, and are asked for by their own model"
        )
    return field


def _through(field: Any) -> Iterator[str]:
    """The many-to-many fields whose rows a model keeps, with this foreign key to one of their ends."""
    for model in apps.get_models():
        for many in model._meta.local_many_to_many:
            ends = (many.m2m_field_name(), many.m2m_reverse_field_name())
            if many.remote_field.through is field.model and field.name in ends:
                yield f"{model._meta.label}.{many.name}"


def _on_gone(field: Any, given: str) -> OnGone:
    name = getattr(field.remote_field.on_delete, "__name__", "")
    if not given and name not in FOLLOWS:
        raise AnalysisError(f"{field} says on_delete {name}, which has no equal; choose with --on-gone")
    found = OnGone(given) if given else FOLLOWS[name]
    if found is OnGone.SET_NULL and not field.null:
        raise AnalysisError(f"{field} cannot become NULL; choose another --on-gone, or make it nullable first")
    return found


def _loose(field: Any, on_gone: OnGone) -> LooseForeignKey:
    """The new field: called like the attribute that holds the number, which so keeps its name in the code.

    Where the model's Meta names the field, its name stays, and the constraints that do with it.
    """
    _, _, _, options = field.deconstruct()
    kept = {name: value for name, value in options.items() if name not in DROPPED}
    name = field.name if _named_in_meta(field) else field.attname
    if name != field.column:
        kept["db_column"] = field.column
    if field.unique:
        kept["unique"] = True
    target: Any = field.target_field
    while isinstance(target, ForeignKey):
        target = target.target_field
    bits = BITS[target.get_internal_type()]
    if bits != 64:
        kept["bits"] = bits
    loose = LooseForeignKey(field.remote_field.model._meta.label, on_gone=on_gone, **kept)
    loose.set_attributes_from_name(name)
    return loose


def _named_in_meta(field: Any) -> bool:
    meta = field.model._meta
    said = [meta.unique_together, meta.ordering, meta.get_latest_by]
    said += [each.deconstruct()[1:] for each in (*meta.indexes, *meta.constraints)]
    return re.search(rf"\b{re.escape(field.name)}\b", repr(said)) is not None


def _declare(text: str, field: Any, loose: LooseForeignKey) -> str:
    model, owner = field.model.__name__, field.remote_field.model
    options = [f'"{owner._meta.label}"', f'on_gone="{loose.on_gone}"']
    if loose.unique:
        options.append("unique=True")
    if loose.bits != 64:
        options.append(f"bits={loose.bits}")
    if loose.db_column:
        options.append(f'db_column="{loose.db_column}"')
    options += declared_options(text, model, field.name, DROPPED)
    declaration = f"{loose.name} = LooseForeignKey({', '.join(options)})"
    if len(declaration) > 110:
        inner = "".join(f"        {each},\n" for each in options)
        declaration = f"{loose.name} = LooseForeignKey(\n{inner}    )"
    changed = replace_field(text, model, field.name, declaration)
    changed = drop_import(changed, owner.__name__)
    return add_imports(changed, [("migration_tools.seams.loose_key", "LooseForeignKey")])


def _leaf(field: Any) -> tuple[str, str]:
    label = field.model._meta.app_label
    leaves = MigrationLoader(None, ignore_no_migrations=True).graph.leaf_nodes(label)
    if len(leaves) != 1:
        raise AnalysisError(f"the app {label!r} has {len(leaves)} last schema migrations; it must have one")
    found: tuple[str, str] = leaves[0]
    return found


def _next_migration(field: Any) -> Path:
    label, last = _leaf(field)
    number = (MigrationAutodetector.parse_number(last) or 0) + 1
    package, _ = MigrationLoader.migrations_module(label)
    folder = Path(inspect.getsourcefile(import_string(f"{package}.{last}.Migration")) or "").parent
    return folder / f"{number:04}_loosen_{field.model._meta.model_name}_{field.name}.py"


def _migration(field: Any, loose: LooseForeignKey) -> str:
    meta, model = field.model._meta, field.model._meta.model_name
    state: list[Any] = [migrations.RemoveField(model, field.name), migrations.AddField(model, loose.name, loose)]
    if loose.name == field.name:
        state = [migrations.AlterField(model, field.name, loose)]
    loosening = LoosenForeignKey(
        meta.db_table,
        field.column,
        to=field.remote_field.model._meta.db_table,
        to_column=field.target_field.column,
    )
    made = type("Migration", (migrations.Migration,), {
        "dependencies": [_leaf(field)],
        "operations": [loosening, migrations.SeparateDatabaseAndState(state_operations=state)],
    })("loosen", meta.app_label)  # fmt: skip
    text = str(MigrationWriter(made, include_header=False).as_string())
    head = f'"""{meta.label}.{field.name} without its constraint."""\n\n'
    return head + text.replace("(migrations.Migration):\n", "(migrations.Migration):\n    atomic = False\n", 1)


def _handle(text: str, owner: type[Model], event: str, stream: str, key: str) -> str:
    label = owner._meta.label
    if f'follow_deletions("{label}"' in text:
        return text  # one handler carries out every loose key on this model
    envelope = ("migration_tools.messaging.envelope", "Envelope")
    annotation = "Envelope"
    needed = [
        ("migration_tools.messaging.handlers", "handles"),
        ("migration_tools.seams.loose_key", "follow_deletions"),
    ]
    if not imports_for_types(text, *envelope):
        needed.append(envelope)
    elif "from __future__ import annotations" not in text:
        annotation = '"Envelope"'
    return (
        f"{add_imports(text, needed).rstrip()}\n\n\n"
        f'@handles("{event}", stream="{stream}")\n'
        f"def {re.sub(r'[^a-zA-Z0-9]', '_', event)}(event: {annotation}) -> None:\n"
        f'    """Carry out what every loose key on {label} says of a row that is gone."""\n'
        f'    follow_deletions("{label}", [event.payload["{key}"]])\n'
    )
