"""Locks in code are found however they are written, and nothing else is."""

import pytest

from migration_tools.phases.code_locks import locks_in


@pytest.mark.parametrize(
    ("source", "how"),
    [
        ("Order.objects.select_for_update(of=('self',)).get(pk=1)", "select_for_update"),
        ("cursor.execute('SELECT * FROM t WHERE id = 1 FOR NO KEY UPDATE')", "FOR NO KEY UPDATE"),
        ("cursor.execute(f'SELECT pg_try_advisory_xact_lock({key})')", "pg_try_advisory_xact_lock"),
        ("cursor.execute('LOCK TABLE orders IN SHARE MODE')", "LOCK TABLE"),
    ],
)
def test_a_lock_is_found(source: str, how: str) -> None:
    assert [(each.line, each.how) for each in locks_in(f"x = 1\n{source}\n", "app.py")] == [(2, how)]


@pytest.mark.parametrize("source", ["Order.objects.update(x=1)", "text = 'wait for updates'", "this is no Python"])
def test_what_is_no_lock_is_not(source: str) -> None:
    assert list(locks_in(source, "app.py")) == []
