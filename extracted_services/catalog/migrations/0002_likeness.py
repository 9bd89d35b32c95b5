"""Make products findable by likeness, where PostgreSQL has pg_trgm and the role may create it."""

from typing import Any

from django.db import migrations

AVAILABLE = """
    SELECT count(*) > 0 FROM pg_available_extensions
    WHERE name = 'pg_trgm'
      AND (installed_version IS NOT NULL OR has_database_privilege(current_database(), 'CREATE'))
"""
INDEX = "CREATE INDEX IF NOT EXISTS shelf_product_likeness ON shelf_product USING gin (title gin_trgm_ops)"


def forwards(apps: Any, schema_editor: Any) -> None:
    """Make the extension and its index; without them the search finds by words alone."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(AVAILABLE)
        if cursor.fetchone() == (True,):
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            cursor.execute(INDEX)


def backwards(apps: Any, schema_editor: Any) -> None:
    """Drop the index; others may use the extension."""
    schema_editor.execute("DROP INDEX IF EXISTS shelf_product_likeness")


class Migration(migrations.Migration):
    dependencies = [("catalog_service", "0001_initial")]

    operations = [migrations.RunPython(forwards, backwards)]
