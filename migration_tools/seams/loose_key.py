"""A key of another context's row without a constraint: a plain column, kept whole by events instead of the database."""

from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum
from typing import Any

from django.apps import apps
from django.db import models, transaction
from django.db.models import Model

from migration_tools.errors import SeamError

BATCH = 1000
TYPES = {16: "SmallIntegerField", 32: "IntegerField", 64: "BigIntegerField"}


class OnGone(StrEnum):
    """What follows when the row that is referred to is gone; later, in a transaction of its own."""

    CASCADE = "cascade"
    SET_NULL = "set_null"
    RESTRICT = "restrict"


class LooseForeignKey(models.BigIntegerField):  # type: ignore[type-arg]  # subscripting it needs the stubs at run time
    """An integer column with the key of `to`, "app_label.Model" of another context, which need not be installed here.

    Of 64 bits, unless `bits` says 16 or 32, as the column that a foreign key leaves behind may have. `on_gone` is
    carried out by `follow_deletions`, which a handler of the owner's event calls. RESTRICT cannot stop a
    deletion that has happened: it refuses the event, which is parked until somebody decides.
    """

    def __init__(self, to: str = "", *, on_gone: OnGone | str = OnGone.RESTRICT, bits: int = 64, **options: Any):
        self.to = to
        self.bits = bits
        self.on_gone = OnGone(on_gone)
        options.setdefault("db_index", True)
        super().__init__(**options)

    def deconstruct(self) -> Any:
        """For schema migrations, which need not know what an event does."""
        name, path, args, options = super().deconstruct()
        options |= {"to": self.to, "on_gone": self.on_gone.value}
        if self.bits != 64:
            options["bits"] = self.bits
        return name, path, args, options

    def get_internal_type(self) -> str:
        """The type of the column."""
        return TYPES.get(self.bits, "BigIntegerField")

    def check(self, **options: Any) -> list[Any]:
        """Look at the declaration.

        E125: a `LooseForeignKey` is to become NULL, and its column may not be. E126: a `LooseForeignKey` does not say
        what it refers to as `app_label.Model`.
        """
        from django.core import checks

        found: list[Any] = super().check(**options)
        if self.on_gone is OnGone.SET_NULL and not self.null:
            hint = "set null=True, or another on_gone"
            found.append(
                checks.Error("on_gone is set_null, but the column is NOT NULL", hint=hint, obj=self, id="strangle.E125")
            )
        if self.to.count(".") != 1:
            hint = "write 'app_label.Model'"
            found.append(checks.Error(f"refers to {self.to!r}", hint=hint, obj=self, id="strangle.E126"))
        return found


class StillReferred(SeamError):
    """Rows refer to what is gone and their key says RESTRICT; nothing was changed."""


def follow_deletions(
    to: str, keys: Collection[int], *, using: str = "default", among: Iterable[type[Model]] | None = None
) -> dict[str, int]:
    """Carry out what every loose key on `to` says of these keys; call it from the handler of the owner's event.

    All or nothing, in one transaction or the caller's; doing it again changes nothing. Gives rows by "Model.field".
    `among` are the models to look at, all installed ones by default.

    Raises:
        StillReferred: a RESTRICT key refers to one of them.
    """
    done: dict[str, int] = {}
    with transaction.atomic(using=using):
        fields = sorted(_keys_on(to, among), key=lambda each: each.on_gone is not OnGone.RESTRICT)
        for field in fields:
            rows = field.model._base_manager.using(using).filter(**{f"{field.attname}__in": list(keys)})
            name = f"{field.model._meta.label}.{field.name}"
            if field.on_gone is OnGone.RESTRICT:
                held = rows.count()
                if held:
                    raise StillReferred(
                        f"{held} rows of {name} refer to {to} that are gone, and it says restrict; settle them, then "
                        "retry the dead letter"
                    )
            elif field.on_gone is OnGone.SET_NULL:
                done[name] = rows.update(**{field.attname: None})
            else:
                done[name] = rows.delete()[0]
    return done


def orphans(field: LooseForeignKey, existing: Any, *, using: str = "default") -> Iterator[int]:
    """Keys that refer to nothing, in order. `existing(keys)` gives those of some keys that the owner has.

    Reads in batches, so that the owner is asked by `?ids=` and not row by row.
    """
    rows = field.model._base_manager.using(using).exclude(**{f"{field.attname}__isnull": True})
    last: int | None = None
    while True:
        batch = rows if last is None else rows.filter(**{f"{field.attname}__gt": last})
        keys = list(batch.order_by(field.attname).values_list(field.attname, flat=True).distinct()[:BATCH])
        if not keys:
            return
        there = set(existing(keys))
        yield from (key for key in keys if key not in there)
        last = keys[-1]


def _keys_on(to: str, among: Iterable[type[Model]] | None) -> Iterator[LooseForeignKey]:
    for model in apps.get_models() if among is None else among:
        for field in model._meta.local_concrete_fields:
            if isinstance(field, LooseForeignKey) and field.to.lower() == to.lower():
                yield field
