"""A dry run of what is one transaction: do it, look at it, and roll it back."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction


@contextmanager
def rolled_back(using: str) -> Iterator[None]:
    """Whatever the block does in this database is undone at its end; notifications of it are never sent."""
    with transaction.atomic(using=using):
        try:
            yield
        finally:
            transaction.set_rollback(True, using=using)
