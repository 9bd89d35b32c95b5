"""Fences count by context now, in sequences that are made with them; one that is older counts nothing until mended."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("strangle_capture", "0006_fence_hits")]

    operations = [
        migrations.RunSQL(
            "DROP SEQUENCE IF EXISTS strangle_fence_blocked",
            "CREATE SEQUENCE IF NOT EXISTS strangle_fence_blocked MINVALUE 1;"
            "GRANT SELECT ON SEQUENCE strangle_fence_blocked TO PUBLIC",
        )
    ]
