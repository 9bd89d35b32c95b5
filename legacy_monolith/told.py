"""Rows whose changes others are told of: a version, drawn under the row's lock, and an event in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.db import models, router, transaction
from django.dispatch import Signal

#: sender (the model), instance (the row as it is now), made (whether it is new); in the transaction, behind its lock.
told = Signal()


class Told(models.Model):
    """A row that tells, when it is saved and one of `TOLD` changed, what it is now.

    The version goes with the row to whoever owns it next, who goes on counting: so each version of a row is told once,
    by one side. A save that the fence refuses undoes both. Bulk and raw writers pass by here, as they pass by signals.
    """

    TOLD: ClassVar[tuple[str, ...]] = ()

    version = models.BigIntegerField(default=0, db_default=0, editable=False)

    class Meta:
        abstract = True

    def save(self, **kwargs: Any) -> None:
        fields = kwargs.get("update_fields")
        if fields is not None and not set(fields) & set(self.TOLD):
            super().save(**kwargs)
            return
        if fields is not None:
            kwargs["update_fields"] = [*fields, "version"]
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        rows = type(self)._base_manager.using(using)
        with transaction.atomic(using=using):
            before = rows.select_for_update(no_key=True).filter(pk=self.pk).values("version", *self.TOLD).first()
            changed = before is None or self._differs(before, fields)
            self.version = (before["version"] if before else 0) + int(changed)
            super().save(**kwargs)
            if changed:
                told.send(type(self), instance=rows.get(pk=self.pk), made=before is None)

    def _differs(self, before: Mapping[str, Any], fields: Any) -> bool:
        for name in self.TOLD if fields is None else set(self.TOLD) & set(fields):
            value = getattr(self, name)
            if hasattr(value, "resolve_expression") or self._meta.get_field(name).to_python(value) != before[name]:
                return True
        return False
