"""Ids of customers that may be shown: first the map, then the trigger for whoever comes, then those who were there.

No statement holds a lock that a sign-up waits for longer than for a trigger to be made: the map is a table of its own,
and those who were there are entered in batches, each in a transaction of its own.
"""

import uuid
from typing import Any

from django.db import migrations, models

# The schema of the table it fires on, wherever search_path leads; on for replicas, too. The owner may write the map.
TRIGGER = """
    CREATE FUNCTION people_give_public_id() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog AS $$
    BEGIN
        EXECUTE format(
            'INSERT INTO %I.people_public_id (person_id, public_id) VALUES ($1, gen_random_uuid())
             ON CONFLICT (person_id) DO NOTHING', TG_TABLE_SCHEMA
        ) USING NEW.id;
        RETURN NULL;
    END $$;
    CREATE TRIGGER people_give_public_id AFTER INSERT ON people_person
        FOR EACH ROW EXECUTE FUNCTION people_give_public_id();
    ALTER TABLE people_person ENABLE ALWAYS TRIGGER people_give_public_id
"""
UNDO = """
    DROP TRIGGER people_give_public_id ON people_person;
    DROP FUNCTION people_give_public_id()
"""
BATCH = 5000
FILL = """
    WITH batch AS (
        SELECT id FROM people_person WHERE id > %s ORDER BY id LIMIT %s
    ), entered AS (
        INSERT INTO people_public_id (person_id, public_id) SELECT id, gen_random_uuid() FROM batch
        ON CONFLICT (person_id) DO NOTHING
    )
    SELECT max(id) FROM batch
"""


def fill(apps: Any, schema_editor: Any) -> None:
    """Enter those who were there before the trigger."""
    after: int | None = -(2**63)
    while after is not None:
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(FILL, [after, BATCH])
            (after,) = cursor.fetchone()


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("users_service", "0002_version"),
    ]

    operations = [
        migrations.CreateModel(
            name="PublicId",
            fields=[
                ("person_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("public_id", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
            ],
            options={"db_table": "people_public_id"},
        ),
        migrations.RunSQL(TRIGGER, UNDO),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
