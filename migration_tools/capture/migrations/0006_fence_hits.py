"""A sequence that counts refused writes: it moves even though the refused transaction is rolled back."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("strangle_capture", "0005_layouts_and_what_was_made")]

    operations = [
        migrations.RunSQL(
            "CREATE SEQUENCE IF NOT EXISTS strangle_fence_blocked MINVALUE 1;"
            "GRANT SELECT ON SEQUENCE strangle_fence_blocked TO PUBLIC",
            "DROP SEQUENCE IF EXISTS strangle_fence_blocked",
        )
    ]
