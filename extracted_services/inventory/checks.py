"""System checks of the service: documents are for a stock that is the service's for good, and was carried over."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.db import connection

from .documents import guard


@checks.register(checks.Tags.database)
def check_keeper(
    app_configs: Sequence[Any] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """E001: a playbook moves the rows. E002: the stock is in rows, and nobody carried it over."""
    if settings.STOCK_ENGINE != "mongodb" or not databases:
        return []
    if "strangle_captured_table" not in connection.introspection.table_names():
        return []  # before the first schema migration
    if why := guard.on_its_way():
        said = f"INVENTORY_STORE_ENGINE is 'mongodb', but {why}"
        return [checks.Error(said, hint=guard.remedy(), id="inventory_service.E001")]
    if guard.rows_left():
        said = "INVENTORY_STORE_ENGINE is 'mongodb', but the stock is in PostgreSQL's rows"
        hint = "stop the service's processes, run inventory_to_documents, and start them again"
        return [checks.Error(said, hint=hint, id="inventory_service.E002")]
    return []
