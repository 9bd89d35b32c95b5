"""The schema migration from a foreign key to a loose one: short locks forward, and back without one long lock."""

from typing import Any

from django.db.migrations.operations.base import Operation

LOCK_TIMEOUT = "2s"
_CONSTRAINT = """
SELECT c.conname FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
WHERE c.contype = 'f' AND c.conrelid = %s::regclass AND a.attname = %s
"""


class LoosenForeignKey(Operation):
    """Drop the constraint of a column that stays; put it back NOT VALID, then validate it under a weak lock.

    Use it in a migration with `atomic = False`, beside `SeparateDatabaseAndState`, whose state takes the new field.
    Each statement waits two seconds for its lock at most: run the migration again when it gives up. Back, rows that
    refer to nothing make the validation fail; the constraint then holds for new rows, `strangle_loose_key orphans`
    names the old ones, and the migration back can be run again.
    """

    reversible = True
    reduces_to_sql = True

    def __init__(self, table: str, column: str, *, to: str, to_column: str = "id"):
        self.table, self.column, self.to, self.to_column = table, column, to, to_column

    def state_forwards(self, app_label: str, state: Any) -> None:
        """The state is another operation's."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Drop what references there are on the column."""
        quote = schema_editor.quote_name
        for name in self._constraints(schema_editor):
            self._briefly(schema_editor, f"ALTER TABLE {quote(self.table)} DROP CONSTRAINT {quote(name)}")

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Add the reference without reading the table, where it is not there yet, then validate it."""
        quote = schema_editor.quote_name
        table = quote(self.table)
        names = self._constraints(schema_editor)
        if not names:
            names = [f"{self.table}_{self.column}_fk"[-63:]]
            self._briefly(
                schema_editor,
                f"ALTER TABLE {table} ADD CONSTRAINT {quote(names[0])} FOREIGN KEY ({quote(self.column)}) REFERENCES "
                f"{quote(self.to)} ({quote(self.to_column)}) DEFERRABLE INITIALLY DEFERRED NOT VALID",
            )
        for name in names:
            self._briefly(schema_editor, f"ALTER TABLE {table} VALIDATE CONSTRAINT {quote(name)}")

    def describe(self) -> str:
        """For `migrate` and `sqlmigrate`."""
        return f"Let {self.table}.{self.column} refer to {self.to} without a constraint"

    def _constraints(self, schema_editor: Any) -> list[str]:
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(_CONSTRAINT, [schema_editor.quote_name(self.table), self.column])
            return [name for (name,) in cursor.fetchall()]

    def _briefly(self, schema_editor: Any, statement: str) -> None:
        schema_editor.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        try:
            schema_editor.execute(statement)
        finally:
            schema_editor.execute("RESET lock_timeout")
