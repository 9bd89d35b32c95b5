"""Admin pages that show and change nothing; what rows and events hold is shown by its shape."""

import json
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from migration_tools.messaging.redaction import hidden

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[Any]
else:
    Admin = admin.ModelAdmin


class ReadOnlyAdmin(Admin):
    """Whoever may view the table may look; nobody may add, change or delete here. `concealed` fields become shapes."""

    concealed: tuple[str, ...] = ()
    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        """Every column, those that are concealed as `shape_of_…`."""
        names = [field.name for field in self.model._meta.concrete_fields if field.name != "pk"]
        return [f"shape_of_{name}" if name in self.concealed else name for name in names]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        return self.get_fields(request, obj)

    def __getattr__(self, name: str) -> Any:
        field = name.removeprefix("shape_of_")
        if name.startswith("shape_of_") and field in type(self).concealed:

            def shape(row: Model) -> str:
                return json.dumps(hidden(getattr(row, field)), indent=1, ensure_ascii=False)

            shape.short_description = field  # type: ignore[attr-defined]
            return shape
        raise AttributeError(name)
